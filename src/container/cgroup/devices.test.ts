/** Rule lists, their meaning, and the two forms in which kernels take them: a list with exceptions (v1) and a program (v2). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  containerDeviceRules,
  type DeviceRule,
  type DeviceType,
  isAllowed,
  MKNOD,
  parseDeviceRules,
  READ,
  WRITE,
} from './device-rules.js';
import { BPF, compileDeviceProgram, INSTRUCTION } from './devices-bpf.js';
import {
  compileDeviceState,
  type DeviceException,
  type DeviceState,
  deviceTransition,
  parseDevicesList,
  printException,
  setDevicesV1,
} from './devices-v1.js';
import { CgroupDevicesError } from './errors.js';
import { FakeFiles } from './fake-files.js';
import type { OciDeviceRule } from './resources.js';

const rules = (...list: OciDeviceRule[]) => parseDeviceRules(list);
const denyAll: OciDeviceRule = { allow: false, access: 'rwm' };

describe('a list of allowed devices', () => {
  it('is checked entry by entry', () => {
    const bad = (rule: OciDeviceRule, message: string) => expect(() => rules(denyAll, rule)).toThrow(message);
    bad({ allow: true, type: 'x' }, 'linux.resources.devices[1]: type "x" is none of a, b, c');
    bad({ allow: true, access: 'rx' }, 'linux.resources.devices[1].access "rx" is not made of r, w and m');
    bad({ allow: true, major: 4096 }, 'linux.resources.devices[1].major is 4096');
    bad({ allow: true, minor: 2 ** 20 }, 'linux.resources.devices[1].minor');
    bad({ allow: true, major: 1.5 }, 'linux.resources.devices[1].major');
    bad({ allow: true, major: -2 }, 'linux.resources.devices[1].major');
  });

  it('takes unset type, numbers and access for all of them, and -1 for any number', () => {
    expect(rules({ allow: true })).toEqual([
      { allow: true, type: 'b', major: null, minor: null, access: 7 },
      { allow: true, type: 'c', major: null, minor: null, access: 7 },
    ]);
    expect(rules({ allow: true, type: 'c', major: -1, minor: 3, access: 'r' })).toEqual([
      { allow: true, type: 'c', major: null, minor: 3, access: READ },
    ]);
  });

  it('means that the last entry that speaks of an access decides about it', () => {
    const list = rules(
      denyAll,
      { allow: true, type: 'c', major: 1, access: 'rw' },
      { allow: false, type: 'c', major: 1, minor: 3, access: 'w' },
    );
    expect(isAllowed(list, 'c', 1, 5, READ | WRITE)).toBe(true);
    expect(isAllowed(list, 'c', 1, 3, READ)).toBe(true);
    expect(isAllowed(list, 'c', 1, 3, READ | WRITE)).toBe(false);
    expect(isAllowed(list, 'c', 1, 5, MKNOD)).toBe(false);
    expect(isAllowed(list, 'b', 1, 5, READ)).toBe(false);
  });

  it('denies what no entry speaks of', () => {
    expect(isAllowed([], 'c', 1, 3, READ)).toBe(false);
  });

  it('of a container leaves the usual devices and making nodes', () => {
    const list = rules(...containerDeviceRules([denyAll]));
    expect(isAllowed(list, 'c', 1, 3, READ | WRITE)).toBe(true);
    expect(isAllowed(list, 'c', 136, 7, READ | WRITE)).toBe(true);
    expect(isAllowed(list, 'c', 10, 200, READ | WRITE)).toBe(true);
    expect(isAllowed(list, 'b', 8, 0, MKNOD)).toBe(true);
    expect(isAllowed(list, 'b', 8, 0, READ)).toBe(false);
    expect(isAllowed(list, 'c', 10, 232, READ)).toBe(false);
  });
});

/** What the kernel does with its form (security/device_cgroup.c): one exception must grant everything, or may deny anything. */
function kernelAllows(state: DeviceState, type: DeviceType, major: number, minor: number, access: number) {
  const matching = state.exceptions.filter(
    (one) =>
      one.type === type &&
      (one.major === null || one.major === major) &&
      (one.minor === null || one.minor === minor),
  );
  return state.allowByDefault
    ? !matching.some((one) => one.access & access)
    : matching.some((one) => (access & ~one.access) === 0);
}

/** What the kernel's form becomes after writes to devices.allow and devices.deny. */
function write(state: DeviceState, file: string, value: string): DeviceState {
  const allow = file === 'devices.allow';
  if (value === 'a') return { allowByDefault: allow, exceptions: [] };
  const [one] = parseDevicesList(value).exceptions;
  if (one === undefined) throw new Error(`no device rule: ${value}`);
  const exceptions: DeviceException[] = state.exceptions.map((each) => ({ ...each }));
  const known = exceptions.find(
    (each) => each.type === one.type && each.major === one.major && each.minor === one.minor,
  );
  if (allow === state.allowByDefault) {
    if (known !== undefined) known.access &= ~one.access;
  } else if (known !== undefined) known.access |= one.access;
  else exceptions.push(one);
  return {
    allowByDefault: state.allowByDefault,
    exceptions: exceptions.filter(({ access }) => access !== 0),
  };
}

