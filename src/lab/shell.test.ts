import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LabJobError } from './errors.js';
import { jobScript, labEnvironment, shellQuote } from './shell.js';

/** Runs a script as L1's agent does. */
function run(script: string): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('sh', ['-c', script], { encoding: 'utf8' });
}

describe('shellQuote', () => {
  it('stands for exactly the text, whatever the text', () => {
    const text = fc
      .string({ unit: 'binary' })
      .filter((one) => !one.includes('\0') && Buffer.from(one).toString() === one);
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 3 }), (words) => {
        const done = run(`printf '%s\\036' ${words.map(shellQuote).join(' ')}`);
        expect(done.stdout).toBe(words.map((word) => `${word}\x1e`).join(''));
      }),
      { numRuns: 20 },
    );
  });
});

describe('jobScript', () => {
  it('runs the command in its folder with its environment and nothing else', () => {
    const env = { PATH: '/usr/bin:/bin', QUOTE: `it's "x" $HOME` };
    const done = run(
      jobScript({ argv: ['sh', '-c', 'pwd; env | sort; echo "$1"', 'sh', 'a  b'], cwd: '/usr', env }),
    );
    const lines = done.stdout.split('\n');
    expect(lines[0]).toBe('/usr');
    expect(lines).toContain(`QUOTE=it's "x" $HOME`);
    expect(lines).toContain('a  b');
    expect(done.stdout).not.toContain('HOME=');
  });

  it('gives the status of the command, and 125 where the folder is missing', () => {
    const env = { PATH: '/usr/bin:/bin' };
    expect(run(jobScript({ argv: ['sh', '-c', 'exit 9'], cwd: '/', env })).status).toBe(9);
    expect(run(jobScript({ argv: ['no-such-command'], cwd: '/', env })).status).toBe(127);
    expect(run(jobScript({ argv: ['true'], cwd: '/no such folder', env })).status).toBe(125);
  });

  it.each([
    ['no command', { argv: [], cwd: '/', env: {} }],
    ['a NUL byte in an argument', { argv: ['a\0b'], cwd: '/', env: {} }],
    ['a NUL byte in the folder', { argv: ['a'], cwd: '/\0', env: {} }],
    ['a variable name with =', { argv: ['a'], cwd: '/', env: { 'A=B': 'c' } }],
    ['a variable name that env would take for an option', { argv: ['a'], cwd: '/', env: { '-u': 'c' } }],
  ])('refuses %s', (_what, command) => {
    expect(() => jobScript(command)).toThrow(LabJobError);
  });
});

describe('labEnvironment', () => {
  it('passes the declared variables only', () => {
    const host = {
      PATH: '/opt/bin',
      HOME: '/home/a',
      TERM: 'vt100',
      TVMM_CACHE: '/cache',
      NODE_EXTRA_CA_CERTS: '/ca.pem',
      HTTPS_PROXY: 'proxy.example',
      LD_PRELOAD: 'evil.so',
    };
    expect(labEnvironment(host)).toEqual({
      PATH: '/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: '/home/a',
      LANG: 'C.UTF-8',
      TERM: 'vt100',
      TVMM_CACHE: '/cache',
      TVMM_LAB: '1',
    });
  });
});
