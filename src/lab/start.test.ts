import { describe, expect, it } from 'vitest';
import { consoleTail } from './errors.js';
import { isStatic } from './initramfs.js';
import { staleFolders } from './start.js';

describe('staleFolders', () => {
  it('names the exchange folders of processes that are gone, and nothing else', () => {
    const names = [
      'tvmm-lab-10-abcDEF',
      'tvmm-lab-11-abcDEF',
      'tvmm-lab-x-abcDEF',
      'tvmm-lab-10-abcDEF.bak',
      'other',
    ];
    expect(staleFolders(names, (pid) => pid === 11)).toEqual(['tvmm-lab-10-abcDEF']);
  });
});

describe('consoleTail', () => {
  it('quotes the last lines of the console', () => {
    const tail = consoleTail(Array.from({ length: 100 }, (_, n) => `line ${n}\r\n\r\n`).join(''));
    expect(tail).toContain('| line 99');
    expect(tail).not.toContain('line 80');
  });

  it('quotes the beginning of a kernel failure too, however long its dump', () => {
    const dump = Array.from({ length: 50 }, (_, n) => `R${n}: 0`).join('\n');
    const tail = consoleTail(`booting\nKernel panic - not syncing: test\n${dump}\n`);
    expect(tail).toContain('Kernel panic - not syncing: test');
    expect(tail).toContain('R49');
    expect(tail).not.toContain('booting');
  });

  it('says that a console is empty', () => {
    expect(consoleTail('\r\n')).toContain('empty');
  });
});

describe('isStatic', () => {
  /** An ELF-64 header with one program header of the given type. */
  const elf = (type: number) => {
    const bytes = Buffer.alloc(120);
    bytes.write('\x7fELF\x02\x01', 'latin1');
    bytes.writeBigUInt64LE(64n, 0x20);
    bytes.writeUInt16LE(56, 0x36);
    bytes.writeUInt16LE(1, 0x38);
    bytes.writeUInt32LE(type, 64);
    return bytes;
  };

  it('tells a program with a loader from one without', () => {
    expect(isStatic(elf(1))).toBe(true);
    expect(isStatic(elf(3))).toBe(false);
  });

  it('refuses what is no ELF file, and headers outside the file', () => {
    expect(isStatic(Buffer.from('#!/bin/sh\n'))).toBe(false);
    const lying = elf(1);
    lying.writeBigUInt64LE(1n << 40n, 0x20);
    expect(isStatic(lying)).toBe(false);
  });
});