const numberOrAll = fc.option(fc.integer({ min: 0, max: 2 }), { nil: null });
const ruleArbitrary: fc.Arbitrary<DeviceRule> = fc.record({
  allow: fc.boolean(),
  type: fc.constantFrom<DeviceType>('b', 'c'),
  major: numberOrAll,
  minor: numberOrAll,
  access: fc.integer({ min: 1, max: 7 }),
});
const listArbitrary = fc.array(ruleArbitrary, { maxLength: 8 });

/** Every question that tells lists with these numbers apart: mknod(2), and open(2) for reading, writing, both. */
function* questions(): Generator<[DeviceType, number, number, number]> {
  for (const type of ['b', 'c'] as const)
    for (const major of [0, 1, 2, 3])
      for (const minor of [0, 1, 2, 3])
        for (const access of [MKNOD, READ, WRITE, READ | WRITE]) yield [type, major, minor, access];
}

describe('the v1 form of a list', () => {
  it('writes the default once and each device after it, in the order of the list', () => {
    const files = new FakeFiles({ 'devices.list': 'a *:* rwm\n', 'devices.allow': '', 'devices.deny': '' });
    setDevicesV1(files, [
      denyAll,
      { allow: true, type: 'c', major: 10, minor: 229, access: 'rwm' },
      { allow: true, type: 'b', major: 8, minor: 20, access: 'rw' },
      { allow: true, type: 'b', access: 'm' },
    ]);
    expect(files.log).toEqual([
      'devices.deny a',
      'devices.allow c 10:229 rwm',
      'devices.allow b 8:20 rw',
      'devices.allow b *:* m',
    ]);
  });

  it('writes only what an update changes', () => {
    const files = new FakeFiles({
      'devices.list': 'c 1:3 rwm\nc 5:* rw\nb 8:0 r\n',
      'devices.allow': '',
      'devices.deny': '',
    });
    setDevicesV1(files, [
      denyAll,
      { allow: true, type: 'c', major: 1, minor: 3, access: 'rwm' },
      { allow: true, type: 'c', major: 5, access: 'r' },
      { allow: true, type: 'c', major: 7, minor: 0, access: 'rw' },
    ]);
    expect(files.log).toEqual(['devices.deny c 5:* w', 'devices.deny b 8:0 r', 'devices.allow c 7:0 rw']);
  });

  it('says with exceptions to "all" what cannot be said with exceptions to "none"', () => {
    const state = compileDeviceState(
      rules(denyAll, { allow: true, type: 'c' }, { allow: false, type: 'c', major: 1, minor: 3 }),
    );
    expect(state.allowByDefault).toBe(true);
    expect(state.exceptions.map(printException)).toEqual(['b *:* rwm', 'c 1:3 rwm']);
  });

  it('refuses what neither can say', () => {
    const list = rules(
      denyAll,
      { allow: true, type: 'c', major: 1 },
      { allow: false, type: 'c', major: 1, minor: 3 },
    );
    expect(() => compileDeviceState(list)).toThrow(CgroupDevicesError);
  });

  it('means to the kernel what the list means', () => {
    fc.assert(
      fc.property(listArbitrary, (list) => {
        let state: DeviceState;
        try {
          state = compileDeviceState(list);
        } catch (error) {
          expect(error).toBeInstanceOf(CgroupDevicesError);
          return;
        }
        for (const question of questions())
          expect([question, kernelAllows(state, ...question)]).toEqual([
            question,
            isAllowed(list, ...question),
          ]);
      }),
      { numRuns: 120 },
    );
  });

  it('is reached from any other by the writes of a transition', () => {
    const compiled = listArbitrary
      .map((list) => {
        try {
          return compileDeviceState(list);
        } catch {
          return undefined;
        }
      })
      .filter((state) => state !== undefined);
    const text = ({ allowByDefault, exceptions }: DeviceState) =>
      [`${allowByDefault}`, ...exceptions.map(printException).sort()].join('\n');
    fc.assert(
      fc.property(compiled, compiled, (from, to) => {
        // devices.list does not show the exceptions to "all".
        const shown = from.allowByDefault ? { allowByDefault: true, exceptions: [] } : from;
        const end = deviceTransition(shown, to).reduce(
          (state, { file, value }) => write(state, file, value),
          from,
        );
        expect(text(end)).toBe(text(to));
      }),
    );
  });

  it('names file and reason when the kernel refuses', () => {
    const files = new FakeFiles(
      { 'devices.list': 'c 1:3 rwm', 'devices.allow': '', 'devices.deny': '' },
      () => 'EPERM',
    );
    expect(() =>
      setDevicesV1(files, [denyAll, { allow: true, type: 'c', major: 5, minor: 0, access: 'r' }]),
    ).toThrow('c 1:3 rwm to /fake/devices.deny: EPERM');
  });
});

