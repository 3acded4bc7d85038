import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { EventfdOwner } from '../context.js';
import { StateArena } from '../state.js';
import { blkConfigSpace, VirtioBlk } from './blk.js';
import {
  BLK_CONFIG,
  FLAG_UNMAP,
  HEADER_SIZE,
  ID_SIZE,
  RANGE_SIZE,
  VIRTIO_BLK_F,
  VIRTIO_BLK_S,
  VIRTIO_BLK_T,
} from './blk-request.js';
import { folder } from './blk-test-bench.js';
import { CONSOLE_CONFIG, CONTROL_SIZE, VIRTIO_CONSOLE, VIRTIO_CONSOLE_F } from './console-protocol.js';
import {
  type DiskInfo,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  RWF_NOWAIT,
} from './disk-image.js';

test('numbers and offsets are what the kernel headers say', () => {
  const consoleConfig = Object.fromEntries(
    Object.entries(CONSOLE_CONFIG).filter(([name]) => name !== 'size'),
  );
  const consts = {
    ...prefixed('VIRTIO_BLK_F_', VIRTIO_BLK_F),
    ...prefixed('VIRTIO_BLK_T_', VIRTIO_BLK_T),
    ...prefixed('VIRTIO_BLK_S_', VIRTIO_BLK_S),
    ...prefixed('VIRTIO_CONSOLE_F_', VIRTIO_CONSOLE_F),
    ...prefixed('VIRTIO_CONSOLE_', VIRTIO_CONSOLE),
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
    RWF_NOWAIT,
    'sizeof(struct virtio_blk_outhdr)': HEADER_SIZE,
    'sizeof(struct virtio_blk_discard_write_zeroes)': RANGE_SIZE,
    'sizeof(struct virtio_console_config)': CONSOLE_CONFIG.size,
    'sizeof(struct virtio_console_control)': CONTROL_SIZE,
    VIRTIO_BLK_ID_BYTES: ID_SIZE,
    VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP: FLAG_UNMAP,
  };
  const offsets = [
    ...Object.entries(BLK_CONFIG)
      .filter(([name]) => name !== 'size')
      .map(([name, value]) => [`offsetof(struct virtio_blk_config, ${name})`, value] as const),
    ...Object.entries(consoleConfig).map(
      ([name, value]) => [`offsetof(struct virtio_console_config, ${name})`, value] as const,
    ),
  ];
  const all = [...Object.entries(consts), ...offsets];
  const includes = [
    'stdio.h',
    'stddef.h',
    'linux/virtio_blk.h',
    'linux/virtio_console.h',
    'linux/falloc.h',
    'linux/fs.h',
  ];
  const head = includes.map((name) => `#include <${name}>\n`).join('');
  const body = all.map(([name]) => `printf("%llu\\n", (unsigned long long)(${name}));`).join('\n');
  writeFileSync(join(folder, 'facts.c'), `${head}int main(void){${body}return 0;}\n`);
  execFileSync('gcc', ['-o', join(folder, 'facts'), join(folder, 'facts.c')]);
  const theirs = execFileSync(join(folder, 'facts'), { encoding: 'utf8' }).trim().split('\n').map(Number);
  expect(all).toEqual(all.map(([name], i) => [name, theirs[i]]));
});

function prefixed(prefix: string, table: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(table).map(([name, value]) => [prefix + name, value]));
}

describe('the model', () => {
  const disk: DiskInfo = {
    path: 'x',
    fd: -1,
    sectors: 0x1_2345_6789,
    readOnly: false,
    blockSize: 512,
    discard: true,
    medium: 'cached',
  };
  function model(info: DiskInfo): VirtioBlk {
    using eventfds = new EventfdOwner();
    return new VirtioBlk({ arena: new StateArena(), eventfds, isOwner: true }, { id: 'drive0', disk: info });
  }

  test('the configuration space has the fields of section 5.2.4', () => {
    const device = model(disk);
    expect(device.readConfig(BLK_CONFIG.capacity, 4)).toBe(0x2345_6789);
    expect(device.readConfig(BLK_CONFIG.capacity + 4, 4)).toBe(1);
    expect(device.readConfig(BLK_CONFIG.seg_max, 4)).toBe(510);
    expect(device.readConfig(BLK_CONFIG.blk_size, 4)).toBe(512);
    expect(device.readConfig(BLK_CONFIG.physical_block_exp, 1)).toBe(3);
    expect(device.readConfig(BLK_CONFIG.min_io_size, 2)).toBe(8);
    expect(device.readConfig(BLK_CONFIG.max_discard_seg, 4)).toBe(1);
    expect(device.readConfig(BLK_CONFIG.write_zeroes_may_unmap, 1)).toBe(1);
    expect(blkConfigSpace({ id: 'x', disk })).toHaveLength(60);
  });

  test('reads beyond the configuration space give zero', () => {
    const device = model(disk);
    for (const offset of [57, 60, 4096, 0xffff_fff0]) expect(device.readConfig(offset, 4)).toBe(0);
  });

  test('features follow the disk', () => {
    const has = (info: DiskInfo, bit: number) => (model(info).featuresLow & (1 << bit)) !== 0;
    expect(has(disk, VIRTIO_BLK_F.RO)).toBe(false);
    expect(has(disk, VIRTIO_BLK_F.DISCARD)).toBe(true);
    const readOnly = { ...disk, readOnly: true, discard: false };
    expect(has(readOnly, VIRTIO_BLK_F.RO)).toBe(true);
    expect(has(readOnly, VIRTIO_BLK_F.DISCARD)).toBe(false);
    expect(has(readOnly, VIRTIO_BLK_F.WRITE_ZEROES)).toBe(false);
  });
});
