import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sealedMemfd } from '../../sys/memfd.js';
import { createPipe, readToEnd } from '../../sys/pipe.js';
import { exitStatus, spawn, waitPid } from '../../sys/spawn.js';
import { encodePlan } from '../plan/encode.js';
import { HEADER, STEP, STEP_SIZE } from '../plan/format.js';
import type { Plan, Step, Struct } from '../plan/plan.js';
import { launcherFile, launcherPath } from './launcher-file.js';
import { call, clone, exec } from './testing.js';

const inner: Struct = { bytes: new Uint8Array(8), patches: [{ at: 0, size: 8, from: 'pid' }] };
const outer: Struct = { bytes: new Uint8Array(24), pointers: [{ at: 8, to: inner }] };

/** One step of every kind, so that every check of the launcher has something to look at. */
const STEPS: readonly Step[] = [
  clone('child'),
  call('getpid', [{ data: outer }, 'text', { register: 'pid' }], { result: 'made', allow: ['EPERM'] }),
  { op: 'jump', what: 'jump', when: 'zero', register: 'pid', label: 'end' },
  { op: 'send', what: 'send', tag: 1, peer: 'child', register: 'pid' },
  { op: 'receive', what: 'receive', tag: 1, result: 'made' },
  { op: 'ensure', what: 'ensure', root: 'made', path: '/a/b', kind: 'file', mode: 0o644, result: 'made' },
  { op: 'copy-tree', what: 'copy', from: 'made', to: 'made' },
  { op: 'decimal', what: 'decimal', from: 'pid', into: outer, at: 2, width: 20, align: 'left' },
  { op: 'send-descriptor', what: 'send', socket: 'made', descriptor: 'pid', payload: 'x' },
  {
    op: 'hook',
    what: 'hook',
    path: '/h',
    argv: ['a', 'b'],
    environment: ['c'],
    input: inner,
    timeoutSeconds: 3,
  },
  { op: 'load', what: 'load', from: inner, at: 4, size: 4, result: 'made' },
  { op: 'expect', what: 'expect', from: inner, at: 0, size: 8, equals: 1n, error: 'EINVAL' },
  { op: 'supervise', what: 'supervise', child: 'pid', reap: true, tag: 2 },
  { op: 'end', what: 'end', status: 'made', tag: 3, alone: true },
  { op: 'label', label: 'end' },
  exec('/bin/true', 'argument'),
];
const PLAN: Plan = {
  inherited: {},
  programs: [
    { name: 'launcher', steps: STEPS },
    { name: 'child', steps: [{ op: 'exit', what: 'end', status: 3 }] },
  ],
};
const GOOD = encodePlan(PLAN);

let nothing: ReturnType<typeof createPipe>;
beforeAll(() => {
  nothing = createPipe('stdin');
});
afterAll(() => {
  nothing.reader[Symbol.dispose]();
  nothing.writer[Symbol.dispose]();
});

/** Runs the launcher on some bytes: by default it only looks at them. */
function launcher(bytes: Uint8Array, options: { execute?: boolean; path?: string } = {}) {
  const { reader, writer } = createPipe('stderr');
  using _ = reader;
  using plan = sealedMemfd('plan', bytes, 'data');
  const pid = spawn({
    path: options.path ?? `/proc/self/fd/${launcherFile().fd}`,
    argv: ['launcher', ...(options.execute === true ? [] : ['--check']), '3'],
    environment: [],
    descriptors: new Map([
      [0, nothing.reader.fd],
      [1, writer.fd],
      [2, writer.fd],
      [3, plan.fd],
    ]),
  });
  writer[Symbol.dispose]();
  const text = Buffer.from(readToEnd(reader.fd, 100_000)).toString();
  return { status: exitStatus(waitPid(pid) ?? -1), text };
}

/** A damaged plan is refused with a sentence, or what was changed is something that a plan may say. */
function expectVerdict(bytes: Uint8Array): void {
  const { status, text } = launcher(bytes);
  expect([0, 125]).toContain(status);
  expect(text === '').toBe(status === 0);
  if (status === 125) expect(text).toMatch(/^tvmm launcher: the plan/);
}

const changed = (...edits: readonly (readonly [at: number, byte: number])[]) => {
  const bytes = new Uint8Array(GOOD);
  for (const [at, byte] of edits) bytes[at % bytes.length] = byte;
  return bytes;
};

