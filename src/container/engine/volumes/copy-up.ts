/**
 * Volumes at a container's start: each is there, and a new one has what the image has at its place (docker's copy-up), with owners, modes and
 * attributes. Interrupted copies are begun anew. The image's tree may be hostile: it is read through copy-walk.ts, below its root alone.
 */
import { chownSync, closeSync, constants, fstatSync, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { byteString, fchmodat, lchownat, O_DIRECTORY, O_PATH } from '../../../sys/at.js';
import { removeTreeSync } from '../../../sys/remove-tree.js';
import type { EngineContext } from '../context.js';
import { locate, TreeWriter } from '../copy-tree.js';
import { walk } from '../copy-walk.js';
import type { ContainerRecord, VolumeUse } from '../record.js';
import type { VolumeStore } from './volume-store.js';
import { volumeStore } from './volumes.js';

const openFolder = (path: string) => openSync(path, constants.O_RDONLY | O_DIRECTORY);

/** @param rootPath the container's root, mounted */
export async function prepareVolumes(
  context: EngineContext,
  record: ContainerRecord,
  rootPath: string,
): Promise<void> {
  if (record.volumes.length === 0) return;
  const store = volumeStore(context);
  await store.locked(() => {
    for (const use of record.volumes) prepare(store, record, use, rootPath);
  });
}

function prepare(store: VolumeStore, record: ContainerRecord, use: VolumeUse, rootPath: string): void {
  const volume = store.ensure(use.name, { anonymous: use.anonymous });
  if (volume.copyUp === 'done') return;
  const data = store.data(use.name);
  const isEmpty = readdirSync(data).length === 0;
  if (volume.copyUp === 'begun') clear(data);
  // Somebody has put something into it before any container came.
  else if (!isEmpty) {
    store.write({ ...volume, copyUp: 'done' });
    return;
  }
  if (!use.copyUp) {
    own(data, record);
    return;
  }
  store.write({ ...volume, copyUp: 'begun' });
  fill(data, record, use, rootPath);
  store.write({ ...volume, copyUp: 'done' });
}

/** Without anything to copy it belongs to the container's root, who may be somebody else outside. */
function own(data: string, { firstId }: ContainerRecord): void {
  if (firstId !== undefined) chownSync(data, firstId, firstId);
}

function clear(folder: string): void {
  for (const name of readdirSync(folder)) removeTreeSync(join(folder, name));
}

function fill(data: string, record: ContainerRecord, { destination }: VolumeUse, rootPath: string): void {
  const root = openSync(rootPath, O_PATH | O_DIRECTORY);
  let source: number | undefined;
  try {
    source = locate(root, byteString(destination), true);
    if (source === undefined || !fstatSync(source).isDirectory()) {
      own(data, record);
      return;
    }
    copyFolder(source, data);
  } finally {
    if (source !== undefined) closeSync(source);
    closeSync(root);
  }
}

/** The folder's contents, and its own owner and mode. */
function copyFolder(source: number, data: string): void {
  const target = openFolder(data);
  try {
    using writer = new TreeWriter(target, '', {
      owner: ({ uid, gid }) => ({ uid, gid }),
      modeMask: 0o7777,
      special: true,
      xattrs: true,
    });
    walk(source, '', writer, { special: true, xattrs: true });
    writer.finish();
    const { mode, uid, gid } = fstatSync(source);
    lchownat(target, '', uid, gid);
    fchmodat(target, '.', mode & 0o7777);
  } finally {
    closeSync(target);
  }
}
