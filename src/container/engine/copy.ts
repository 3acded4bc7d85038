/**
 * `cp`: between a container and the host, or a tar stream. A running container is reached through /proc/PID/root, so that its mounts are seen;
 * one that does not run through its root file system. docker's rules for where things go.
 */
import { closeSync, constants, openSync, statSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { byteString, O_DIRECTORY, O_PATH } from '../../sys/at.js';
import { TarReader } from '../image/tar-reader.js';
import { decompress } from '../image/unpack.js';
import type { EngineContext } from './context.js';
import { locate, TreeWriter, type WriterOptions } from './copy-tree.js';
import { type WalkOptions, walk } from './copy-walk.js';
import { CopyError } from './errors.js';
import { USERNS_SIZE } from './options/namespaces.js';
import { isAlive } from './process.js';
import type { ContainerRecord } from './record.js';
import { settle } from './settle.js';
import { TarStream } from './tar-stream.js';

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

/** How things are copied. */
export interface CopyOptions {
  /** `-a`: owners, devices, extended attributes and set-uid bits as they are. */
  readonly archive?: boolean;
  /** `-L`: of a link at the end of the source, what it names. */
  readonly followLink?: boolean;
}

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
      // Its pid may be somebody else's by now; the descriptor tells no more than the path did.
      if (runs && !isAlive(record.init))
        throw new CopyError(`container ${record.name} has just ended`, { code: 'COPY_ENDED' });
      return await action(root, record);
    } finally {
      closeSync(root);
      if (!runs) await context.images.unmount(record);
    }
  });
}

/** Ids of the host as the container calls them; what is not its own is nobody's. */
export function toContainer({ firstId = 0 }: ContainerRecord) {
  const map = (id: number) => (id >= firstId && id < firstId + USERNS_SIZE ? id - firstId : 65_534);
  return firstId === 0
    ? undefined
    : ({ uid, gid }: { uid: number; gid: number }) => ({ uid: map(uid), gid: map(gid) });
}

/** Without `-a` all in a container belongs to its root. Ids of the entries are the container's. @throws CopyError */
function containerWriter(record: ContainerRecord, { archive = false }: CopyOptions): WriterOptions {
  const first = record.firstId ?? 0;
  const map = (id: number) => {
    if (first === 0) return id;
    if (id < USERNS_SIZE) return first + id;
    throw new CopyError(`container ${record.name} has no id ${id} in its user namespace`, {
      code: 'COPY_OWNER',
      hint: 'leave out -a',
    });
  };
  return {
    owner: archive
      ? ({ uid, gid }) => ({ uid: map(uid), gid: map(gid) })
      : () => ({ uid: first, gid: first }),
    modeMask: 0o7777,
    ...(archive ? { special: true, xattrs: true } : {}),
  };
}

/** On the host things belong to who copies; a container's set-uid programs must not become the host's unasked. */
function hostWriter({ archive = false }: CopyOptions): WriterOptions {
  return archive
    ? { owner: ({ uid, gid }) => ({ uid, gid }), modeMask: 0o7777, special: true, xattrs: true, strict: true }
    : { owner: undefined, modeMask: 0o777, strict: true };
}

function containerWalk(record: ContainerRecord, { archive = false }: CopyOptions): WalkOptions {
  const owner = toContainer(record);
  return { special: true, xattrs: archive, ...(owner === undefined ? {} : { owner }) };
}

/** Of a link the copy is a link, unless it is to be followed; what a trailing slash names is a folder. @throws CopyError */
function locateSource(root: number, path: string, followLink: boolean, shown: string): number {
  const source = locate(root, byteString(path), followLink || path.endsWith('/'));
  if (source !== undefined) return source;
  throw new CopyError(`${shown}: there is no such file or folder`, { code: 'COPY_SOURCE' });
}

