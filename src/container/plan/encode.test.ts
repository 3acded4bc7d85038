import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodePlan, PlanError, registersOf } from './encode.js';
import { HEADER, HEADER_SIZE, MAGIC, NO_TEXT, STEP, STEP_SIZE } from './format.js';
import type { Plan, Step, Struct } from './plan.js';

const plan = (...steps: Step[]): Plan => ({
  programs: [{ name: 'launcher', steps }],
  inherited: { control: 3 },
});
const call = (call: string, ...args: (number | { data: string | Struct | string[] })[]): Step => ({
  op: 'call',
  what: `call ${call}`,
  call,
  arguments: args,
});

function header(bytes: Uint8Array) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return {
    view,
    field: (name: keyof typeof HEADER) => view.getUint32(HEADER[name], true),
    data: bytes.subarray(view.getUint32(HEADER.dataAt, true)),
  };
}

test('the smallest plan is the bytes that the format says', () => {
  const bytes = encodePlan(plan({ op: 'exit', what: 'end', status: 7 }));
  const { view, field } = header(bytes);
  expect(view.getBigUint64(HEADER.magic, true)).toBe(MAGIC);
  expect(field('version')).toBe(1);
  expect(field('totalSize')).toBe(bytes.length);
  expect([field('programsAt'), field('programs')]).toEqual([HEADER_SIZE, 1]);
  expect([field('stepsAt'), field('steps')]).toEqual([HEADER_SIZE + 8, 1]);
  const step = field('stepsAt');
  expect(view.getUint8(step + STEP.op)).toBe(13);
  expect(view.getUint32(step + STEP.number, true)).toBe(7);
  expect(view.getUint32(step + STEP.what, true)).toBe(NO_TEXT);
  expect(Buffer.from(bytes).toString('hex')).toMatchInlineSnapshot(
    `"54564d4d504c414e01000000b000000040000000010000004800000001000000a000000001000000a800000000000000a800000000000000a80000000800000000000000010000000d00ffff070000000000000000000000ffffffff000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000030000000000000000000000"`,
  );
});

test('the same plan gives the same bytes, and data stands 8-aligned with a zero byte at its end', () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.string().filter((s) => !s.includes('\0')))), (vectors) => {
      const make = () => encodePlan(plan(...vectors.map((data) => call('getpid', { data }))));
      const bytes = make();
      const { field, data } = header(bytes);
      expect(make()).toEqual(bytes);
      expect(field('dataAt') % 8).toBe(0);
      expect(data.length).toBe(field('dataSize'));
      expect(data.at(-1)).toBe(0);
    }),
    { numRuns: 50 },
  );
});

test('equal strings are one place; a struct is one place for each object', () => {
  const struct = { bytes: new Uint8Array(8) };
  const bytes = encodePlan(
    plan(
      call('getpid', { data: 'same' }, { data: struct }),
      call('getpid', { data: 'same' }, { data: struct }),
      call('getpid', { data: 'same' }, { data: { bytes: new Uint8Array(8) } }),
    ),
  );
  const { view, field } = header(bytes);
  const argument = (step: number, index: number) =>
    view.getBigUint64(field('stepsAt') + step * STEP_SIZE + STEP.arguments + index * 8, true);
  expect([argument(1, 0), argument(2, 0)]).toEqual([argument(0, 0), argument(0, 0)]);
  expect(argument(1, 1)).toBe(argument(0, 1));
  expect(argument(2, 1)).not.toBe(argument(0, 1));
});

test('pointers become relocations, and patches of everything reachable belong to the step', () => {
  const inner: Struct = { bytes: new Uint8Array(8), patches: [{ at: 4, size: 4, from: 'fd' }] };
  const outer: Struct = {
    bytes: new Uint8Array(16),
    pointers: [{ at: 8, to: inner }],
    patches: [{ at: 0, size: 8, from: 'control' }],
  };
  const bytes = encodePlan(plan({ ...call('getpid', { data: outer }), result: 'fd' } as Step));
  const { view, field } = header(bytes);
  expect(field('relocations')).toBe(1);
  expect(field('patches')).toBe(2);
  expect(view.getUint32(field('stepsAt') + STEP.patches, true)).toBe(2);
  const patch = field('patchesAt');
  expect([view.getUint8(patch + 4), view.getUint8(patch + 5)]).toEqual([8, 0]);
  expect([view.getUint8(patch + 12), view.getUint8(patch + 13)]).toEqual([4, 1]);
  expect(view.getUint32(field('relocationsAt'), true)).toBe(view.getUint32(patch, true) + 8);
});

