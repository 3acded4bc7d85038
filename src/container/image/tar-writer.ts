/**
 * Writes tar archives in pax format (IEEE 1003.1): ustar headers, extended ones only where a name, a number or an attribute does not
 * fit. Returns bytes; where they go is the caller's matter. Same entries, same bytes: nothing of the machine or the time is put in.
 */
import { BLOCK, FIELDS } from './tar-header.js';
import type { TarType } from './tar-reader.js';

/** An entry to be written; what is left out is 0, empty, or a file's usual mode. */
export interface TarInput {
  /** Byte string. */
  readonly name: string;
  readonly type?: TarType;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Bytes that the caller writes after the header, with {@link tarPadding} after them. */
  readonly size?: number;
  readonly mtime?: { readonly seconds: number; readonly nanoseconds: number };
  readonly linkName?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly xattrs?: ReadonlyMap<string, Uint8Array>;
}

const TYPE_FLAGS: Readonly<Record<TarType, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  char: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};
/** The largest number of a field with 7 and with 11 octal digits. */
const MAX_7 = 0o7777777;
const MAX_11 = 0o77777777777;

function put(block: Buffer, [at, length]: readonly [number, number], value: string): void {
  block.write(value.slice(0, length), at, 'latin1');
}

function octal(value: number, [, length]: readonly [number, number]): string {
  return value.toString(8).padStart(length - 1, '0');
}

function headerBlock(entry: TarInput, typeFlag: string, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  put(block, FIELDS.name, entry.name);
  put(block, FIELDS.mode, octal(entry.mode ?? 0o644, FIELDS.mode));
  const bounded = (value: number, max: number): number => (value >= 0 && value <= max ? value : 0);
  put(block, FIELDS.uid, octal(bounded(entry.uid ?? 0, MAX_7), FIELDS.uid));
  put(block, FIELDS.gid, octal(bounded(entry.gid ?? 0, MAX_7), FIELDS.gid));
  put(block, FIELDS.size, octal(bounded(size, MAX_11), FIELDS.size));
  put(block, FIELDS.mtime, octal(bounded(entry.mtime?.seconds ?? 0, MAX_11), FIELDS.mtime));
  put(block, FIELDS.checksum, ' '.repeat(8));
  put(block, FIELDS.typeflag, typeFlag);
  put(block, FIELDS.linkname, entry.linkName ?? '');
  block.write('ustar\x0000', 257, 'latin1');
  put(block, FIELDS.devmajor, octal(entry.major ?? 0, FIELDS.devmajor));
  put(block, FIELDS.devminor, octal(entry.minor ?? 0, FIELDS.devminor));
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, FIELDS.checksum[0], 'latin1');
  return block;
}

/** `LENGTH KEY=VALUE\n`, where the length counts its own digits. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}

function paxOf(entry: TarInput, size: number): string {
  let pax = '';
  if (entry.name.length > 100) pax += paxRecord('path', entry.name);
  if ((entry.linkName ?? '').length > 100) pax += paxRecord('linkpath', entry.linkName ?? '');
  if (size > MAX_11) pax += paxRecord('size', String(size));
  if ((entry.uid ?? 0) > MAX_7) pax += paxRecord('uid', String(entry.uid));
  if ((entry.gid ?? 0) > MAX_7) pax += paxRecord('gid', String(entry.gid));
  const { seconds = 0, nanoseconds = 0 } = entry.mtime ?? {};
  if (nanoseconds !== 0 || seconds < 0 || seconds > MAX_11) {
    const isNegative = seconds < 0 && nanoseconds !== 0;
    const whole = isNegative ? seconds + 1 : seconds;
    const fraction = String(isNegative ? 1e9 - nanoseconds : nanoseconds).padStart(9, '0');
    const sign = isNegative && whole === 0 ? '-' : '';
    pax += paxRecord('mtime', `${sign}${whole}${nanoseconds === 0 ? '' : `.${fraction}`}`);
  }
  for (const [name, value] of entry.xattrs ?? []) {
    pax += paxRecord(`SCHILY.xattr.${name}`, Buffer.from(value).toString('latin1'));
  }
  return pax;
}

/** The header of an entry: one block, or more with an extended header in front. */
export function tarHeader(entry: TarInput): Buffer {
  const type = entry.type ?? 'file';
  const size = type === 'file' ? (entry.size ?? 0) : 0;
  const header = headerBlock(entry, TYPE_FLAGS[type], size);
  const pax = paxOf(entry, size);
  if (pax === '') return header;
  const front = headerBlock({ name: 'PaxHeaders/entry' }, 'x', pax.length);
  return Buffer.concat([front, Buffer.from(pax, 'latin1'), tarPadding(pax.length), header]);
}

/** Zeros after `size` bytes of an entry. */
export function tarPadding(size: number): Buffer {
  return Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
}

/** What ends an archive. */
export function tarEnd(): Buffer {
  return Buffer.alloc(2 * BLOCK);
}

/** A small entry with its bytes. */
export function tarFile(entry: Omit<TarInput, 'size' | 'type'>, bytes: Uint8Array): Buffer {
  return Buffer.concat([tarHeader({ ...entry, size: bytes.length }), bytes, tarPadding(bytes.length)]);
}
