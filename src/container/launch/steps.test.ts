import {
  chmodSync,
  existsSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../../../test/support/needs.js';
import { createPipe, readToEnd } from '../../sys/pipe.js';
import type { EnsureStep, Register, Step, Struct } from '../plan/plan.js';
import { LaunchError } from './errors.js';
import { Launch } from './launch.js';
import { call, clone, exec, single } from './testing.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-steps-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const O_PATH = 0o10000000;
const open = (path: string, result: Register, flags = O_PATH) =>
  call('open', [path, { value: flags, text: 'flags' }], { result });
const report = (tag: number, register: Register): Step => ({ op: 'send', what: 'tell', tag, register });
const at = (...parts: string[]) => join(folder, ...parts);

/** Runs the steps; what they send, by tag. */
function run(...steps: Step[]): Map<number, number> {
  const sent = new Map<number, number>();
  using launch = Launch.start(single(...steps));
  launch.finish((event) => sent.set(event.tag, event.kind === 'sent' ? event.value : event.waitStatus));
  return sent;
}

function codeOf(...steps: Step[]): string {
  try {
    run(...steps);
  } catch (error) {
    if (error instanceof LaunchError) return error.code;
    throw error;
  }
  return 'none';
}

const ensure = (path: string, kind: 'directory' | 'file' = 'directory'): EnsureStep => ({
  op: 'ensure',
  what: `make ${path}`,
  root: 'root',
  path,
  kind,
  mode: kind === 'file' ? 0o644 : 0o750,
  result: 'made',
});

test('results, allowed failures and jumps', () => {
  const sent = run(
    call('getpid', [], { result: 'pid' }),
    call('chdir', ['/no/such'], { result: 'failed', allow: ['EPERM', 'ENOENT'] }),
    { op: 'jump', what: 'go', when: 'negative', register: 'failed', label: 'yes' },
    report(1, 'pid'),
    { op: 'label', label: 'yes' },
    report(2, 'failed'),
  );
  expect([...sent]).toEqual([[2, -2]]);
});

test.each([
  ['negative', -1, true],
  ['negative', 0, false],
  ['not-negative', 0, true],
  ['not-negative', -1, false],
  ['zero', 0, true],
  ['zero', 5, false],
  ['not-zero', 5, true],
  ['not-zero', 0, false],
] as const)('a jump when %s with %i: %s', (when, value, jumps) => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, BigInt(value), true);
  const sent = run(
    { op: 'load', what: 'load', from: { bytes }, at: 0, size: 8, result: 'value' },
    { op: 'jump', what: 'go', when, register: 'value', label: 'end' },
    report(1, 'value'),
    { op: 'label', label: 'end' },
  );
  expect(sent.has(1)).toBe(!jumps);
});

test('what one call writes another reads: load, expect, patches and decimals', () => {
  const stat: Struct = { bytes: new Uint8Array(144) };
  const path: Struct = { bytes: new Uint8Array(Buffer.from('/proc/self/fd/..........\0')) };
  const sent = run(
    open('/dev/null', 'null', 0),
    call('fstat', [{ register: 'null' }, { data: stat }]),
    // st_mode says a character device, st_rdev 1:3.
    {
      op: 'expect',
      what: 'be a device',
      from: stat,
      at: 24,
      size: 4,
      mask: 0o170000,
      equals: 0o020000,
      error: 'ENODEV',
    },
    { op: 'expect', what: 'be /dev/null', from: stat, at: 40, size: 8, equals: 0x103, error: 'ENODEV' },
    { op: 'decimal', what: 'name it', from: 'null', into: path, at: 14, width: 10, align: 'left' },
    call('open', [{ data: path }, 0], { result: 'again' }),
    call('fstat', [{ register: 'again' }, { data: stat }]),
    { op: 'load', what: 'load', from: stat, at: 40, size: 8, result: 'device' },
    report(1, 'device'),
  );
  expect(sent.get(1)).toBe(0x103);
});

test('a patched struct holds the register’s value when the call is made', () => {
  const file = at('out');
  writeFileSync(file, '');
  run(
    open(file, 'file', 1),
    call('getpid', [], { result: 'pid' }),
    call('write', [
      { register: 'file' },
      { data: { bytes: new Uint8Array(12).fill(255), patches: [{ at: 2, size: 8, from: 'pid' }] } },
      12,
    ]),
    report(1, 'pid'),
  );
  const bytes = readFileSync(file);
  expect(bytes.readBigInt64LE(2)).toBeGreaterThan(0n);
  expect([bytes[0], bytes[1], bytes[10], bytes[11]]).toEqual([255, 255, 255, 255]);
});

test('an expectation that is not met fails with the errno of its author', () => {
  const from = { bytes: Uint8Array.of(1, 0, 0, 0) };
  expect(codeOf({ op: 'expect', what: 'see', from, at: 0, size: 4, equals: 2, error: 'EXDEV' })).toBe(
    'EXDEV',
  );
});

