import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BOOT_PARAMS, encodeBootParams } from './boot-params.js';
import { SETUP_HEADER, SETUP_HEADER_START } from './bzimage.js';

const HEADERS = ['/usr/include/asm/bootparam.h', '/usr/include/x86_64-linux-gnu/asm/bootparam.h'];
const COMPILERS = ['/usr/bin/gcc', '/usr/bin/cc'];
const missing = [HEADERS, COMPILERS].find((paths) => !paths.some(existsSync));

test.skipIf(missing !== undefined)(
  `every offset agrees with the kernel's own header${missing === undefined ? '' : ` (skipped: no ${missing[0]})`}`,
  () => {
    const ours = {
      ...BOOT_PARAMS,
      ...Object.fromEntries(Object.entries(SETUP_HEADER).map(([name, offset]) => [`hdr.${name}`, offset])),
    };
    const names = Object.keys(ours);
    const dir = mkdtempSync(join(tmpdir(), 'tvmm-offsets-'));
    try {
      const prints = names.map((name) => `printf("%zu\\n", offsetof(struct boot_params, ${name}));`);
      const source = `#include <stdio.h>\n#include <stddef.h>\n#include <asm/bootparam.h>\nint main(void){${prints.join('')}return 0;}`;
      writeFileSync(join(dir, 'offsets.c'), source);
      execFileSync('gcc', ['-o', join(dir, 'offsets'), join(dir, 'offsets.c')]);
      const theirs = execFileSync(join(dir, 'offsets'), { encoding: 'utf8' }).trim().split('\n').map(Number);
      expect(Object.fromEntries(names.map((name, index) => [name, theirs[index]]))).toEqual(ours);
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
);

test('addresses above 4 GiB go into the extension fields', () => {
  const page = encodeBootParams({
    setupHeader: undefined,
    loadAddress: 0x1000000,
    cmdline: 0x1_2345_6000,
    initrd: { gpa: 0x2_0000_0000, size: 0x1_0000_0001 },
    acpiRsdp: 0,
    memoryMap: [],
  });
  const view = new DataView(page.buffer);
  expect(view.getUint32(SETUP_HEADER.cmd_line_ptr, true)).toBe(0x23456000);
  expect(view.getUint32(BOOT_PARAMS.ext_cmd_line_ptr, true)).toBe(1);
  expect(view.getUint32(SETUP_HEADER.ramdisk_image, true)).toBe(0);
  expect(view.getUint32(BOOT_PARAMS.ext_ramdisk_image, true)).toBe(2);
  expect(view.getUint32(SETUP_HEADER.ramdisk_size, true)).toBe(1);
  expect(view.getUint32(BOOT_PARAMS.ext_ramdisk_size, true)).toBe(1);
});

test('a setup header never reaches past its room in the page', () => {
  const header = new Uint8Array(0x290 - SETUP_HEADER_START).fill(0xee);
  const page = encodeBootParams({
    setupHeader: header,
    loadAddress: 0,
    cmdline: 0,
    initrd: undefined,
    acpiRsdp: 0,
    memoryMap: [],
  });
  expect(page[0x290 - 1]).toBe(0xee);
  expect(page[0x290]).toBe(0);
});
