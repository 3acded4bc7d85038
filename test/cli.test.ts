/** The command line as a user meets it: messages, exit statuses, pipes. Boots nothing. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { needs } from './support/needs.js';

const root = join(import.meta.dirname, '..');

function tvmm(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'dist/cli.js'), ...args], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

/** A shell line in which `tvmm` is the command; its own exit status is the first pipe member's. */
function shell(line: string) {
  const program = `tvmm() { "${process.execPath}" "${join(root, 'dist/cli.js')}" "$@"; }; ${line}; echo "status \${PIPESTATUS[0]}"`;
  return spawnSync('bash', ['-c', program], { encoding: 'utf8', timeout: 60_000 });
}

test('without arguments it shows every command with a line about it', () => {
  const { status, stdout } = tvmm();
  expect(status).toBe(0);
  for (const name of ['boot', 'doctor', 'lab', 'image', 'kernel', 'completion'])
    expect(stdout).toMatch(new RegExp(`^  ${name} .*\\w`, 'm'));
});

test('--version prints the version of package.json alone', () => {
  expect(tvmm('--version').stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test.each([
  [['bott'], "unknown command 'bott'", 'boot'],
  [['boot', '--krenel', 'x'], "unknown option '--krenel'", '--kernel'],
  [['doctor', '--jsno'], "unknown option '--jsno'", '--json'],
])('%j is refused with a suggestion, status 125 and nothing on stdout', (args, words, suggestion) => {
  const { status, stdout, stderr } = tvmm(...args);
  expect(status).toBe(125);
  expect(stdout).toBe('');
  expect(stderr).toContain(`tvmm: ${words}`);
  expect(stderr).toContain(suggestion);
});

test('a bad option value is one sentence that names the option, with a hint and without a stack', () => {
  const { status, stderr } = tvmm('boot', '--memory', '1GB');
  expect(status).toBe(125);
  expect(stderr).toMatch(/^tvmm: --memory "1GB" is ambiguous.*\nhint: .*\n$/);
});

test('--debug shows where a failure came from', () => {
  const { status, stderr } = tvmm('boot', '--debug', '--flat', 'real16');
  expect(status).toBe(125);
  expect(stderr).toMatch(/\n\s+at /);
});

test('doctor --json is one object of the documented shape, and its status says whether boots can work', () => {
  const { status, stdout } = tvmm('doctor', '--json');
  const report: unknown = JSON.parse(stdout);
  expect(report).toMatchObject({
    version: 1,
    boot: { possible: status === 0, reason: expect.any(String) },
    groups: expect.arrayContaining([{ name: 'KVM', checks: expect.any(Array) }]),
  });
  expect([0, 1]).toContain(status);
});

test('doctor works as a user who may open nothing', (context) => {
  needs(context, 'root', 'openCheckout');
  const { status, stdout } = spawnSync(process.execPath, [join(root, 'dist/cli.js'), 'doctor', '--json'], {
    encoding: 'utf8',
    uid: 65534,
    gid: 65534,
    env: { PATH: process.env.PATH },
  });
  expect([0, 1]).toContain(status);
  expect(stdout).not.toContain('could not be looked at');
});

test('a reader that leaves ends the command quietly, as SIGPIPE would', () => {
  const { stdout, stderr } = shell('(sleep 1; tvmm --help) | true');
  expect(stderr).toBe('');
  expect(stdout).toBe('status 141\n');
});

test.each(['bash', 'zsh', 'fish'])('the completion script of %s knows the options of boot', (name) => {
  const { status, stdout } = tvmm('completion', name);
  expect(status).toBe(0);
  expect(stdout).toContain(name === 'fish' ? '-l kernel' : '--kernel');
});

test('bash accepts its completion script', () => {
  const { stdout, stderr } = shell('tvmm completion bash | bash -n');
  expect(stderr).toBe('');
  expect(stdout).toBe('status 0\n');
});
