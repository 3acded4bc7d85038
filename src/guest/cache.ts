/**
 * The cache of what tvmm fetches and builds: kernels, images. An entry is a folder that is either absent or complete: it
 * is built beside its place and renamed into it. One lock an entry (flock on a file, so that it dies with its holder) keeps
 * two processes from building the same thing; what a killed build left is removed by the next one.
 */
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { TvmmError } from '../sys/errors.js';
import { type Progress, silent } from './progress.js';

/** Milliseconds. */
const ABANDONED_AFTER = 24 * 60 * 60 * 1000;

/** The cache folder cannot be used. */
export class CacheError extends TvmmError {}

/** `$TVMM_CACHE`, else `$XDG_CACHE_HOME/tvmm`, else `~/.cache/tvmm`; absolute, not necessarily existing. */
export function cacheDir(env: NodeJS.ProcessEnv = process.env): string {
  if (env.TVMM_CACHE !== undefined && env.TVMM_CACHE !== '') return resolve(env.TVMM_CACHE);
  // The base directory specification says that a relative XDG_CACHE_HOME is to be ignored.
  if (env.XDG_CACHE_HOME?.startsWith('/') === true) return join(env.XDG_CACHE_HOME, 'tvmm');
  return join(homedir(), '.cache', 'tvmm');
}

/** Creates a folder of the cache with its parents. */
export function makeCacheFolder(path: string): string {
  try {
    mkdirSync(path, { recursive: true });
  } catch (cause) {
    throw new CacheError(`the cache folder ${path} cannot be created`, {
      code: 'CACHE_UNUSABLE',
      hint: 'set TVMM_CACHE to a folder that you may write to',
      cause,
    });
  }
  return path;
}

/**
 * Takes the exclusive lock file `path`, waiting for its holder. Released by disposal, and by the kernel if this process
 * dies. The `flock` child holds the lock for as long as its stdin, our pipe, stays open.
 */
export async function lockFile(path: string, progress: Progress = silent): Promise<AsyncDisposable> {
  makeCacheFolder(dirname(path));
  const holder = spawn('flock', ['--exclusive', path, 'sh', '-c', 'echo held; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const ended = new Promise<void>((done) => holder.once('close', () => done()));
  const waiting = setTimeout(
    () => progress(`waiting for another tvmm that is building ${basename(path, '.lock')}`),
    1000,
  );
  try {
    await new Promise<void>((held, failed) => {
      let said = '';
      holder.stderr.on('data', (chunk: Buffer) => {
        said += chunk.toString('utf8');
      });
      holder.stdout.once('data', () => held());
      const refuse = (cause?: unknown) =>
        failed(
          new CacheError(`the lock file ${path} cannot be taken${said === '' ? '' : `: ${said.trim()}`}`, {
            code: 'CACHE_LOCK',
            hint: 'flock comes with util-linux; the cache folder must be writable',
            cause,
          }),
        );
      holder.once('error', refuse);
      holder.once('close', () => refuse());
    });
  } finally {
    clearTimeout(waiting);
  }
  return {
    async [Symbol.asyncDispose]() {
      holder.stdin.end();
      await ended;
    },
  };
}

/** Options of {@link cachedFolder}. */
export interface CachedFolderOptions {
  /** Build even when the entry exists; the new one takes its place at the end. */
  force?: boolean;
  progress?: Progress;
}

/**
 * The cache entry `path` (absolute), built by `build` into an empty folder if it is not there yet. When this resolves the
 * entry is complete; when `build` throws nothing of it stays.
 */
export async function cachedFolder(
  path: string,
  build: (folder: string) => Promise<void>,
  options: CachedFolderOptions = {},
): Promise<string> {
  if (options.force !== true && existsSync(path)) return path;
  const parent = makeCacheFolder(dirname(path));
  const name = basename(path);
  const lock = await lockFile(join(parent, `.${name}.lock`), options.progress);
  try {
    // Whoever held the lock before us may have built it while we waited.
    if (options.force !== true && existsSync(path)) return path;
    const leftover = `.${name}.building-`;
    removeLeftovers(parent, leftover);
    const folder = mkdtempSync(join(parent, leftover));
    try {
      const made = join(folder, 'new');
      mkdirSync(made);
      await build(made);
      if (existsSync(path)) renameSync(path, join(folder, 'old'));
      renameSync(made, path);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    return path;
  } finally {
    await lock[Symbol.asyncDispose]();
  }
}

/**
 * Removes what killed builds left: of this entry, whose lock we hold, everything; of others what is older than any build takes,
 * since an entry whose inputs changed is never built again.
 */
function removeLeftovers(parent: string, ours: string): void {
  for (const entry of readdirSync(parent)) {
    if (!/^\..*\.building-/.test(entry)) continue;
    const path = join(parent, entry);
    const time = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (entry.startsWith(ours) || Date.now() - time > ABANDONED_AFTER)
      rmSync(path, { recursive: true, force: true });
  }
}

/** Writes a small file so that a reader sees the old content or the new, never a part. */
export function writeFileAtomic(path: string, content: string): void {
  makeCacheFolder(dirname(path));
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, content);
    renameSync(temporary, path);
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw new CacheError(`the cache file ${path} cannot be written`, { code: 'CACHE_UNUSABLE', cause });
  }
}