/** The bytes with one 32-bit field changed. */
function field(at: number, value: number, from = GOOD): Uint8Array {
  const bytes = new Uint8Array(from);
  new DataView(bytes.buffer).setUint32(at, value, true);
  return bytes;
}

const header = new DataView(GOOD.buffer, GOOD.byteOffset);
const stepsAt = header.getUint32(HEADER.stepsAt, true);
const stepAt = (op: Step['op']) => stepsAt + STEPS.findIndex((step) => step.op === op) * STEP_SIZE;

test('a good plan with every kind of step passes the check', () => {
  expect(launcher(GOOD)).toEqual({ status: 0, text: '' });
});

test('whatever bytes of a plan are changed, the launcher gives a verdict', () => {
  const edit = fc.tuple(fc.nat(GOOD.length - 1), fc.integer({ min: 0, max: 255 }));
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 6 }), (edits) => expectVerdict(changed(...edits))),
    { numRuns: 400 },
  );
});

test('tables, counts and offsets with extreme values get a verdict', () => {
  const extremes = [
    0,
    1,
    7,
    8,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff0,
    0xffff_ffff,
    GOOD.length,
    GOOD.length - 8,
  ];
  const places = [
    ...Object.values(HEADER),
    ...Array.from({ length: (GOOD.length - stepsAt) / 4 - 1 }, (_, index) => stepsAt + index * 4),
  ];
  fc.assert(
    fc.property(fc.constantFrom(...places), fc.constantFrom(...extremes), (at, value) =>
      expectVerdict(field(at, value)),
    ),
    { numRuns: 400 },
  );
});

test('random bytes behind a right beginning get a verdict', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (noise) => {
      const bytes = new Uint8Array(64 + Math.ceil(noise.length / 8) * 8);
      bytes.set(noise, 16);
      bytes.set(GOOD.subarray(0, 12), 0);
      new DataView(bytes.buffer).setUint32(HEADER.totalSize, bytes.length, true);
      expectVerdict(bytes);
    }),
    { numRuns: 100 },
  );
});

test('a plan that is cut short anywhere is refused', () => {
  for (let length = 0; length < GOOD.length; length += 8 * 13)
    expect(launcher(GOOD.subarray(0, length)).status, `${length} bytes`).toBe(125);
});

test.each<[string, Uint8Array]>([
  ['a wrong magic', field(0, 0)],
  ['another version', field(HEADER.version, 2)],
  ['no program', field(HEADER.programs, 0)],
  ['seventeen programs', field(HEADER.programs, 17)],
  ['steps behind the end', field(HEADER.steps, 0x0100_0000)],
  ['data that is not at the end', field(HEADER.dataSize, header.getUint32(HEADER.dataSize, true) - 8)],
  ['an unknown operation', changed([stepAt('hook') + STEP.op, 99])],
  ['a call outside the table', field(stepAt('call') + STEP.number, 11)],
  ['a jump backwards', field(stepAt('jump') + STEP.number, 0)],
  ['a jump out of the program', field(stepAt('jump') + STEP.number, STEPS.length)],
  ['a program that clones itself', field(stepAt('clone') + STEP.number, 0)],
  ['clone flags that share memory', field(stepAt('clone') + STEP.arguments, 0x100)],
  ['an argument outside the data', field(stepAt('call') + STEP.arguments, 0x7fff_ffff)],
  ['a register that does not exist', changed([stepAt('load') + STEP.result, 64])],
  ['patches that do not exist', field(stepAt('call') + STEP.patches, 1000)],
  ['a hook whose input is longer than the data', field(stepAt('hook') + STEP.arguments + 32, 0x10_0000)],
  ['a decimal that leaves the data', field(stepAt('decimal') + STEP.arguments, GOOD.length)],
  [
    'a vector that is none',
    field(stepAt('exec') + STEP.arguments, header.getUint32(HEADER.dataSize, true) - 8 + 1),
  ],
])('%s is refused with a sentence', (_, bytes) => {
  const { status, text } = launcher(bytes);
  expect(status).toBe(125);
  expect(text).toMatch(/^tvmm launcher: the plan is damaged: .+\n$/);
});