function copyTree(
  from: { root: number; path: string },
  to: { root: number; path: string },
  options: { readonly write: WriterOptions; readonly walk: WalkOptions; readonly followLink: boolean },
  shown: string,
): readonly string[] {
  const contentsOnly = from.path.endsWith('/.') || from.path === '.';
  const source = locateSource(from.root, from.path, options.followLink, shown);
  try {
    const kind = kindBelow(to.root, byteString(to.path));
    const isFolder = statSync(`/proc/self/fd/${source}`).isDirectory();
    if (kind === 'other' && isFolder)
      throw new CopyError(`${to.path} is no folder, and ${shown} is one`, { code: 'COPY_KIND' });
    if (kind === undefined && !isFolder && to.path.endsWith('/'))
      throw new CopyError(`there is no folder ${to.path}`, { code: 'COPY_DESTINATION' });
    const target = destinationOf(kind, to.path, basename(resolve('/', from.path)), contentsOnly);
    using writer = new TreeWriter(to.root, byteString(target.folder), options.write);
    walk(source, byteString(target.name), writer, options.walk);
    writer.finish();
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
  for await (const chunk of decompress(input)) reader.write(chunk);
  reader.end();
  writer.finish();
  return writer.skipped;
}

/** @param input a tar stream for `-` as source @returns names that were left out: devices and the like @throws CopyError, TarError */
export async function copy(
  context: EngineContext,
  from: CopyEnd,
  to: CopyEnd,
  input: AsyncIterable<Buffer>,
  options: CopyOptions = {},
): Promise<readonly string[]> {
  if (from.kind === 'container' && to.kind === 'container') return between(context, from, to, options);
  const [container] = [from, to].filter((end) => end.kind === 'container');
  if (container === undefined)
    throw new CopyError('neither side is a container', {
      code: 'COPY_ENDS',
      hint: 'a container is written NAME:PATH',
    });
  const shown = `${container.name}:${container.path}`;
  const followLink = options.followLink === true;
  return withRoot(context, container.name, async (root, record) => {
    if (from.kind === 'stream')
      return extractStream(input, root, container.path, containerWriter(record, options));
    if (to.kind === 'stream') {
      const source = locateSource(root, container.path, followLink, shown);
      try {
        const stream = new TarStream(1);
        const name = byteString(basename(resolve('/', container.path)));
        walk(source, name, stream, { ...containerWalk(record, options), xattrs: true });
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
          {
            write: containerWriter(record, options),
            walk: { special: true, xattrs: options.archive === true },
            followLink,
          },
          from.path,
        );
      if (to.kind === 'host')
        return copyTree(
          { root, path: container.path },
          { root: host, path: hostPath(to.path) },
          { write: hostWriter(options), walk: containerWalk(record, options), followLink },
          shown,
        );
      return [];
    } finally {
      closeSync(host);
    }
  });
}

/** From one container to another. */
async function between(
  context: EngineContext,
  from: Extract<CopyEnd, { kind: 'container' }>,
  to: Extract<CopyEnd, { kind: 'container' }>,
  options: CopyOptions,
): Promise<readonly string[]> {
  const ids = [from, to].map(({ name }) => context.store.resolve(name));
  // One container to itself: its lock is held already.
  if (ids[0] === ids[1])
    throw new CopyError('source and destination are the same container', {
      code: 'COPY_SAME',
      hint: `tvmm exec ${from.name} cp …`,
    });
  return withRoot(context, from.name, async (source, sourceRecord) =>
    withRoot(context, to.name, async (root, record) =>
      copyTree(
        { root: source, path: from.path },
        { root, path: to.path },
        {
          write: containerWriter(record, options),
          walk: containerWalk(sourceRecord, options),
          followLink: options.followLink === true,
        },
        `${from.name}:${from.path}`,
      ),
    ),
  );
}

/** Absolute, with a `/` or `/.` at its end where the user has written one. */
function hostPath(path: string): string {
  const end = /\/\.$/.test(path) || path === '.' ? '/.' : path.endsWith('/') ? '/' : '';
  return `${resolve(path)}${end}`;
}
