/** A bundle (bundle.md): a folder with config.json and, usually, the root file system. */
import { readFileSync, realpathSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { SpecError } from '../spec/errors.js';
import { parseSpec } from '../spec/parse.js';
import type { OciSpec } from '../spec/types.js';
import { BundleError, errnoOf } from './errors.js';

export interface Bundle {
  /** Absolute, as it was given: what `state` tells. */
  readonly path: string;
  /** The text of config.json. */
  readonly text: string;
  readonly spec: OciSpec;
  /** Absolute path of the root file system, links resolved. */
  readonly rootfs: string;
}

/** @param folder absolute or relative to the working directory @throws BundleError, SpecError */
export function readBundle(folder: string): Bundle {
  const path = resolve(folder);
  const { text, spec } = readSpec(path);
  return { path, text, spec, rootfs: findRoot(resolve(path, spec.root.path)) };
}

/** The configuration of a bundle, whether or not its root is there. @throws BundleError, SpecError */
export function readSpec(folder: string): Pick<Bundle, 'text' | 'spec'> {
  const file = join(resolve(folder), 'config.json');
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const errno = errnoOf(cause);
    throw new BundleError(
      errno === 'ENOENT' ? `JSON specification file ${file} not found` : `cannot read ${file}: ${errno}`,
      { hint: 'A bundle is a folder with a config.json; tvmm-oci spec writes one to start from.', cause },
    );
  }
  try {
    return { text, spec: parseOnce(text) };
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    throw new SpecError(error.problems, error.cause, file);
  }
}

/** The last one: many containers may be made of one bundle, one after the other. */
let last: { readonly text: string; readonly spec: OciSpec } | undefined;

/** The specification of a configuration's text, shared by whoever has the same: nobody changes it. @throws SpecError */
export function parseOnce(text: string): OciSpec {
  if (last?.text !== text) last = { text, spec: parseSpec(text) };
  return last.spec;
}

function findRoot(path: string): string {
  try {
    const real = realpathSync.native(path);
    if (statSync(real).isDirectory()) return real;
  } catch (cause) {
    throw new BundleError(`cannot use root.path: ${path}: ${errnoOf(cause)} (no such file or directory)`, {
      cause,
    });
  }
  throw new BundleError(`cannot use root.path: ${path} is no folder`);
}
