/**
 * `cp`: between a container and the host, or a tar stream. A running container is reached through /proc/PID/root, so that its mounts are seen;
 * one that does not run through its root file system. docker's rules for where things go.
 */
import { closeSync, constants, openSync, statSync, writeSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { byteString, O_DIRECTORY, O_PATH } from '../../sys/at.js';
import { type TarHandler, TarReader } from '../image/tar-reader.js';
import { tarEnd, tarHeader, tarPadding } from '../image/tar-writer.js';
import type { EngineContext } from './context.js';
import { locate, TreeWriter, type WriterOptions, walk } from './copy-tree.js';
import { CopyError } from './errors.js';
import type { ContainerRecord } from './record.js';
import { settle } from './settle.js';

/** One end of a copy. */
export type CopyEnd =
  | { readonly kind: 'container'; readonly name: string; readonly path: string }
  | { readonly kind: 'host'; readonly path: string }
  | { readonly kind: 'stream' };

/** `CONTAINER:PATH`, a path of the host (with a `/` or `.` in front of any colon), or `-`. */
export function parseCopyEnd(word: string): CopyEnd {
  if (word === '-') return { kind: 'stream' };
  const match = /^([a-zA-Z0-9][a-zA-Z0-9_.-]*):(.*)$/s.exec(word);
  const [, name, path] = match ?? [];
  return name === undefined || path === undefined
    ? { kind: 'host', path: word }
    : { kind: 'container', name, path };
}

/** Writes entries as a tar stream to a descriptor that may be a slow pipe. */
class TarStream implements TarHandler {
  #size = 0;

  constructor(private readonly fd: number) {}

  #write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      try {
        at += writeSync(this.fd, bytes, at, bytes.length - at);
      } catch (error) {
        // A pipe that Node has made non-blocking and that is full.
        if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
      }
    }
  }

  entry(entry: Parameters<TarHandler['entry']>[0]): void {
    this.#size = entry.size;
    this.#write(tarHeader(entry));
  }

  data(bytes: Uint8Array): void {
    this.#write(bytes);
  }

  endEntry(): void {
    this.#write(tarPadding(this.#size));
  }

  end(): void {
    this.#write(tarEnd());
  }
}

/** Where the copy of something called `name` goes: docker's rules. */
export function destinationOf(
  kind: 'directory' | 'other' | undefined,
  destination: string,
  name: string,
  contentsOnly: boolean,
): { folder: string; name: string } {
  if (kind === 'directory') return { folder: destination, name: contentsOnly ? '' : name };
  return { folder: dirname(destination), name: basename(destination) };
}

function kindBelow(root: number, path: string): 'directory' | 'other' | undefined {
  const fd = locate(root, path, true);
  if (fd === undefined) return undefined;
  try {
    return statSync(`/proc/self/fd/${fd}`).isDirectory() ? 'directory' : 'other';
  } finally {
    closeSync(fd);
  }
}

const openRoot = (path: string): number => openSync(path, O_PATH | O_DIRECTORY | constants.O_RDONLY);

/** Runs `action` with a descriptor of the container's root; nobody starts or stops it meanwhile. */
async function withRoot<T>(
  context: EngineContext,
  name: string,
  action: (root: number, record: ContainerRecord) => Promise<T>,
): Promise<T> {
  return context.store.locked(context.store.resolve(name), async (found) => {
    const record = await settle(context, found);
    const runs = record.init !== undefined && (record.state === 'running' || record.state === 'paused');
    const path = runs ? `/proc/${record.init?.pid}/root` : await context.images.mount(record);
    const root = openRoot(path);
    try {
      return await action(root, record);
    } finally {
      closeSync(root);
      if (!runs) await context.images.unmount(record);
    }
  });
}

/** In a container all belongs to its root, on the host to who copies. */
function containerWriter(record: ContainerRecord): WriterOptions {
  const uid = record.firstId ?? 0;
  return { owner: () => ({ uid, gid: uid }), modeMask: 0o7777 };
}
/** A container's set-uid programs must not become the host's. */
const HOST_WRITER: WriterOptions = { owner: undefined, modeMask: 0o777 };