/** Steps that do no harm whatever their registers hold: junk descriptors, pids that are never signalled. */
const harmless: fc.Arbitrary<Step> = fc.oneof(
  fc.constantFrom<Step>(
    call('getpid', [], { result: 'a' }),
    call('read', [{ register: 'a' }, { data: inner }, 100_000], {
      allow: ['EBADF', 'EFAULT', 'EISDIR', 'EINVAL'],
    }),
    call('open', ['/dev/zero', 0], { result: 'a' }),
    call('read', [{ register: 'a' }, { data: outer }, 4096], {
      allow: ['EBADF', 'EFAULT', 'EISDIR', 'EINVAL'],
    }),
    { op: 'send', what: 's', tag: 1, peer: 'child' },
    { op: 'receive', what: 'r', tag: 1, peer: 'child', result: 'b' },
    { op: 'receive', what: 'r', tag: 1, result: 'b' },
    { op: 'ensure', what: 'e', root: 'a', path: '/x', kind: 'directory', mode: 0o755, result: 'b' },
    { op: 'copy-tree', what: 'c', from: 'a', to: 'b' },
    { op: 'send-descriptor', what: 'd', socket: 'a', descriptor: 'b', payload: { bytes: Uint8Array.of(1) } },
    { op: 'decimal', what: 'd', from: 'a', into: outer, at: 0, width: 1, align: 'right' },
    { op: 'load', what: 'l', from: outer, at: 8, size: 8, result: 'b' },
    { op: 'expect', what: 'x', from: inner, at: 0, size: 8, equals: 0, error: 'EILSEQ' },
    { op: 'supervise', what: 's', child: 'b', reap: false, tag: 1 },
    { op: 'supervise', what: 's', child: 'b', reap: false, tag: 1, result: 'b' },
    { op: 'hook', what: 'h', path: '/bin/true', argv: ['true'], environment: [], input: outer },
    clone('child', 0n, { result: 'b' }),
  ),
);

test('plans of steps in senseless order end with a status and never by a fault', () => {
  const child = { name: 'child', steps: [call('getpid', [])] };
  const start: Step[] = [
    call('getpid', [], { result: 'pid' }),
    { op: 'load', what: 'none', from: { bytes: new Uint8Array(8).fill(255) }, at: 0, size: 8, result: 'a' },
    clone('child', 0n, { result: 'b' }),
  ];
  fc.assert(
    fc.property(fc.array(harmless, { maxLength: 8 }), (steps) => {
      const plan: Plan = {
        inherited: {},
        programs: [{ name: 'launcher', steps: [...start, ...steps] }, child],
      };
      const { status } = launcher(encodePlan(plan), { execute: true });
      expect([0, 125]).toContain(status);
    }),
    { numRuns: 150 },
  );
});

test('a plan without engine tells on stderr what it could not do', () => {
  const step = { ...call('chdir', ['/no/such']), what: 'enter /no/such' };
  const plan: Plan = { inherited: {}, programs: [{ name: 'launcher', steps: [step] }] };
  expect(launcher(encodePlan(plan), { execute: true })).toEqual({
    status: 125,
    text: 'tvmm launcher: cannot enter /no/such: step 0 of program 0: errno 2 (ENOENT)\n',
  });
});

test('the launcher on disk runs itself from a sealed copy that nobody can write', () => {
  const seals = { bytes: new Uint8Array(8) };
  const steps: Step[] = [
    call('open', ['/proc/self/exe', 0], { result: 'exe' }),
    // F_GET_SEALS: SEAL, SHRINK, GROW, WRITE. On any other file it fails with EINVAL.
    call('fcntl', [{ register: 'exe' }, 1034], { result: 'seals' }),
    { op: 'decimal', what: 'tell', from: 'seals', into: seals, at: 0, width: 2, align: 'left' },
    call('write', [1, { data: seals }, 2]),
    call('open', ['/proc/self/exe', 2], { result: 'exe', allow: ['ETXTBSY', 'EPERM'] }),
    call('write', [{ register: 'exe' }, 'x', 1], { result: 'wrote', allow: ['EPERM', 'EBADF'] }),
    { op: 'jump', what: 'go', when: 'negative', register: 'wrote', label: 'safe' },
    { op: 'exit', what: 'end', status: 66 },
    { op: 'label', label: 'safe' },
    { op: 'exit', what: 'end', status: 7 },
  ];
  const plan = encodePlan({ inherited: {}, programs: [{ name: 'launcher', steps }] });
  expect(launcher(plan, { execute: true, path: launcherPath() })).toEqual({ status: 7, text: '15' });
});
