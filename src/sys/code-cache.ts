/**
 * Loads a CommonJS bundle of dist/ together with V8's code cache for it, which spares compiling what the program always runs: half of
 * tvmm's own share of a start, more under emulation. Without a cache, or with one that V8 refuses (another version, other flags),
 * the bundle is simply compiled.
 *
 * With {@link WRITE_CODE_CACHE} in the environment the cache is written when the thread ends: it holds the functions that ran.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import vm from 'node:vm';
import { now } from './time.js';

/** Environment variable: record instead of only use. */
export const WRITE_CODE_CACHE = 'TVMM_WRITE_CODE_CACHE';

/** Where the cache of a bundle stands. */
export function codeCacheFile(bundle: string): string {
  return join(dirname(bundle), 'code-cache', `${basename(bundle)}.bin`);
}

function readIfThere(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

/**
 * Runs the bundle and returns its exports.
 *
 * @param bundle absolute path of the .cjs file, pure ASCII: an expression, the function that Node would make of a CommonJS module. It stands in
 *   the folder of this module, whose require() it gets
 * @param variant names a cache of its own, for a bundle that does different things at different calls: it is written by the first call that
 *   finds none, when {@link recordCodeCaches} is called
 */
export function loadBundle(bundle: string, variant?: string): unknown {
  const source = readFileSync(bundle, 'latin1');
  const file = codeCacheFile(variant === undefined ? bundle : `${bundle}.${variant}`);
  const poorer = codeCacheFile(`${bundle}.${variant}-failed`);
  const complete = readIfThere(file);
  const cachedData = complete ?? (variant === undefined ? undefined : readIfThere(poorer));
  const script = new vm.Script(source, {
    filename: bundle,
    cachedData,
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  if (process.env[WRITE_CODE_CACHE] !== undefined)
    process.once('exit', () => write(file, script.createCachedData()));
  else if (variant !== undefined && (complete === undefined || script.cachedDataRejected === true)) {
    const isPoor = cachedData === undefined || script.cachedDataRejected === true;
    unrecorded.set(script, { file, ...(isPoor ? { poorer } : {}) });
  }
  const module = { exports: {} };
  const run: unknown = script.runInThisContext();
  if (typeof run === 'function') run(module.exports, require, module, bundle, dirname(bundle));
  return module.exports;
}

/** Where the cache goes: `file`, or `poorer`, where there is none at all, for a command that failed. */
const unrecorded = new Map<vm.Script, { readonly file: string; readonly poorer?: string }>();

/**
 * Writes the caches of variants that had none or an old one, with what has run until now; where it cannot, the next start is as slow.
 *
 * @param complete false for a command that failed: what others of its name run may be missing, so its cache stands in until one has succeeded
 */
export function recordCodeCaches(complete = true): void {
  for (const [script, { file, poorer }] of unrecorded) {
    const to = complete ? file : poorer;
    if (to === undefined) continue;
    try {
      write(to, script.createCachedData());
    } catch {
      // An installation that is not ours to write to.
    }
  }
  unrecorded.clear();
}

/** Beside and renamed: several threads and processes may write the same one. */
function write(file: string, data: Buffer): void {
  const temporary = `${file}.${process.pid}.${Math.trunc(now())}`;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(temporary, data);
  renameSync(temporary, file);
}
