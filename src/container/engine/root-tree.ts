/**
 * A container's root as a tree of files, without what is mounted into it: for export, commit and diff. What the engine has put there for its mounts
 * (empty files and folders that mounts stand on) is no work of the container's and is left out.
 */
import { closeSync, openSync } from 'node:fs';
import { byteString, O_DIRECTORY, O_PATH } from '../../sys/at.js';
import type { EngineContext } from './context.js';
import type { ContainerRecord } from './record.js';

/** Runs `action` with a descriptor of the mounted root. The caller holds the container's lock and has settled it. */
export async function withTree<T>(
  context: EngineContext,
  record: ContainerRecord,
  action: (root: number) => Promise<T> | T,
): Promise<T> {
  const runs = record.state === 'running' || record.state === 'paused';
  const path = runs ? (await context.images.parts(record)).root : await context.images.mount(record);
  const root = openSync(path, O_PATH | O_DIRECTORY);
  try {
    return await action(root);
  } finally {
    closeSync(root);
    if (!runs) await context.images.unmount(record);
  }
}

const ENGINE_FILES = ['etc/hosts', 'etc/resolv.conf', 'etc/hostname'];
const ENGINE_FOLDERS = ['dev', 'proc', 'sys'];

/** Byte-string names, from the root, of what mounts of the engine's or the user's may have been made for. */
export function mountPoints(record: ContainerRecord): ReadonlySet<string> {
  const { options, volumes } = record;
  const own = [
    ...volumes.map(({ destination }) => destination),
    ...options.volume.map((one) => one.split(':')[1] ?? one),
    ...options.tmpfs.map((one) => one.split(':')[0] ?? one),
    ...options.mount.map((one) => /(?:^|,)(?:target|destination|dst)=([^,]*)/.exec(one)?.[1] ?? ''),
  ];
  const plain = own.map((path) =>
    path
      .split('/')
      .filter((part) => part !== '')
      .join('/'),
  );
  return new Set([...ENGINE_FILES, ...ENGINE_FOLDERS, ...plain].map(byteString));
}