/** Runs a program as the kernel would: the instructions that the compiler uses, on 64-bit registers. */
function run(code: Uint8Array, type: DeviceType, major: number, minor: number, access: number): number {
  const context = new DataView(new ArrayBuffer(12));
  context.setUint32(0, (access << 16) | (type === 'b' ? 1 : 2), true);
  context.setUint32(4, major, true);
  context.setUint32(8, minor, true);
  const view = new DataView(code.buffer, code.byteOffset, code.length);
  // R1 is the context: address 0 of it.
  const register: (bigint | undefined)[] = [undefined, 0n];
  const get = (index: number): bigint => {
    const value = register[index];
    if (value === undefined) throw new Error(`R${index} is read before it is written`);
    return value;
  };
  for (let pc = 0, steps = 0; steps < 100_000; pc++, steps++) {
    const at = pc * INSTRUCTION;
    const dst = view.getUint8(at + 1) & 15;
    const src = view.getUint8(at + 1) >> 4;
    const offset = view.getInt16(at + 2, true);
    const imm = BigInt.asUintN(64, BigInt(view.getInt32(at + 4, true)));
    switch (view.getUint8(at)) {
      case BPF.LDXW:
        register[dst] = BigInt(context.getUint32(Number(get(src)) + offset, true));
        break;
      case BPF.MOV_X:
        register[dst] = get(src);
        break;
      case BPF.MOV_K:
        register[dst] = imm;
        break;
      case BPF.AND_K:
        register[dst] = get(dst) & imm;
        break;
      case BPF.RSH_K:
        register[dst] = get(dst) >> imm;
        break;
      case BPF.JEQ_K:
        if (get(dst) === imm) pc += offset;
        break;
      case BPF.JNE_K:
        if (get(dst) !== imm) pc += offset;
        break;
      case BPF.JSET_K:
        if ((get(dst) & imm) !== 0n) pc += offset;
        break;
      case BPF.JA:
        pc += offset;
        break;
      case BPF.EXIT:
        return Number(get(0));
      default:
        throw new Error(`opcode ${view.getUint8(at)} at ${pc}`);
    }
  }
  throw new Error('the program does not end');
}

describe('the program of a list', () => {
  it('means what the list means', () => {
    fc.assert(
      fc.property(listArbitrary, (list) => {
        const code = compileDeviceProgram(list);
        for (const question of questions())
          expect([question, run(code, ...question)]).toEqual([
            question,
            isAllowed(list, ...question) ? 1 : 0,
          ]);
      }),
      { numRuns: 120 },
    );
  });

  it('leaves out what an entry for everything has made pointless', () => {
    const one = rules({ allow: true, type: 'c', major: 1, minor: 3, access: 'r' });
    expect(compileDeviceProgram([...rules({ allow: true }), ...rules(denyAll), ...one])).toEqual(
      compileDeviceProgram([...rules(denyAll), ...one]),
    );
  });

  it('of an empty list denies', () => {
    expect(run(compileDeviceProgram([]), 'c', 1, 3, READ)).toBe(0);
  });

  it('has the bytes that bpf(2) expects', () => {
    const code = compileDeviceProgram(
      rules({ allow: true, type: 'c', major: 1, minor: 0x12345, access: 'r' }),
    );
    expect(Buffer.from(code).toString('hex').replace(/.{16}/g, '$& ').trim().split(' ')).toEqual([
      '6112000000000000', // r2 = *(u32 *)(r1 + 0)
      'bf23000000000000', // r3 = r2
      '7703000010000000', // r3 >>= 16
      '57020000ffff0000', // r2 &= 0xffff
      '6114040000000000', // r4 = *(u32 *)(r1 + 4)
      '6115080000000000', // r5 = *(u32 *)(r1 + 8)
      '1502010002000000', // if r2 == 2 goto +1
      '0500080000000000', // goto +8
      '1504010001000000', // if r4 == 1 goto +1
      '0500060000000000', // goto +6
      '1505010045230100', // if r5 == 0x12345 goto +1
      '0500040000000000', // goto +4
      '5703000005000000', // r3 &= 5
      '5503020000000000', // if r3 != 0 goto +2
      'b700000001000000', // r0 = 1
      '9500000000000000', // exit
      'b700000000000000', // r0 = 0
      '9500000000000000', // exit
    ]);
  });

  it('refuses a list that is too long', () => {
    const one = rules({ allow: true, type: 'c', major: 1, minor: 3 });
    expect(() => compileDeviceProgram(Array.from({ length: 5000 }, () => one).flat())).toThrow('4096');
  });
});
