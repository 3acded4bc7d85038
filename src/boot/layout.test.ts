import { expect, test } from 'vitest';
import {
  ACPI_AREA_START,
  alignDown,
  alignUp,
  BOOT_BLOCK_END,
  BOOT_BLOCK_START,
  BOOT_STRUCTURES,
  CMDLINE_AREA_SIZE,
  EBDA_START,
  LINUX_CMDLINE_MAX,
  MEMMAP_TABLE_ADDRESS,
  MEMMAP_TABLE_END,
  overlaps,
  PAGE_SIZE,
  START_INFO_ADDRESS,
} from './layout.js';
import { MEMORY_MAP_MAX_ENTRIES } from './memory-map.js';

test('no two boot structures share a byte', () => {
  for (const [index, a] of BOOT_STRUCTURES.entries()) {
    for (const b of BOOT_STRUCTURES.slice(index + 1)) {
      expect(overlaps(a, b), `${a.name} and ${b.name}`).toBe(false);
    }
  }
});

test('every boot structure lies page aligned inside the block below 640 KiB', () => {
  for (const { name, gpa, size } of BOOT_STRUCTURES) {
    expect(gpa % PAGE_SIZE, name).toBe(0);
    expect(gpa, name).toBeGreaterThanOrEqual(BOOT_BLOCK_START);
    expect(gpa + size, name).toBeLessThanOrEqual(BOOT_BLOCK_END);
  }
  expect(BOOT_BLOCK_END).toBeLessThan(EBDA_START);
  expect(EBDA_START).toBeLessThan(ACPI_AREA_START);
});

test('the memory map has room for as many entries as Linux reads', () => {
  expect(MEMMAP_TABLE_END - MEMMAP_TABLE_ADDRESS).toBeGreaterThanOrEqual(MEMORY_MAP_MAX_ENTRIES * 24);
  expect(MEMMAP_TABLE_END).toBe(START_INFO_ADDRESS + PAGE_SIZE);
});

test('the command line has room for what Linux keeps and its NUL', () => {
  expect(CMDLINE_AREA_SIZE).toBeGreaterThan(LINUX_CMDLINE_MAX);
});

test('alignment works above 4 GiB, where bit operators would not', () => {
  expect(alignUp(0x1_0000_0001, PAGE_SIZE)).toBe(0x1_0000_1000);
  expect(alignDown(0x1_0000_1fff, PAGE_SIZE)).toBe(0x1_0000_1000);
});
