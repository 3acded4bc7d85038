/**
 * The default guest as `tvmm boot` uses it: the distribution's cloud kernel, an initramfs and a root image, built on first use
 * and kept in the cache by their content. A boot that finds nothing changed only looks at file sizes and times.
 */
import { createHash, type Hash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../sys/package-root.js';
import { ensureBusybox } from './busybox.js';
import { cacheDir, cachedFolder, writeFileAtomic } from './cache.js';
import { ImageError, makeExt4 } from './ext4.js';
import { INIT_SCRIPT, ROOT_INIT_SCRIPT, SESSION_SCRIPT } from './init-script.js';
import { buildInitramfs } from './initramfs.js';
import { cachedKernel, ensureKernel, type KernelFiles } from './kernels.js';
import { type Progress, silent } from './progress.js';
import { isLeftOut, stageRoot } from './stage.js';

/** The default guest. All paths are absolute. */
export interface Guest {
  /** ELF vmlinux, for PVH. */
  readonly kernel: string;
  readonly bzImage: string;
  /** Uncompressed initramfs; its length is a multiple of 512. */
  readonly initrd: string;
  /** Raw ext4 image; meant to be attached read-only and used with `tvmm.overlay`. */
  readonly rootfs: string;
  /** `uname -r` in the guest. */
  readonly version: string;
}

/** Bump when the way the image is made changes, but none of what is hashed. */
const FORMAT = 2;
/** Every file's time: the image must not depend on when it was made. 2020-01-01T00:00:00Z. */
const IMAGE_TIME = 1_577_836_800;
const FREE_SPACE = 64 * 1024 * 1024;
/** Images of other versions are kept this long, milliseconds: two checkouts shall not build in turns, nor a boot lose its image. */
const KEPT_FOR = 60 * 60 * 1000;

/** The default guest, built if it is not there or no longer fits this tvmm. Throws a TvmmError that says what is missing. */
export async function ensureGuest(progress: Progress = silent): Promise<Guest> {
  const kernel = cachedKernel('cloud');
  if (kernel !== undefined) {
    const noted = notedEntry(signature(kernel));
    if (noted !== undefined) return guest(kernel, noted);
  }
  return build(await ensureKernel('cloud', progress), progress, false);
}

/** What {@link buildGuest} is told. */
export interface BuildGuestOptions {
  /** Build although the image is up to date. */
  force?: boolean;
  /** Ask apt for a newer kernel first; without a network the one in the cache stays. */
  refresh?: boolean;
  progress?: Progress;
}

/** Builds the default guest where that is needed, or `force`d. */
export async function buildGuest(options: BuildGuestOptions = {}): Promise<Guest> {
  const progress = options.progress ?? silent;
  const known = cachedKernel('cloud');
  const kernel = await ensureKernel('cloud', progress, { refresh: options.refresh }).catch(
    (error: unknown) => {
      if (known === undefined) throw error;
      progress(`no newer kernel can be fetched; ${known.version} stays`);
      return known;
    },
  );
  return build(kernel, progress, options.force === true);
}

/** The default guest if it is in the cache and up to date. Builds and fetches nothing. */
export function cachedGuest(): Guest | undefined {
  const kernel = cachedKernel('cloud');
  const entry = kernel === undefined ? undefined : notedEntry(signature(kernel));
  return kernel === undefined || entry === undefined ? undefined : guest(kernel, entry);
}

/** {@link cachedGuest}, or an {@link ImageError} that says how to build it. */
export function requireGuest(): Guest {
  const found = cachedGuest();
  if (found !== undefined) return found;
  throw new ImageError('the default guest is not built, or is out of date', {
    code: 'GUEST_NOT_BUILT',
    hint: 'build it with: tvmm image build',
  });
}

async function build(kernel: KernelFiles, progress: Progress, force: boolean): Promise<Guest> {
  const busybox = await ensureBusybox(progress);
  const manifest: unknown = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
  const tvmmVersion = String(Reflect.get(Object(manifest), 'version'));
  const before = signature(kernel);
  const hash = createHash('sha256');
  for (const text of [
    FORMAT,
    kernel.version,
    INIT_SCRIPT,
    SESSION_SCRIPT,
    ROOT_INIT_SCRIPT,
    process.version,
    tvmmVersion,
  ]) {
    hash.update(`${text}\0`);
  }
  hash.update(readFileSync(busybox));
  hash.update(fileSignature(process.execPath));
  for (const path of distFiles()) hashFile(hash, path);
  const entry = hash.digest('hex').slice(0, 16);

  await cachedFolder(
    join(guestsFolder(), entry),
    async (target) => {
      progress('building the initramfs');
      writeFileSync(
        join(target, 'initrd'),
        await buildInitramfs({ ...kernel, busybox: readFileSync(busybox) }),
      );
      progress('building the root image');
      const tree = join(target, 'tree');
      mkdirSync(tree);
      await stageRoot(tree, {
        busybox,
        node: process.execPath,
        packageRoot: packageRoot(),
        tvmmVersion,
      }).catch((cause) => {
        throw new ImageError('the files of the root image cannot be collected', {
          code: 'IMAGE_FILES',
          hint: 'was tvmm being built meanwhile? Try again; --debug shows which file it was',
          cause,
        });
      });
      await makeExt4(join(target, 'rootfs.ext4'), tree, {
        free: FREE_SPACE,
        time: IMAGE_TIME,
        label: 'tvmm-guest',
      });
      rmSync(tree, { recursive: true });
    },
    { force, progress },
  );
  writeFileAtomic(currentFile(), `${JSON.stringify({ signature: before, entry })}\n`);
  prune(entry);
  return guest(kernel, entry);
}

function guest(kernel: KernelFiles, entry: string): Guest {
  const folder = join(guestsFolder(), entry);
  return {
    kernel: kernel.vmlinux,
    bzImage: kernel.bzImage,
    initrd: join(folder, 'initrd'),
    rootfs: join(folder, 'rootfs.ext4'),
    version: kernel.version,
  };
}

/** Sizes and times of everything the image is made from: equal signatures mean that nothing was touched. */
function signature(kernel: KernelFiles): string {
  const hash = createHash('sha256');
  hash.update([FORMAT, kernel.vmlinux, INIT_SCRIPT, SESSION_SCRIPT, ROOT_INIT_SCRIPT].join('\0'));
  for (const path of [process.execPath, join(packageRoot(), 'package.json'), ...distFiles()]) {
    hash.update(`${path} ${fileSignature(path)}\0`);
  }
  return hash.digest('hex');
}

function fileSignature(path: string): string {
  const { size, mtimeMs } = statSync(path);
  return `${size} ${Math.trunc(mtimeMs)}`;
}

/** The files of dist that guests run, in a fixed order; none where tvmm was not built. */
function distFiles(): string[] {
  const dist = join(packageRoot(), 'dist');
  if (!existsSync(dist)) return [];
  const files: string[] = [];
  const walk = (folder: string) => {
    for (const name of readdirSync(folder).sort()) {
      const path = join(folder, name);
      if (lstatSync(path).isDirectory()) {
        if (!isLeftOut(name)) walk(path);
      } else if (!isLeftOut(name)) files.push(path);
    }
  };
  walk(dist);
  return files;
}

function hashFile(hash: Hash, path: string): void {
  hash.update(`${path.slice(packageRoot().length)}\0`);
  hash.update(readFileSync(path));
}

/** The entry that was noted for a signature, if it is still complete. */
function notedEntry(wanted: string): string | undefined {
  try {
    const note: unknown = JSON.parse(readFileSync(currentFile(), 'utf8'));
    const { signature, entry }: { signature?: unknown; entry?: unknown } = Object(note);
    if (signature !== wanted || typeof entry !== 'string' || !/^[0-9a-f]+$/.test(entry)) return undefined;
    return existsSync(join(guestsFolder(), entry, 'rootfs.ext4')) ? entry : undefined;
  } catch {
    return undefined; // No note, or a damaged one: it is written again.
  }
}

/** Removes old images of other versions. A running guest keeps its own: the VMM holds the file open. */
function prune(current: string): void {
  for (const name of readdirSync(guestsFolder())) {
    if (!/^[0-9a-f]+$/.test(name) || name === current) continue;
    const folder = join(guestsFolder(), name);
    if (Date.now() - statSync(folder).mtimeMs < KEPT_FOR) continue;
    rmSync(folder, { recursive: true, force: true });
    rmSync(join(guestsFolder(), `.${name}.lock`), { force: true });
  }
}

function guestsFolder(): string {
  return join(cacheDir(), 'guests');
}

function currentFile(): string {
  return join(guestsFolder(), 'current.json');
}