test('ensure makes folders and files that are missing, and takes those that are there', () => {
  mkdirSync(at('a'));
  run(
    call('umask', [0]),
    open(folder, 'root'),
    ensure('/a/b/c'),
    ensure('a/b/c/file', 'file'),
    ensure('/a/b/c/file', 'file'),
    ensure('/'),
    ensure(''),
    ensure('/x/../y/./z'),
  );
  expect(statSync(at('a/b/c')).mode & 0o7777).toBe(0o750);
  expect(statSync(at('a/b')).mode & 0o7777).toBe(0o755);
  expect(statSync(at('a/b/c/file')).isFile()).toBe(true);
  expect([existsSync(at('x')), existsSync(at('y/z'))]).toEqual([true, true]);
});

test('ensure refuses a file where a folder is asked for, and the other way round', () => {
  writeFileSync(at('file'), '');
  expect(codeOf(open(folder, 'root'), ensure('/file'))).toBe('ENOTDIR');
  expect(codeOf(open(folder, 'root'), ensure('/file/below'))).toBe('ENOTDIR');
  expect(codeOf(open(folder, 'root'), ensure('/', 'file'))).toBe('EISDIR');
});

test('ensure follows links inside the root and never out of it', () => {
  const outside = at('outside');
  mkdirSync(outside);
  mkdirSync(at('root'));
  symlinkSync('/target', at('root/absolute'));
  symlinkSync('../../../../../outside', at('root/relative'));
  symlinkSync(outside, at('root/far'));
  symlinkSync('loop', at('root/loop'));
  symlinkSync('absolute/deep', at('root/chain'));
  run(
    open(at('root'), 'root'),
    ensure('/absolute/one'),
    ensure('/relative/two'),
    ensure('/far/three'),
    ensure('/../../four'),
    ensure('/chain/five', 'file'),
  );
  expect(existsSync(at('root/target/one'))).toBe(true);
  expect(existsSync(at('root/outside/two'))).toBe(true);
  expect(existsSync(at(`root/${outside}/three`))).toBe(true);
  expect(existsSync(at('root/four'))).toBe(true);
  expect(existsSync(at('root/target/deep/five'))).toBe(true);
  expect(existsSync(at('outside/two')) || existsSync(at('outside/three')) || existsSync(at('four'))).toBe(
    false,
  );
  expect(codeOf(open(at('root'), 'root'), ensure('/loop/x'))).toBe('ELOOP');
});

test('ensure does not follow the magic links of /proc', () => {
  expect(codeOf(open('/', 'root'), ensure('/proc/self/root/tmp'))).toBe('ELOOP');
  expect(codeOf(open('/', 'root'), ensure(`/proc/self/cwd/${'x'.repeat(300)}`))).not.toBe('none');
});

test('copy-tree keeps contents, modes, owners, times, links and nodes', (context) => {
  needs(context, 'root');
  mkdirSync(at('from/sub/deeper'), { recursive: true });
  writeFileSync(at('from/sub/file'), 'x'.repeat(100_000));
  chmodSync(at('from/sub/file'), 0o4751);
  linkSync(at('from/sub/file'), at('from/hard'));
  symlinkSync('/etc/passwd', at('from/link'));
  lchownSync(at('from/link'), 11, 12);
  lchownSync(at('from/sub/deeper'), 13, 14);
  utimesSync(at('from/sub'), 1000, 2000);
  mkdirSync(at('to'));
  const fifo = call('mknod', [at('from/fifo'), 0o10644, 0]);
  run(fifo, open(at('from'), 'from'), open(at('to'), 'to'), {
    op: 'copy-tree',
    what: 'copy',
    from: 'from',
    to: 'to',
  });
  expect(readFileSync(at('to/sub/file'), 'utf8')).toBe('x'.repeat(100_000));
  expect(statSync(at('to/sub/file')).mode & 0o7777).toBe(0o4751);
  expect(statSync(at('to/sub')).mtimeMs).toBe(2_000_000);
  expect(readlinkSync(at('to/link'))).toBe('/etc/passwd');
  expect([lstatSync(at('to/link')).uid, lstatSync(at('to/link')).gid]).toEqual([11, 12]);
  expect([statSync(at('to/sub/deeper')).uid, statSync(at('to/sub/deeper')).gid]).toEqual([13, 14]);
  expect(lstatSync(at('to/fifo')).isFIFO()).toBe(true);
  expect(readFileSync(at('to/hard'), 'utf8').length).toBe(100_000);
});

test('a descriptor goes over a socket with its payload', () => {
  const file = at('out');
  writeFileSync(file, 'of the file');
  const { reader, writer } = createPipe('stdout');
  using _ = reader;
  // The launcher sends to its own control socket, as a runtime sends a terminal to the console socket: the payload is a message of no meaning.
  const payload = { bytes: new Uint8Array(32) };
  payload.bytes.set([1, 9]);
  using launch = Launch.start(
    single(open(file, 'file', 0), {
      op: 'send-descriptor',
      what: 'hand over',
      socket: 'control',
      descriptor: 'file',
      payload,
    }),
    { stdio: [0, writer.fd, 2] },
  );
  writer[Symbol.dispose]();
  const tags: number[] = [];
  expect(launch.finish((event) => tags.push(event.tag))).toBe(0);
  expect(tags).toEqual([9]);
  expect(readToEnd(reader.fd, 10).length).toBe(0);
});

