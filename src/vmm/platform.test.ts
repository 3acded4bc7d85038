import { expect, test } from 'vitest';
import { completeConfig } from './config.js';
import { kernelCmdline, virtioMmioWindow } from './platform.js';

const config = (cmdline: string, transport: 'pci' | 'mmio') =>
  completeConfig({ kernel: 'k', cmdline, transport });

test('a kernel with ACPI is not told of virtio-mmio devices on its command line, where it would find them twice', () => {
  expect(kernelCmdline(config('quiet', 'mmio'), 2)).not.toContain('virtio_mmio.device');
});

test('a kernel without ACPI finds each virtio-mmio device on its command line', () => {
  const words = kernelCmdline(config('acpi=off', 'mmio'), 2).split(' ');
  const { base, gsi } = virtioMmioWindow(1);
  expect(words.filter((word) => word.startsWith('virtio_mmio.device='))).toHaveLength(2);
  expect(words).toContain(`virtio_mmio.device=4K@0x${base.toString(16)}:${gsi}`);
});

test('the user’s console replaces ours', () => {
  const words = kernelCmdline(config('console=hvc0', 'pci'), 0).split(' ');
  expect(words.filter((word) => word.startsWith('console='))).toEqual(['console=hvc0']);
});

test('the first virtio-mmio devices have interrupts of their own', () => {
  const gsis = Array.from({ length: 18 }, (_, index) => virtioMmioWindow(index).gsi);
  expect(new Set(gsis).size).toBe(18);
});
