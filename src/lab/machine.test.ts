import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LabOptionError, LabStartError } from './errors.js';
import {
  checkLabMachine,
  DEFAULT_LAB_MACHINE,
  findQemu,
  qemuArguments,
  requireQemuVersion,
} from './machine.js';

const inputs = {
  machine: DEFAULT_LAB_MACHINE,
  vmlinux: '/cache/vmlinux',
  initramfs: '/cache/initramfs.cpio',
  exchange: '/tmp/x',
  ports: ['control'],
} as const;

/** The values of every `option` on the command line. */
function values(args: readonly string[], option: string): string[] {
  return args.flatMap((arg, at) => (arg === option ? [args[at + 1] ?? ''] : []));
}

describe('qemuArguments', () => {
  it('emulates AMD-V with nested paging', () => {
    const args = qemuArguments(inputs);
    expect(values(args, '-accel')[0]).toMatch(/^tcg/);
    expect(values(args, '-cpu')[0]).toMatch(/\+svm,\+npt/);
  });

  it('shares the whole host, but read-only', () => {
    const [root, exchange] = values(qemuArguments(inputs), '-virtfs');
    expect(root).toContain('path=/,');
    expect(root).toContain('readonly=on');
    expect(exchange).toContain('path=/tmp/x,');
    expect(exchange).not.toContain('readonly');
  });

  it('keeps a comma in a path from becoming an option', () => {
    const [, exchange] = values(qemuArguments({ ...inputs, exchange: '/tmp/a,readonly=on' }), '-virtfs');
    expect(exchange).toContain('path=/tmp/a,,readonly=on,');
  });

  it('connects the ports that are used, and no others', () => {
    const chardevs = values(qemuArguments(inputs), '-chardev');
    expect(chardevs).toContain('socket,id=control,fd=3');
    expect(chardevs).toContain('null,id=stdout');
  });

  it.each([
    ['intel', 'intel-iommu'],
    ['amd', 'amd-iommu'],
  ] as const)('adds the %s IOMMU', (iommu, device) => {
    const args = qemuArguments({ ...inputs, machine: { ...DEFAULT_LAB_MACHINE, iommu } });
    expect(values(args, '-device').some((one) => one.startsWith(device))).toBe(true);
    expect(values(qemuArguments(inputs), '-device').some((one) => one.includes('iommu'))).toBe(false);
  });
});

describe('checkLabMachine', () => {
  const gib = 2 ** 30;
  it.each([
    ['too little memory', { memoryMiB: 64 }, /at least/],
    ['more memory than the host has', { memoryMiB: 16 * 1024 }, /more than this host has/],
    ['memory that is no number', { memoryMiB: Number.NaN }, /at least/],
    ['no CPU', { cpus: 0 }, /CPUs/],
    ['half a CPU', { cpus: 1.5 }, /CPUs/],
  ])('refuses %s', (_what, change, message) => {
    const check = () => checkLabMachine({ ...DEFAULT_LAB_MACHINE, ...change }, 8 * gib);
    expect(check).toThrow(LabOptionError);
    expect(check).toThrow(message);
  });

  it('takes the defaults', () => {
    expect(() => checkLabMachine(DEFAULT_LAB_MACHINE, 8 * gib)).not.toThrow();
  });
});

describe('the search for QEMU', () => {
  it('says how to install it where the version is too old', () => {
    expect(() => requireQemuVersion('QEMU emulator version 5.2.0 (Debian)', '/usr/bin/q')).toThrow(
      /5\.2.*6\.2 or later/,
    );
    expect(requireQemuVersion('QEMU emulator version 7.2.22 (Debian)', '/usr/bin/q')).toBe('7.2.22');
    expect(requireQemuVersion('QEMU emulator version 10.0.2', '/usr/bin/q')).toBe('10.0.2');
  });

  it('refuses a program that does not say a version', () => {
    expect(() => requireQemuVersion('hello', '/usr/bin/q')).toThrow(LabStartError);
  });

  it('finds it in the folders of PATH, and says how to install it where none has it', () => {
    const folder = mkdtempSync(join(tmpdir(), 'find-qemu-'));
    try {
      expect(() => findQemu(`/no-such-folder:${folder}`)).toThrow(LabStartError);
      writeFileSync(join(folder, 'qemu-system-x86_64'), '', { mode: 0o644 });
      expect(() => findQemu(folder)).toThrow('not installed');
      chmodSync(join(folder, 'qemu-system-x86_64'), 0o755);
      expect(findQemu(`/no-such-folder:${folder}`)).toBe(join(folder, 'qemu-system-x86_64'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