function copyTree(
  from: { root: number; path: string },
  to: { root: number; path: string },
  options: WriterOptions,
  shown: string,
): readonly string[] {
  const contentsOnly = from.path.endsWith('/.') || from.path === '.';
  // Of a link the copy is a link; what a trailing slash names is a folder.
  const source = locate(from.root, byteString(from.path), from.path.endsWith('/'));
  if (source === undefined) throw new CopyError(`there is no ${shown}`, { code: 'COPY_SOURCE' });
  try {
    const kind = kindBelow(to.root, byteString(to.path));
    const isFolder = statSync(`/proc/self/fd/${source}`).isDirectory();
    if (kind === 'other' && isFolder)
      throw new CopyError(`${to.path} is no folder, and ${shown} is one`, { code: 'COPY_KIND' });
    if (kind === undefined && !isFolder && to.path.endsWith('/'))
      throw new CopyError(`there is no folder ${to.path}`, { code: 'COPY_DESTINATION' });
    const target = destinationOf(kind, to.path, basename(resolve('/', from.path)), contentsOnly);
    using writer = new TreeWriter(to.root, byteString(target.folder), options);
    walk(source, byteString(target.name), writer);
    return writer.skipped;
  } finally {
    closeSync(source);
  }
}

async function extractStream(
  input: AsyncIterable<Buffer>,
  root: number,
  path: string,
  options: WriterOptions,
): Promise<readonly string[]> {
  if (kindBelow(root, byteString(path)) !== 'directory')
    throw new CopyError(`${path} is no folder of the container`, { code: 'COPY_DESTINATION' });
  using writer = new TreeWriter(root, byteString(path), options);
  const reader = new TarReader(writer);
  for await (const chunk of input) reader.write(chunk);
  reader.end();
  return writer.skipped;
}

/** @param input a tar stream for `-` as source @returns names that were left out: devices and the like @throws CopyError, TarError */
export async function copy(
  context: EngineContext,
  from: CopyEnd,
  to: CopyEnd,
  input: AsyncIterable<Buffer>,
): Promise<readonly string[]> {
  if (from.kind === 'container' && to.kind === 'container') {
    return withRoot(context, from.name, async (source) => {
      // One container to itself: its lock is held already.
      if (context.store.resolve(from.name) === context.store.resolve(to.name))
        throw new CopyError('source and destination are the same container', {
          code: 'COPY_SAME',
          hint: `tvmm exec ${from.name} cp …`,
        });
      return withRoot(context, to.name, async (root, record) =>
        copyTree(
          { root: source, path: from.path },
          { root, path: to.path },
          containerWriter(record),
          `${from.name}:${from.path}`,
        ),
      );
    });
  }
  const [container] = [from, to].filter((end) => end.kind === 'container');
  if (container === undefined)
    throw new CopyError('neither side is a container', {
      code: 'COPY_ENDS',
      hint: 'a container is written NAME:PATH',
    });
  return withRoot(context, container.name, async (root, record) => {
    if (from.kind === 'stream') return extractStream(input, root, container.path, containerWriter(record));
    if (to.kind === 'stream') {
      const source = locate(root, byteString(container.path), container.path.endsWith('/'));
      if (source === undefined)
        throw new CopyError(`there is no ${container.name}:${container.path}`, { code: 'COPY_SOURCE' });
      try {
        const stream = new TarStream(1);
        walk(source, byteString(basename(resolve('/', container.path))), stream);
        stream.end();
      } finally {
        closeSync(source);
      }
      return [];
    }
    const host = openRoot('/');
    try {
      if (from.kind === 'host')
        return copyTree(
          { root: host, path: hostPath(from.path) },
          { root, path: container.path },
          containerWriter(record),
          from.path,
        );
      if (to.kind === 'host')
        return copyTree(
          { root, path: container.path },
          { root: host, path: hostPath(to.path) },
          HOST_WRITER,
          `${container.name}:${container.path}`,
        );
      return [];
    } finally {
      closeSync(host);
    }
  });
}

/** Absolute, with a `/` or `/.` at its end where the user has written one. */
function hostPath(path: string): string {
  const end = /\/\.$/.test(path) || path === '.' ? '/.' : path.endsWith('/') ? '/' : '';
  return `${resolve(path)}${end}`;
}
