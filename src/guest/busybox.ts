/**
 * The static busybox that the guest is made of: the host's own where it is static, else that of the distribution's package.
 */
import { closeSync, mkdirSync, openSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { TvmmError } from '../sys/errors.js';
import { cacheDir, cachedFolder } from './cache.js';
import { downloadPackage, findPackage, unpackPackage } from './packages.js';
import { type Progress, silent } from './progress.js';

/** No static busybox can be had. */
export class BusyboxError extends TvmmError {}

const PLACES = ['/bin/busybox', '/usr/bin/busybox'];
const PT_INTERP = 3;

/** Absolute path of a static busybox; fetches the distribution's package when the host has none. */
export async function ensureBusybox(progress: Progress = silent): Promise<string> {
  const own = PLACES.find(isStaticElf);
  if (own !== undefined) return own;
  const folder = await cachedFolder(
    join(cacheDir(), 'busybox'),
    async (target) => {
      const download = join(target, 'download');
      mkdirSync(download);
      const info = await findPackage(['busybox-static'], progress);
      await unpackPackage(await downloadPackage(info, download, progress), target);
      rmSync(download, { recursive: true });
      if (staticIn(target) === undefined) {
        throw new BusyboxError('the package busybox-static holds no static busybox', {
          code: 'BUSYBOX_PACKAGE',
        });
      }
    },
    { progress },
  );
  const file = staticIn(folder);
  if (file !== undefined) return file;
  throw new BusyboxError(`the busybox in ${folder} is damaged`, {
    code: 'BUSYBOX_CACHE',
    hint: `remove ${folder} and try again`,
  });
}

function staticIn(folder: string): string | undefined {
  return PLACES.map((place) => join(folder, place)).find(isStaticElf);
}

/** Whether a file is an ELF-64 program without PT_INTERP. False for anything else; never throws. */
export function isStaticElf(path: string): boolean {
  try {
    const fd = openSync(path, 'r');
    const head = Buffer.alloc(4096);
    try {
      readSync(fd, head, 0, head.length, 0);
    } finally {
      closeSync(fd);
    }
    if (head.readUInt32BE(0) !== 0x7f454c46 || head[4] !== 2) return false;
    const table = Number(head.readBigUInt64LE(0x20)); // e_phoff
    const size = head.readUInt16LE(0x36);
    const count = head.readUInt16LE(0x38);
    for (let index = 0; index < count; index++) {
      if (head.readUInt32LE(table + index * size) === PT_INTERP) return false;
    }
    return count > 0;
  } catch {
    return false;
  }
}

/** The applets of a busybox as absolute paths where each is commonly found, e.g. `/usr/bin/env`. */
export function parseAppletList(listFull: string): string[] {
  return listFull
    .split('\n')
    .filter((line) => /^[\w./[-]+$/.test(line) && !line.includes('..'))
    .map((line) => `/${line.replace(/^\/+/, '')}`);
}
