/**
 * What a container has changed in its root: its overlay's upper folder, where a deletion is a device 0:0 and a folder that hides what was below has
 * an attribute (Documentation/filesystems/overlayfs.rst), read as a list (`diff`) or as a layer (`commit`; image-spec, layer.md).
 */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { O_DIRECTORY, O_NOFOLLOW, O_PATH, openat } from '../../sys/at.js';
import { xattrNames, xattrValue } from '../../sys/xattr.js';
import { printable } from '../image/entry-path.js';
import type { TarEntry, TarHandler } from '../image/tar-reader.js';
import { type WalkOptions, walk } from './copy-walk.js';
import { CopyError } from './errors.js';

export interface Change {
  readonly kind: 'added' | 'changed' | 'deleted';
  /** Byte string, from the root. */
  readonly path: string;
}

function isWhiteout(entry: Pick<TarEntry, 'type' | 'major' | 'minor'>): boolean {
  return entry.type === 'char' && entry.major === 0 && entry.minor === 0;
}

function isOpaque(fd: number): boolean {
  return ['trusted.overlay.opaque', 'user.overlay.opaque'].some(
    (name) => xattrNames(fd).includes(name) && xattrValue(fd, name)?.toString('latin1') === 'y',
  );
}

function refuseRedirect(fd: number, name: string): void {
  if (!xattrNames(fd).some((one) => one.endsWith('.overlay.redirect'))) return;
  throw new CopyError(`the folder ${printable(name)} was renamed in a way that no layer can hold`, {
    code: 'LAYER_REDIRECT',
    hint: 'overlayfs does this with redirect_dir=on; copy the folder instead of renaming it',
  });
}

/** Whether lower folders have something at a path. @param lower topmost first */
export function existsBelow(lower: readonly string[], path: string): boolean {
  for (const folder of lower) {
    const found = lookIn(folder, path.split('/'));
    if (found !== 'below') return found === 'there';
  }
  return false;
}

/** One layer's answer: it has the path, it hides the path from those below, or it has no say. */
function lookIn(folder: string, parts: readonly string[]): 'there' | 'hidden' | 'below' {
  let at = openSync(folder, O_PATH | O_DIRECTORY);
  let opaque = false;
  try {
    for (const [i, part] of parts.entries()) {
      const next = openat(at, part, O_PATH | O_NOFOLLOW);
      if (next === -1) return opaque ? 'hidden' : 'below';
      closeSync(at);
      at = next;
      const stat = fstatSync(at);
      if (stat.isCharacterDevice() && stat.rdev === 0) return 'hidden';
      if (i === parts.length - 1) return 'there';
      if (!stat.isDirectory()) return 'hidden';
      opaque = opaque || isOpaque(at);
    }
    return 'there';
  } finally {
    closeSync(at);
  }
}

const openFolder = (path: string) => openSync(path, O_PATH | O_DIRECTORY);

/** @param mountPoints names that are left out where they are empty */
export function changesOf(
  upper: string,
  lower: readonly string[],
  mountPoints: ReadonlySet<string>,
): readonly Change[] {
  const changes: Change[] = [];
  const fd = openFolder(upper);
  try {
    walk(fd, '', collector(lower, mountPoints, changes), { special: true });
  } finally {
    closeSync(fd);
  }
  return changes;
}

function collector(
  lower: readonly string[],
  mountPoints: ReadonlySet<string>,
  changes: Change[],
): TarHandler {
  return {
    entry(entry) {
      if (mountPoints.has(entry.name) && (entry.size === 0 || entry.type === 'directory')) return;
      const below = existsBelow(lower, entry.name);
      if (!isWhiteout(entry)) changes.push({ kind: below ? 'changed' : 'added', path: entry.name });
      else if (below) changes.push({ kind: 'deleted', path: entry.name });
    },
    data: () => {},
    endEntry: () => {},
  };
}

/** Writes what is in an upper folder as a layer. @param owner how ids are written down */
export function writeLayer(
  upper: string,
  mountPoints: ReadonlySet<string>,
  owner: WalkOptions['owner'],
  output: TarHandler,
): void {
  const mark = (name: string): void => {
    output.entry({ ...EMPTY, name });
    output.endEntry();
  };
  let dropped = false;
  const handler: TarHandler = {
    entry(entry) {
      dropped = mountPoints.has(entry.name) && entry.type === 'file' && entry.size === 0;
      const slash = entry.name.lastIndexOf('/') + 1;
      if (!isWhiteout(entry)) {
        if (!dropped) output.entry(entry);
        return;
      }
      dropped = true;
      mark(`${entry.name.slice(0, slash)}.wh.${entry.name.slice(slash)}`);
    },
    data: (bytes) => output.data(bytes),
    endEntry() {
      if (!dropped) output.endEntry();
    },
  };
  const fd = openFolder(upper);
  try {
    walk(fd, '', handler, {
      special: true,
      xattrs: true,
      ...(owner === undefined ? {} : { owner }),
      inFolder(folder, name) {
        refuseRedirect(folder, name);
        if (name !== '' && isOpaque(folder)) mark(`${name}/.wh..wh..opq`);
      },
    });
  } finally {
    closeSync(fd);
  }
}

const EMPTY: Omit<TarEntry, 'name'> = {
  type: 'file',
  mode: 0o600,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: { seconds: 0, nanoseconds: 0 },
  linkName: '',
  major: 0,
  minor: 0,
  xattrs: new Map(),
};
