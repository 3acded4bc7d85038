/**
 * Whether dist/ was built from what is here now: a hash of every file that goes into it, written by the build as its last act.
 * By content, not by time, since a checkout gives old files new times. Node built-ins only: runs before node_modules exist.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const INPUT_FOLDERS = ['src', 'firmware', 'bench', 'examples'];
const INPUT_FILES = [
  'package.json',
  'package-lock.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'scripts/build.mjs',
  'scripts/stamp.mjs',
];
const STAMP = 'dist/.stamp';

/** A file's bytes, or nothing where it is absent. */
function bytesOf(path) {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
}

/** The paths below `folder`, sorted; tests are no input. */
function filesBelow(folder) {
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
  return entries
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return filesBelow(path);
      return entry.name.endsWith('.test.ts') ? [] : [path];
    });
}

/** The hash of all inputs of the build below `root`. */
export function inputHash(root) {
  const hash = createHash('sha256').update(process.version);
  const paths = [...INPUT_FILES, ...INPUT_FOLDERS.flatMap((name) => filesBelow(join(root, name)))];
  for (const path of paths) {
    const bytes = bytesOf(path.startsWith('/') ? path : join(root, path));
    hash.update(`${path.replace(root, '')}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}

/** The hash that the last complete build wrote. */
export function builtHash(root) {
  return bytesOf(join(root, STAMP)).toString('utf8').trim();
}

export const stampFile = (root) => join(root, STAMP);

/** The hash of one file, to tell whether node_modules belong to the lockfile. */
export function fileHash(path) {
  return createHash('sha256').update(bytesOf(path)).digest('hex');
}
