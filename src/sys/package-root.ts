/**
 * Finds the root folder of this package, wherever the running module stands (src/, dist/ or a bundle chunk).
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

let cached: string | undefined;

/** Absolute path of the folder that holds tvmm's package.json. */
export function packageRoot(): string {
  if (cached !== undefined) return cached;
  let folder = import.meta.dirname;
  while (folder !== '/') {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest) && readFileSync(manifest, 'utf8').includes('"name": "tvmm"')) {
      cached = folder;
      return folder;
    }
    folder = dirname(folder);
  }
  throw new Error('tvmm: the package root was not found above the running module');
}
