/**
 * A tar archive as a stream of entries: ustar, GNU long names, pax extended headers (times, xattrs as SCHILY.xattr.*). Bytes are pushed
 * in, entries come out, nothing is kept but one header. Refuses sparse entries, multi-volume archives and types that it does not know:
 * the OCI layer format (image-spec, layer.md) has no use for them. What the names mean is the receiver's matter.
 */
import {
  BLOCK,
  isZero,
  malformed,
  parseHeader,
  parsePax,
  paxInteger,
  paxTime,
  type RawHeader,
} from './tar-header.js';

export type TarType = 'file' | 'hardlink' | 'symlink' | 'char' | 'block' | 'directory' | 'fifo';

/** One entry. Names are byte strings, unchecked but for NUL bytes. */
export interface TarEntry {
  readonly name: string;
  readonly type: TarType;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes that follow; 0 for everything but files. */
  readonly size: number;
  readonly mtime: { readonly seconds: number; readonly nanoseconds: number };
  /** Target of a symbolic link, or name of an earlier entry for a hard link. */
  readonly linkName: string;
  readonly major: number;
  readonly minor: number;
  /** Values of extended attributes, by byte-string name. */
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

/** Receives entries: `entry`, its bytes in any number of pieces, `endEntry`. The pieces are only valid during the call. */
export interface TarHandler {
  entry(entry: TarEntry): void;
  data(bytes: Uint8Array): void;
  endEntry(): void;
}

/** POSIX typeflags; NUL is an old writer's '0', '7' a contiguous file. */
const TYPES: Readonly<Record<string, TarType>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
};
/** Long names and xattrs stand in memory while they are read. */
const MAX_META = 2 ** 20;
const NO_XATTRS: ReadonlyMap<string, Buffer> = new Map();
const XATTR = 'SCHILY.xattr.';

export class TarReader {
  readonly #handler: TarHandler;
  readonly #block = Buffer.alloc(BLOCK);
  #filled = 0;
  /** Bytes of the current body still to come, and of its padding. */
  #body = 0;
  #padding = 0;
  /** What the current body is: an entry's bytes, or a header's that belongs to the next entry. */
  #meta: { type: string; chunks: Buffer[] } | undefined;
  #pax: Map<string, string> | undefined;
  #longName: string | undefined;
  #longLink: string | undefined;
  #zeros = 0;
  #ended = false;

  constructor(handler: TarHandler) {
    this.#handler = handler;
  }

