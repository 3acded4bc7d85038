/**
 * The 512-byte header of a tar entry: POSIX ustar (IEEE 1003.1, pax, "ustar Interchange Format") with GNU's base-256 numbers, and the
 * records of pax extended headers. Strings are byte strings (latin1). Refuses what two readers could read differently: wrong checksums,
 * negative or huge sizes, records whose lengths do not add up.
 */
import { TarError } from './errors.js';

export const BLOCK = 512;

/** Where a field stands in the header: offset and length. */
export const FIELDS = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  typeflag: [156, 1],
  linkname: [157, 100],
  magic: [257, 6],
  devmajor: [329, 8],
  devminor: [337, 8],
  prefix: [345, 155],
} as const satisfies Record<string, readonly [number, number]>;

/** A header as it stands; pax and GNU records may replace its strings and numbers. */
export interface RawHeader {
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  readonly type: string;
  readonly linkName: string;
  readonly major: number;
  readonly minor: number;
}

export function malformed(what: string): never {
  throw new TarError(`the archive is malformed: ${what}`, { code: 'TAR_MALFORMED' });
}

function text(block: Buffer, [at, length]: readonly [number, number]): string {
  const end = block.indexOf(0, at);
  return block.toString('latin1', at, end === -1 || end > at + length ? at + length : end);
}

/** Octal digits between spaces and NULs, or two's complement of base 256 when the first bit is set (GNU). */
function number(block: Buffer, field: readonly [number, number], what: string): number {
  const [at, length] = field;
  const first = block[at] ?? 0;
  if ((first & 0x80) !== 0) {
    // The first byte is a flag of seven bits; 0xff says that the number is negative.
    let value = first === 0xff ? -1 : first & 0x7f;
    for (let i = at + 1; i < at + length; i++) value = value * 256 + (block[i] ?? 0);
    if (!Number.isSafeInteger(value)) malformed(`the ${what} of an entry is out of range`);
    return value;
  }
  const digits = block
    .toString('latin1', at, at + length)
    .replace(/\0.*$/s, '')
    .trim();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) malformed(`the ${what} of an entry is not a number`);
  return Number.parseInt(digits, 8);
}

/** Sum of all bytes with the checksum's own as spaces; some old writers took the bytes as signed. */
function checksumHolds(block: Buffer): boolean {
  let unsigned = 0;
  let signed = 0;
  const [at, length] = FIELDS.checksum;
  for (let i = 0; i < BLOCK; i++) {
    const byte = i >= at && i < at + length ? 0x20 : (block[i] ?? 0);
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const stored = number(block, FIELDS.checksum, 'checksum');
  return stored === unsigned || stored === signed;
}

/** Whether a block is all zeros: two of them end an archive. */
export function isZero(block: Buffer): boolean {
  for (let i = 0; i < BLOCK; i++) if (block[i] !== 0) return false;
  return true;
}

/** Reads a header block. @throws TarError */
export function parseHeader(block: Buffer): RawHeader {
  if (!checksumHolds(block)) malformed('the checksum of a header is wrong');
  const name = text(block, FIELDS.name);
  // GNU's own format has other things where ustar has the prefix.
  const isUstar = block.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isUstar ? text(block, FIELDS.prefix) : '';
  const size = number(block, FIELDS.size, 'size');
  if (size < 0) malformed('the size of an entry is negative');
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    mode: number(block, FIELDS.mode, 'mode') & 0o7777,
    uid: number(block, FIELDS.uid, 'owner'),
    gid: number(block, FIELDS.gid, 'group'),
    size,
    mtime: number(block, FIELDS.mtime, 'time'),
    type: block.toString('latin1', 156, 157),
    linkName: text(block, FIELDS.linkname),
    major: number(block, FIELDS.devmajor, 'device'),
    minor: number(block, FIELDS.devminor, 'device'),
  };
}

/** The records `LENGTH KEY=VALUE\n` of a pax extended header; the last of equal keys wins. @throws TarError */
export function parsePax(body: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  let at = 0;
  while (at < body.length) {
    const space = body.indexOf(0x20, at);
    const digits = space === -1 || space - at > 8 ? '' : body.toString('latin1', at, space);
    const length = /^[1-9][0-9]*$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    if (length < digits.length + 4 || end > body.length || body[end - 1] !== 0x0a) {
      malformed('the records of a pax header do not add up');
    }
    const record = body.toString('latin1', space + 1, end - 1);
    const equals = record.indexOf('=');
    if (equals <= 0) malformed('a record of a pax header has no key');
    records.set(record.slice(0, equals), record.slice(equals + 1));
    at = end;
  }
  return records;
}

/** A pax number: decimal, not negative. @throws TarError */
export function paxInteger(value: string, what: string): number {
  const result = /^[0-9]{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(result)) malformed(`the ${what} in a pax header is not a number`);
  return result;
}

/** A pax time: seconds with a fraction, possibly negative. @throws TarError */
export function paxTime(value: string): { seconds: number; nanoseconds: number } {
  const match = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(value);
  if (match === null) malformed('the time in a pax header is not a number');
  const whole = Number(match[2]);
  const fraction = Number((match[3] ?? '').slice(0, 9).padEnd(9, '0'));
  if (match[1] === '') return { seconds: whole, nanoseconds: fraction };
  return fraction === 0
    ? { seconds: -whole, nanoseconds: 0 }
    : { seconds: -whole - 1, nanoseconds: 1e9 - fraction };
}