const hook = (
  script: string,
  rest: { timeoutSeconds?: number; input?: string; path?: string } = {},
): Step => ({
  op: 'hook',
  what: 'run the hook',
  path: rest.path ?? '/bin/sh',
  argv: ['sh', '-c', script],
  environment: ['PATH=/bin', `OUT=${at('out')}`],
  input: { bytes: new Uint8Array(Buffer.from(rest.input ?? '')) },
  timeoutSeconds: rest.timeoutSeconds,
});

test('a hook gets its input and environment, and no descriptor of the launcher', () => {
  const input = '{"ociVersion":"1.2.0"}'.padEnd(200_000);
  run(hook('cat > "$OUT"; ls /proc/self/fd | wc -l >> "$OUT"', { input }));
  expect(readFileSync(at('out'), 'utf8').replaceAll(/\s+/g, ' ')).toBe('{"ociVersion":"1.2.0"} 4 ');
});

test('a hook may leave its input alone and print much', () => {
  run(
    hook('i=0; while [ $i -lt 2000 ]; do echo "a long line of output"; i=$((i+1)); done', {
      input: 'x'.repeat(100_000),
    }),
  );
});

test('a hook that fails is told with its status and what it printed last', () => {
  expect(() => run(hook('echo to stdout; echo the reason >&2; exit 3'))).toThrow(
    /^error running the hook: .*: exit status 3: "to stdout\\nthe reason"$/,
  );
  expect(() => run(hook('kill -9 $$'))).toThrow(/killed by SIGKILL/);
});

test('a hook that does not exist fails with the errno of its start', () => {
  expect(codeOf(hook('', { path: '/no/hook' }))).toBe('ENOENT');
});

test('a hook that takes too long is killed', () => {
  expect(codeOf(hook(`echo $$ > ${at('pid')}; exec sleep 100`, { timeoutSeconds: 1 }))).toBe('ETIMEDOUT');
  expect(existsSync(`/proc/${readFileSync(at('pid'), 'utf8').trim()}`)).toBe(false);
});

test('exec goes through its candidates as shells do', () => {
  const candidates = (...paths: string[]): Step => ({
    op: 'exec',
    what: 'start it',
    candidates: paths,
    argv: ['sh', '-c', 'exit 9'],
    environment: [],
  });
  const statusOf = (step: Step) => {
    using launch = Launch.start(single(step));
    return launch.finish();
  };
  expect(statusOf(candidates('/no/sh', '/etc/passwd/sh', '/bin/sh'))).toBe(9);
  expect(codeOf(candidates('/no/sh', '/tmp', '/no'))).toBe('EACCES');
  expect(codeOf(candidates())).toBe('ENOENT');
});

test('the container’s program starts with no signal ignored or blocked', () => {
  const { reader, writer } = createPipe('stdout');
  using _ = reader;
  using launch = Launch.start(single(exec('/bin/grep', '-E', 'Sig(Blk|Ign)', '/proc/self/status')), {
    stdio: [0, writer.fd, 2],
  });
  writer[Symbol.dispose]();
  launch.finish();
  expect(Buffer.from(readToEnd(reader.fd, 1000)).toString()).toBe(
    `SigBlk:\t${'0'.repeat(16)}\nSigIgn:\t${'0'.repeat(16)}\n`,
  );
});

test('a supervising program may go on, and then ends as its child did', () => {
  const plan = {
    inherited: { control: 3 },
    programs: [
      {
        name: 'launcher',
        steps: [
          clone('main'),
          { op: 'supervise', what: 'wait', child: 'pid', reap: false, tag: 5, result: 'status' },
          call('rmdir', [at('none')], { allow: 'any', result: 'gone' }),
          report(6, 'gone'),
          { op: 'end', what: 'end', status: 'status', tag: 7, alone: true },
        ] satisfies Step[],
      },
      { name: 'main', steps: [exec('/bin/sh', '-c', 'exit 6')] },
    ],
  };
  using launch = Launch.start(plan);
  const heard: (readonly number[])[] = [];
  const status = launch.finish((event) =>
    heard.push(event.kind === 'sent' ? [event.tag, event.value] : [event.tag, event.waitStatus]),
  );
  expect(status).toBe(6);
  expect(heard).toEqual([
    [6, -constants.errno.ENOENT],
    [7, 6 << 8],
  ]);
});

test('supervise with reap outlives processes that are not its own', () => {
  const plan = {
    inherited: { control: 3 },
    programs: [
      {
        name: 'init',
        steps: [
          call('prctl', [36, 1, 0, 0, 0]),
          clone('main'),
          { op: 'supervise', what: 'wait', child: 'pid', reap: true, tag: 5 },
        ] satisfies Step[],
      },
      // The orphan comes to init, ends first, and must not be taken for the main process.
      { name: 'main', steps: [exec('/bin/sh', '-c', '(exit 1 & exit 2) & sleep 0.1; exit 6')] },
    ],
  };
  using launch = Launch.start(plan);
  expect(launch.finish()).toBe(6);
});