  /** Takes the next bytes, which may be cut anywhere. @throws TarError, or what the handler throws */
  write(chunk: Buffer): void {
    let at = 0;
    // What stands behind the end mark is padding of the writer's record size.
    while (at < chunk.length && !this.#ended) {
      const left = chunk.length - at;
      if (this.#body > 0) {
        const length = Math.min(this.#body, left);
        this.#take(chunk.subarray(at, at + length));
        this.#body -= length;
        at += length;
        if (this.#body === 0) this.#endBody();
      } else if (this.#padding > 0) {
        const length = Math.min(this.#padding, left);
        this.#padding -= length;
        at += length;
      } else if (this.#filled === 0 && left >= BLOCK) {
        this.#header(chunk.subarray(at, at + BLOCK));
        at += BLOCK;
      } else {
        const length = Math.min(BLOCK - this.#filled, left);
        chunk.copy(this.#block, this.#filled, at, at + length);
        this.#filled += length;
        at += length;
        if (this.#filled === BLOCK) {
          this.#filled = 0;
          this.#header(this.#block);
        }
      }
    }
  }

  /** Says that no more bytes come. An end between entries is one, as most readers have it. @throws TarError */
  end(): void {
    if (this.#ended) return;
    const isWhole = this.#body === 0 && this.#padding === 0 && this.#filled === 0;
    if (!isWhole || this.#pax !== undefined || this.#longName !== undefined || this.#longLink !== undefined) {
      malformed('it ends in the middle of an entry');
    }
  }

  #take(bytes: Buffer): void {
    // A copy: the caller may use its chunk again.
    if (this.#meta !== undefined) this.#meta.chunks.push(Buffer.from(bytes));
    else this.#handler.data(bytes);
  }

  #endBody(): void {
    const meta = this.#meta;
    if (meta === undefined) {
      this.#handler.endEntry();
      return;
    }
    this.#meta = undefined;
    const body = Buffer.concat(meta.chunks);
    if (meta.type === 'x') this.#pax = parsePax(body);
    else if (meta.type === 'L') this.#longName = untilNul(body);
    else if (meta.type === 'K') this.#longLink = untilNul(body);
    // A global header ('g') holds comments in practice; no reader of layers applies it to later entries.
    else parsePax(body);
  }

  #header(block: Buffer): void {
    if (isZero(block)) {
      this.#zeros++;
      this.#ended = this.#zeros === 2;
      return;
    }
    this.#zeros = 0;
    const raw = parseHeader(block);
    if ('xgLK'.includes(raw.type)) {
      if (raw.size > MAX_META) malformed(`a header of ${raw.size} bytes is too large`);
      this.#meta = { type: raw.type, chunks: [] };
      this.#startBody(raw.size);
      return;
    }
    const entry = this.#entryOf(raw);
    this.#pax = undefined;
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#handler.entry(entry);
    this.#startBody(entry.size);
  }

  #startBody(size: number): void {
    this.#body = size;
    this.#padding = (BLOCK - (size % BLOCK)) % BLOCK;
    if (size === 0) this.#endBody();
  }

  #entryOf(raw: RawHeader): TarEntry {
    const pax = this.#pax;
    const name = pax?.get('path') ?? this.#longName ?? raw.name;
    const linkName = pax?.get('linkpath') ?? this.#longLink ?? raw.linkName;
    if (name.includes('\0') || linkName.includes('\0')) malformed('a name holds a NUL byte');
    let type = TYPES[raw.type];
    if (type === undefined) {
      malformed(
        raw.type === 'S' ? 'sparse entries are not supported' : `entries of type "${raw.type}" are not known`,
      );
    }
    // Before POSIX a folder was a file whose name ends with a slash.
    if (type === 'file' && name.endsWith('/')) type = 'directory';
    const integer = (key: string, fallback: number): number => {
      const value = pax?.get(key);
      return value === undefined ? fallback : paxInteger(value, key);
    };
    const size = integer('size', raw.size);
    const time = pax?.get('mtime');
    return {
      name,
      type,
      mode: raw.mode,
      uid: owner(integer('uid', raw.uid)),
      gid: owner(integer('gid', raw.gid)),
      // Readers agree that only files have bytes, whatever the header says.
      size: type === 'file' ? size : 0,
      mtime: time === undefined ? { seconds: raw.mtime, nanoseconds: 0 } : paxTime(time),
      linkName,
      major: raw.major,
      minor: raw.minor,
      xattrs: pax === undefined ? NO_XATTRS : xattrsOf(pax),
    };
  }
}

/** Cut off before it becomes a string: a part of a string would keep all of it in memory for as long as the name is known. */
function untilNul(body: Buffer): string {
  const end = body.indexOf(0);
  return body.toString('latin1', 0, end === -1 ? body.length : end);
}

/** Owners are 32 bits, and the highest value means "leave it" to chown(2). */
function owner(id: number): number {
  if (id < 0 || id > 0xffff_fffe) malformed(`${id} is not an owner`);
  return id;
}

function xattrsOf(pax: ReadonlyMap<string, string>): ReadonlyMap<string, Buffer> {
  const xattrs = new Map<string, Buffer>();
  for (const [key, value] of pax) {
    if (key.startsWith('GNU.sparse.')) malformed('sparse entries are not supported');
    if (!key.startsWith(XATTR)) continue;
    const name = key.slice(XATTR.length);
    if (name === '' || name.length > 255 || name.includes('\0'))
      malformed('an extended attribute has no proper name');
    if (value.length > 65536) malformed('an extended attribute is longer than 64 KiB');
    xattrs.set(name, Buffer.from(value, 'latin1'));
  }
  return xattrs;
}
