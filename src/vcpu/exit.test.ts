import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { KVM_EXIT } from '../kvm/ioctl.js';
import { Mapping } from '../sys/mapping.js';
import {
  decodeExit,
  EXIT_UNION,
  ExitFailEntry,
  ExitHypercall,
  ExitInternal,
  ExitIo,
  ExitMmio,
  ExitMsr,
  ExitSystemEvent,
  RunView,
} from './exit.js';

const SIZE = 3 * 4096;

/** A struct kvm_run that no KVM wrote. */
function fakeRun(reason: number, fill: (data: DataView) => void): RunView & Disposable {
  const mapping = Mapping.anonymous(SIZE, 'a fake kvm_run');
  const view = new RunView(mapping);
  view.u32[2] = reason;
  fill(view.data);
  return Object.assign(view, { [Symbol.dispose]: () => mapping[Symbol.dispose]() });
}

test('every union member lies where gcc puts it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tvmm-union-'));
  try {
    const members = [ExitIo, ExitMmio, ExitFailEntry, ExitInternal, ExitSystemEvent, ExitHypercall, ExitMsr];
    const ours: Record<string, number> = { immediate_exit: 1, exit_reason: 8 };
    for (const { name, fields, offsets } of members) {
      for (const field of Object.keys(fields)) {
        const key: Readonly<Record<string, number>> = offsets;
        ours[`${name}.${field}`] = EXIT_UNION + key[field];
      }
    }
    const lines = Object.keys(ours).map((path) => `printf("%zu\\n", offsetof(struct kvm_run, ${path}));`);
    const source = join(folder, 'union.c');
    writeFileSync(
      source,
      `#include <stdio.h>\n#include <stddef.h>\n#include <linux/kvm.h>\nint main(void){${lines.join('')}return 0;}`,
    );
    execFileSync('gcc', ['-o', join(folder, 'union'), source]);
    const theirs = execFileSync(join(folder, 'union'), { encoding: 'utf8' }).trim().split('\n').map(Number);
    expect(ours).toEqual(Object.fromEntries(Object.keys(ours).map((path, i) => [path, theirs[i]])));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a repeated IN decodes to its size, count and place', () => {
  using view = fakeRun(KVM_EXIT.IO, (data) => {
    data.setUint8(32, 0);
    data.setUint8(33, 2);
    data.setUint16(34, 0xfffe, true);
    data.setUint32(36, 3, true);
    data.setUint32(40, 4096, true);
    for (let i = 0; i < 6; i++) data.setUint8(4096 + i, i + 1);
  });
  expect(decodeExit(view)).toEqual({
    reason: 'io',
    direction: 'in',
    port: 0xfffe,
    size: 2,
    count: 3,
    data: Uint8Array.of(1, 2, 3, 4, 5, 6),
  });
});

test('an MMIO address above 4 GiB keeps its high bits, and a length beyond 8 reads no further', () => {
  using view = fakeRun(KVM_EXIT.MMIO, (data) => {
    data.setBigUint64(32, 0x12_3456_789an, true);
    data.setUint32(48, 200, true);
    data.setUint8(52, 1);
  });
  const exit = decodeExit(view);
  expect(exit).toMatchObject({ reason: 'mmio', address: 0x12_3456_789a, write: true });
  expect(exit.reason === 'mmio' && exit.data).toHaveLength(8);
});

test('an emulation failure shows the instruction bytes that KVM gave', () => {
  using view = fakeRun(KVM_EXIT.INTERNAL_ERROR, (data) => {
    data.setUint32(32, 1, true);
    data.setUint32(36, 4, true);
    data.setBigUint64(40, 1n, true);
    data.setUint8(48, 2);
    data.setUint8(49, 0xcc);
    data.setUint8(50, 0xf4);
  });
  expect(decodeExit(view)).toMatchObject({
    reason: 'internal-error',
    suberror: 1,
    instruction: Uint8Array.of(0xcc, 0xf4),
  });
});

test('an emulation failure without instruction bytes shows none', () => {
  using view = fakeRun(KVM_EXIT.INTERNAL_ERROR, (data) => data.setUint32(32, 1, true));
  expect(decodeExit(view)).toMatchObject({ reason: 'internal-error', instruction: undefined });
});

test.each([
  [KVM_EXIT.FAIL_ENTRY, { reason: 'fail-entry', hardwareReason: 0x8000_0021n }],
  [KVM_EXIT.HYPERCALL, { reason: 'hypercall', number: 0x8000_0021n }],
  [KVM_EXIT.SYSTEM_EVENT, { reason: 'system-event', event: `event ${0x8000_0021}` }],
  [KVM_EXIT.HLT, { reason: 'hlt' }],
  [KVM_EXIT.SHUTDOWN, { reason: 'shutdown' }],
  [KVM_EXIT.DEBUG, { reason: 'debug' }],
  [KVM_EXIT.INTR, { reason: 'intr' }],
  [KVM_EXIT.IRQ_WINDOW_OPEN, { reason: 'irq-window-open' }],
  [9999, { reason: 'unknown', code: 9999 }],
])('exit reason %i decodes', (reason, exit) => {
  using view = fakeRun(reason, (data) => data.setBigUint64(32, 0x8000_0021n, true));
  expect(decodeExit(view)).toEqual(exit);
});

test.each([
  [KVM_EXIT.X86_RDMSR, 'rdmsr'],
  [KVM_EXIT.X86_WRMSR, 'wrmsr'],
])('MSR exit %i carries index, data and why', (reason, name) => {
  using view = fakeRun(reason, (data) => {
    data.setUint32(40, 2, true);
    data.setUint32(44, 0xc000_0080, true);
    data.setBigUint64(48, 0xffff_ffff_0000_0001n, true);
  });
  expect(decodeExit(view)).toEqual({
    reason: name,
    index: 0xc000_0080,
    data: 0xffff_ffff_0000_0001n,
    why: 2,
  });
});
