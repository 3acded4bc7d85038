/**
 * Images in files, as a set of named parts: an OCI layout in a folder, or an archive of one (oci-archive, docker-archive) that is read as
 * a stream, once, into a scratch folder. The parts of an archive are bounded by the free space, and their digests are taken as they pass.
 */
import {
  closeSync,
  createReadStream,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Digest, Digester } from './digest.js';
import { entryPath, linkedPath, printable } from './entry-path.js';
import { ImageFormatError, NO_ROOM } from './errors.js';
import { type TarEntry, type TarHandler, TarReader } from './tar-reader.js';
import { decompress } from './unpack.js';

/** A file of the layout. */
export interface Part {
  readonly path: string;
  readonly size: number;
  /** Known where the file has just passed through. */
  readonly digest: Digest | undefined;
}

export interface ArchiveSource {
  /** For messages. */
  readonly what: string;
  part(name: string): Part | undefined;
}

/** More are no image. */
const MAX_PARTS = 20_000;

/** Reads a small part. @throws ImageFormatError */
export function readPart(source: ArchiveSource, name: string, limit: number): Buffer | undefined {
  const part = source.part(name);
  if (part === undefined) return undefined;
  if (part.size > limit) {
    throw new ImageFormatError(`${name} in ${source.what} is larger than ${limit} bytes`, {
      code: 'IMAGE_FORMAT',
    });
  }
  return readFileSync(part.path);
}

/** A layout, or an archive that was unpacked, in a folder. Others may have put links into it: none leads out of it. */
export function folderSource(folder: string): ArchiveSource {
  const root = realpathSync(folder);
  const real = (path: string): string | undefined => {
    try {
      return realpathSync(path);
    } catch {
      return undefined;
    }
  };
  return {
    what: folder,
    part(name) {
      const path = real(join(root, entryPath(name)));
      if (path?.startsWith(root === '/' ? '/' : `${root}/`) !== true) return undefined;
      const stats = lstatSync(path, { throwIfNoEntry: false });
      return stats?.isFile() === true ? { path, size: stats.size, digest: undefined } : undefined;
    },
  };
}

class Spool implements TarHandler, Disposable {
  readonly parts = new Map<string, Part>();
  readonly links = new Map<string, string>();
  readonly #folder: string;
  readonly #maxBytes: number;
  #count = 0;
  #bytes = 0;
  #current: { fd: number; digester: Digester; name: string; path: string } | undefined;

  constructor(folder: string, maxBytes: number) {
    this.#folder = folder;
    this.#maxBytes = maxBytes;
  }

  entry(entry: TarEntry): void {
    this.#count++;
    this.#bytes += entry.size;
    if (this.#count > MAX_PARTS)
      throw new ImageFormatError(`the archive has more than ${MAX_PARTS} entries`, { code: 'IMAGE_FORMAT' });
    if (this.#bytes > this.#maxBytes) {
      throw new ImageFormatError(
        `the archive holds more than the ${this.#maxBytes} bytes that there is room for`,
        { code: 'DISK_FULL', hint: NO_ROOM },
      );
    }
    const name = entryPath(entry.name);
    // Old archives of Docker share layers between images by links.
    if (entry.type === 'symlink') this.links.set(name, linkedPath(name, entry.linkName));
    else if (entry.type === 'hardlink') this.links.set(name, entryPath(entry.linkName));
    else if (entry.type === 'file') {
      if (this.parts.has(name))
        throw new ImageFormatError(`the archive has ${printable(name)} twice`, { code: 'IMAGE_FORMAT' });
      const path = join(this.#folder, String(this.#count));
      this.#current = { fd: openSync(path, 'wx', 0o600), digester: new Digester(), name, path };
    }
  }

  data(bytes: Uint8Array): void {
    const current = this.#current;
    if (current === undefined) return;
    for (let at = 0; at < bytes.length; ) at += writeSync(current.fd, bytes, at);
    current.digester.update(bytes);
  }

  endEntry(): void {
    const current = this.#current;
    if (current === undefined) return;
    this.#current = undefined;
    closeSync(current.fd);
    const { size } = current.digester;
    this.parts.set(current.name, { path: current.path, size, digest: current.digester.digest() });
  }

  [Symbol.dispose](): void {
    if (this.#current !== undefined) closeSync(this.#current.fd);
    this.#current = undefined;
  }
}

/** What docker load would unpack, and Node cannot. */
const PACKERS = [
  { program: 'xz', start: Buffer.from('\xfd7zXZ\0', 'latin1') },
  { program: 'bzip2', start: Buffer.from('BZh') },
];

function refusePacked(first: Buffer, what: string): void {
  const packer = PACKERS.find(({ start }) => first.subarray(0, start.length).equals(start));
  if (packer !== undefined)
    throw new ImageFormatError(`${what} is packed by ${packer.program}, which cannot be unpacked here`, {
      code: 'IMAGE_FORMAT',
      hint: `Unpack it first: ${packer.program} -dc FILE | tvmm image load`,
    });
}

/**
 * Reads an archive, packed or not, into `scratch` (made here; the caller removes it).
 *
 * @throws ImageFormatError TarError LayerError
 */
export async function archiveSource(
  input: AsyncIterable<Uint8Array>,
  what: string,
  scratch: string,
  options: { readonly maxBytes: number; readonly signal?: AbortSignal },
): Promise<ArchiveSource> {
  mkdirSync(scratch, { mode: 0o700 });
  using spool = new Spool(scratch, options.maxBytes);
  const reader = new TarReader(spool);
  let length = 0;
  for await (const chunk of decompress(input)) {
    options.signal?.throwIfAborted();
    if (length === 0) refusePacked(chunk, what);
    length += chunk.length;
    // As for layers: headers and padding have room, endless zeros behind the end have not.
    if (length > options.maxBytes * 2 + 2 ** 30)
      throw new ImageFormatError(`${what} unpacks to more than there is room for`, {
        code: 'DISK_FULL',
        hint: NO_ROOM,
      });
    reader.write(chunk);
  }
  if (length === 0) throw new ImageFormatError(`${what} is empty`, { code: 'IMAGE_FORMAT' });
  reader.end();
  const { parts, links } = spool;
  return {
    what,
    part(name) {
      let path = entryPath(name);
      for (let i = 0; i < 10; i++) {
        const part = parts.get(path);
        if (part !== undefined) return part;
        const next = links.get(path);
        if (next === undefined) return undefined;
        path = next;
      }
      return undefined;
    },
  };
}

/** The bytes of a part. */
export function partStream(part: Part): AsyncIterable<Buffer> {
  return createReadStream(part.path, { highWaterMark: 256 * 1024 });
}
