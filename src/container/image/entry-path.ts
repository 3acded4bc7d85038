/**
 * Names in layers, made safe before they reach the file system: relative, without `..`, `.`, empty parts or NUL, short enough; and the
 * names that mean something else than a file (OCI image-spec, layer.md, "Whiteouts").
 */
import { escaped } from '../../sys/errors.js';
import { LayerError } from './errors.js';

/** Linux: NAME_MAX and PATH_MAX. */
const MAX_COMPONENT = 255;
const MAX_PATH = 4095;
const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** What aufs left in its layers: never a file of the image. */
const AUFS = '.wh..wh.';

/** A byte string for a message, quoted: nothing in it steers a terminal. */
export function printable(name: string): string {
  return escaped(JSON.stringify(Buffer.from(name.slice(0, 300), 'latin1').toString()));
}

function refuse(name: string, why: string): never {
  throw new LayerError(`the layer has an entry named ${printable(name)}: ${why}`, {
    code: 'LAYER_ENTRY_NAME',
  });
}

/**
 * The components of an entry's name, joined by `/`; empty for the root. A leading `/` stands for the root of the image, as it does for
 * other unpackers. @throws LayerError for `..`, which no writer of layers has a reason for
 */
export function entryPath(name: string): string {
  if (name.length > MAX_PATH) refuse(name, 'the name is too long');
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') refuse(name, 'it leads upwards');
    if (part.length > MAX_COMPONENT) refuse(name, 'a part of the name is too long');
    parts.push(part);
  }
  return parts.join('/');
}

export function splitPath(path: string): { folder: string; base: string } {
  const slash = path.lastIndexOf('/');
  return slash === -1
    ? { folder: '', base: path }
    : { folder: path.slice(0, slash), base: path.slice(slash + 1) };
}

export type Marker =
  | { kind: 'file' }
  | { kind: 'opaque' }
  | { kind: 'ignored' }
  | { kind: 'whiteout'; base: string };

/** What an entry's last component means. @throws LayerError for a whiteout of nothing, `.` or `..` */
export function markerOf(path: string): Marker {
  const { base } = splitPath(path);
  if (!base.startsWith(WHITEOUT)) return { kind: 'file' };
  if (base === OPAQUE) return { kind: 'opaque' };
  if (base.startsWith(AUFS)) return { kind: 'ignored' };
  const hidden = base.slice(WHITEOUT.length);
  if (hidden === '' || hidden === '.' || hidden === '..') refuse(path, 'it is a whiteout of no file');
  return { kind: 'whiteout', base: hidden };
}

/** The path that a symbolic link at `path` leads to inside the root; `..` stops at the root, as it does for a process there. */
export function linkedPath(path: string, target: string): string {
  const parts = target.startsWith('/')
    ? []
    : splitPath(path)
        .folder.split('/')
        .filter((part) => part !== '');
  for (const part of target.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') parts.pop();
    else parts.push(part);
  }
  return parts.join('/');
}