test('structs that point to each other are laid out', () => {
  const pointers: { at: number; to: Struct }[] = [];
  const ring: Struct = { bytes: new Uint8Array(8), pointers };
  pointers.push({ at: 0, to: ring });
  expect(header(encodePlan(plan(call('getpid', { data: ring })))).field('relocations')).toBe(1);
});

test('what each step is for is written when nobody else can tell it', () => {
  const step: Step = { op: 'exit', what: 'end this', status: 0 };
  const quiet = header(encodePlan(plan(step)));
  const alone = header(encodePlan({ ...plan(step), inherited: {} }));
  expect(Buffer.from(quiet.data).toString()).not.toContain('end this');
  expect(Buffer.from(alone.data).toString()).toContain('end this');
});

test('the control socket is register 0 whether it is inherited or not', () => {
  expect(registersOf({ programs: [], inherited: { other: 4, control: 3 } })[0]).toBe('control');
});

test.each<[string, Step[], RegExp]>([
  ['a call outside the table', [call('mmap')], /plans may not call mmap/],
  ['a jump backwards', [{ op: 'label', label: 'a' }, jump('a')], /no label a follows/],
  ['a jump to nowhere', [jump('b')], /no label b follows/],
  ['an unknown register', [{ op: 'send', what: 'x', tag: 1, register: 'ghost' }], /register ghost/],
  ['a tag that is out of range', [{ op: 'send', what: 'x', tag: 0 }], /tag 0/],
  [
    'a peer that is no relative',
    [{ op: 'send', what: 'x', tag: 1, peer: 'stranger' }],
    /not parent and child/,
  ],
  ['a string with a NUL', [call('chdir', { data: 'a\0b' })], /holds a NUL/],
  ['an unknown errno', [{ ...call('getpid'), allow: ['ENOSUCH'] } as Step], /ENOSUCH is no errno/],
  ['seven arguments', [call('getpid', 1, 2, 3, 4, 5, 6, 7)], /at most 6/],
  ['a number with a fraction', [call('getpid', 1.5)], /1.5 is not an integer/],
  ['a child that does not exist', [clone(0n, 'nobody')], /no program nobody/],
  ['a program that clones itself', [clone(0n, 'launcher')], /no program launcher stands after/],
  ['clone flags that share memory', [clone(0x100n, 'launcher')], /stands after|not all namespaces/],
  [
    'a field outside its struct',
    [{ op: 'load', what: 'x', from: { bytes: new Uint8Array(4) }, at: 1, size: 4, result: 'a' }],
    /not inside a struct/,
  ],
  [
    'a patch outside its struct',
    [call('getpid', { data: { bytes: new Uint8Array(4), patches: [{ at: 0, size: 8, from: 'control' }] } })],
    /not inside a struct/,
  ],
])('%s is refused with the name of the step', (_, steps, message) => {
  expect(() => encodePlan(plan(...steps))).toThrow(PlanError);
  expect(() => encodePlan(plan(...steps))).toThrow(message);
});

test('more registers than the launcher has are refused', () => {
  const steps = Array.from(
    { length: 64 },
    (_, index): Step => ({ ...call('getpid'), result: `r${index}` }) as Step,
  );
  expect(() => encodePlan(plan(...steps))).toThrow(/65 registers/);
});

function jump(label: string): Step {
  return { op: 'jump', what: 'go', when: 'always', label };
}

function clone(flags: bigint, child: string): Step {
  return { op: 'clone', what: 'clone', flags, child, result: 'pid' };
}
