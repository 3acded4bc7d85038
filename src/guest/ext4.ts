/**
 * Makes an ext4 image from a folder with mke2fs(8) alone: no mount, no root. The same folder gives the same image.
 */
import { createHash } from 'node:crypto';
import { lstatSync, lutimesSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TvmmError } from '../sys/errors.js';
import { runCommand } from './command.js';

/** The image cannot be made. */
export class ImageError extends TvmmError {}

const MIB = 1024 * 1024;
const BLOCK = 4096;
const INODE = 256;

/** What {@link makeExt4} is told. */
export interface Ext4Options {
  /** Room to stay free in the image, bytes. */
  free: number;
  /** Seconds since the epoch that stand for "now" in the image. */
  time: number;
  label: string;
}

/**
 * Writes the ext4 image `image` (sparse) with the contents of `folder`, all owned by root. Sets the times of everything in
 * `folder` to `options.time`. Throws {@link ImageError}.
 */
export async function makeExt4(image: string, folder: string, options: Ext4Options): Promise<void> {
  const content = measure(folder);
  // A tenth for block maps and directory slack; the inode tables come on top.
  const inodes = content.entries + 1024;
  const size = Math.ceil((content.bytes * 1.1 + inodes * INODE + options.free + 4 * MIB) / MIB);
  // Identifiers that mke2fs would otherwise draw at random.
  const uuid = uuidFrom(options.label);
  const args = [
    '-q',
    '-F',
    '-t',
    'ext4',
    '-b',
    String(BLOCK),
    '-I',
    String(INODE),
    '-N',
    String(inodes),
    '-m',
    '0',
    '-L',
    options.label,
    '-U',
    uuid,
    // No journal: the image is used read-only under an overlay, and mounts faster without one.
    '-O',
    '^has_journal,^resize_inode',
    '-E',
    `lazy_itable_init=1,nodiscard,root_owner=0:0,hash_seed=${uuid}`,
    '-d',
    folder,
    image,
    `${size}M`,
  ];
  const time = String(options.time);
  // Last before mke2fs looks: listing a folder, as above, changes its access time.
  setTimes(folder, options.time);
  try {
    await runCommand('mkfs.ext4', args, { env: { E2FSPROGS_FAKE_TIME: time, SOURCE_DATE_EPOCH: time } });
    // mke2fs keeps the owner of each file, and only root can stage files that belong to root.
    if (process.getuid?.() !== 0) await giveToRoot(image, folder);
  } catch (cause) {
    if (cause instanceof TvmmError && cause.code === 'COMMAND_MISSING') throw cause;
    throw new ImageError(`the root image ${image} cannot be made`, {
      code: 'IMAGE_FAILED',
      hint: 'check the free space of the cache folder (TVMM_CACHE)',
      cause,
    });
  }
}

/** Bytes in whole blocks and number of entries below a folder. */
function measure(folder: string): { bytes: number; entries: number } {
  let bytes = BLOCK;
  let entries = 1;
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const status = lstatSync(path);
    if (status.isDirectory()) {
      const below = measure(path);
      bytes += below.bytes;
      entries += below.entries;
    } else {
      // Short link targets live in the inode.
      if (!status.isSymbolicLink()) bytes += Math.ceil(status.size / BLOCK) * BLOCK;
      entries++;
    }
  }
  return { bytes, entries };
}

function uuidFrom(text: string): string {
  const hex = createHash('sha256').update(`tvmm image ${text}`).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** Sets uid and gid of every file to 0 with debugfs(8). */
async function giveToRoot(image: string, folder: string): Promise<void> {
  const commands: string[] = [];
  const walk = (below: string) => {
    for (const entry of readdirSync(join(folder, below), { withFileTypes: true })) {
      const path = `${below}/${entry.name}`;
      commands.push(`set_inode_field "${path}" uid 0`, `set_inode_field "${path}" gid 0`);
      if (entry.isDirectory()) walk(path);
    }
  };
  walk('');
  const script = `${image}.debugfs`;
  writeFileSync(script, `${commands.join('\n')}\n`);
  await runCommand('debugfs', ['-w', '-f', script, image]);
  rmSync(script);
}

function setTimes(path: string, time: number): void {
  const status = lstatSync(path);
  if (status.isDirectory()) for (const name of readdirSync(path)) setTimes(join(path, name), time);
  lutimesSync(path, time, time);
}
