/**
 * `commit`: an image out of a container: what it has written as a layer on top of its image, or, where there is no layer of its own (a plain folder,
 * a copied root), its whole root as the only layer. And `export`: its root as one tar archive.
 */
import { closeSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { applyChanges } from '../image/changes.js';
import { temporaryName } from '../image/files.js';
import { layerFile, makeImage } from '../image/make-image.js';
import { ImageStore, type StoredImage } from '../image/store.js';
import { pauseContainer } from './change.js';
import { type Change, changesOf, writeLayer } from './changes.js';
import type { EngineContext } from './context.js';
import { toContainer } from './copy.js';
import { walk } from './copy-walk.js';
import { OptionError } from './errors.js';
import { note } from './events.js';
import type { ContainerRecord } from './record.js';
import { mountPoints, withTree } from './root-tree.js';
import { settle } from './settle.js';
import { TarStream } from './tar-stream.js';

export interface CommitOptions {
  readonly name?: string | undefined;
  readonly author?: string | undefined;
  readonly message?: string | undefined;
  /** Instructions of a Dockerfile. */
  readonly changes: readonly string[];
  /** Hold its processes meanwhile. */
  readonly pause: boolean;
}

function writeTree(root: number, record: ContainerRecord, output: TarStream): void {
  const owner = toContainer(record);
  walk(root, '', output, { special: true, xattrs: true, ...(owner === undefined ? {} : { owner }) });
  output.end();
}

/** What the container was run with becomes the image's default, as docker does it. */
function runtimeConfig(record: ContainerRecord, config: Readonly<Record<string, unknown>>) {
  const { options } = record;
  const env = new Map<string, string>();
  const inherited: unknown[] = Array.isArray(config.Env) ? config.Env : [];
  for (const one of [...inherited, ...options.env])
    if (typeof one === 'string') env.set(one.split('=', 1)[0] ?? '', one);
  return {
    ...config,
    ...(env.size === 0 ? {} : { Env: [...env.values()] }),
    ...(options.entrypoint === undefined ? {} : { Entrypoint: options.entrypoint }),
    ...(options.command.length === 0 ? {} : { Cmd: options.command }),
    ...(options.user === undefined ? {} : { User: options.user }),
    ...(options.workdir === undefined ? {} : { WorkingDir: options.workdir }),
  };
}

/** @throws ContainerNotFoundError, ImageFormatError, LayerError and the store's errors */
export async function commitContainer(
  context: EngineContext,
  id: string,
  options: CommitOptions,
): Promise<StoredImage> {
  // Wrong instructions are told before anything is held up.
  applyChanges({}, options.changes);
  const store = ImageStore.open(context.paths.root);
  const before = await context.store.locked(id, (found) => settle(context, found));
  const held = options.pause && before.state === 'running';
  if (held) await pauseContainer(context, id, true);
  const file = join(context.store.folder(id), temporaryName('commit'));
  try {
    const { record, base } = await context.store.locked(id, async (found) => {
      const current = await settle(context, found);
      return { record: current, base: await writeContainer(context, store, current, file) };
    });
    const image = await makeImage(store, {
      base,
      layer: layerFile(file),
      name: options.name,
      createdBy: record.argv.join(' '),
      comment: options.message,
      author: options.author,
      configure: (config) => applyChanges(runtimeConfig(record, config), options.changes),
    });
    note(context.paths, 'commit', record, { image: image.id });
    return image;
  } finally {
    rmSync(file, { force: true });
    if (held) await pauseContainer(context, id, false);
  }
}

/** @returns the image that the layer goes on top of */
async function writeContainer(
  context: EngineContext,
  store: ImageStore,
  record: ContainerRecord,
  file: string,
): Promise<StoredImage | undefined> {
  const { upper } = await context.images.parts(record);
  const fd = openSync(file, 'wx', 0o600);
  try {
    const output = new TarStream(fd);
    if (upper === undefined || record.options.rootfs !== undefined) {
      await withTree(context, record, (root) => writeTree(root, record, output));
      return undefined;
    }
    const { loadRootfs } = await import('../image/rootfs.js');
    writeLayer(upper, mountPoints(record), toContainer(record), output);
    output.end();
    return await store.load((await loadRootfs(store, record.id)).manifest);
  } finally {
    closeSync(fd);
  }
}

/** Writes the container's root as a tar archive. */
export async function exportContainer(context: EngineContext, id: string, fd: number): Promise<void> {
  await context.store.locked(id, async (found) => {
    const record = await settle(context, found);
    await withTree(context, record, (root) => writeTree(root, record, new TarStream(fd)));
    note(context.paths, 'export', record);
  });
}

/** What the container has changed in its root. @throws OptionError where that cannot be known */
export async function diffContainer(context: EngineContext, id: string): Promise<readonly Change[]> {
  return context.store.locked(id, async (found) => {
    const record = await settle(context, found);
    const { upper, lower } = await context.images.parts(record);
    if (upper === undefined) {
      throw new OptionError(
        'CONTAINER',
        `${record.name} has no layer of its own to compare with`,
        record.options.rootfs === undefined
          ? 'its root is a copy, since overlays are missing here'
          : 'it runs from a plain folder, which it writes to',
      );
    }
    return changesOf(upper, lower, mountPoints(record));
  });
}
