import { Command } from 'commander';
import { expect, test } from 'vitest';
import { formatGuest, register as registerImage } from './image.js';
import { formatKernel, register as registerKernel } from './kernel.js';

const guest = {
  kernel: '/c/vmlinux',
  bzImage: '/c/bzImage',
  initrd: '/c/initrd',
  rootfs: '/c/rootfs',
  version: '6.1',
};

test('the guest’s files are lines that a shell can read, or one JSON object', () => {
  expect(formatGuest(guest, false).split('\n')).toContain('rootfs   /c/rootfs');
  expect(JSON.parse(formatGuest(guest, true))).toEqual(guest);
});

test('the kernel’s files are lines that a shell can read, or one JSON object', () => {
  const kernel = { version: '6.1-tvmm', vmlinux: '/c/vmlinux', bzImage: '/c/bzImage' };
  expect(formatKernel(kernel, false).split('\n')).toContain('bzImage  /c/bzImage');
  expect(JSON.parse(formatKernel(kernel, true))).toEqual(kernel);
});

test('both commands have build and path', () => {
  const program = new Command();
  registerImage(program);
  registerKernel(program);
  const names = program.commands.map((command) => [
    command.name(),
    command.commands.map((child) => child.name()),
  ]);
  expect(names).toEqual([
    ['image', ['build', 'path']],
    ['kernel', ['build', 'path']],
  ]);
});
