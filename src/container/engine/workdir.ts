/**
 * The working directory that `--workdir` or the image names is made in the container's own layer where it is missing (docker's way), owned by
 * the container's user: the runtime would make it for root alone.
 */
import { closeSync, openSync } from 'node:fs';
import { byteString, O_DIRECTORY, O_PATH } from '../../sys/at.js';
import { locate, TreeWriter } from './copy-tree.js';

/** @param rootPath the root, mounted @param folder absolute path in it @param owner ids of the host */
export function makeWorkdir(rootPath: string, folder: string, owner: { uid: number; gid: number }): void {
  const root = openSync(rootPath, O_PATH | O_DIRECTORY);
  try {
    let path = '';
    for (const part of folder.split('/').filter((one) => one !== '' && one !== '.')) {
      // What leads upwards is not ours to interpret: the kernel will, inside the root.
      if (part === '..') return;
      const below = path === '' ? part : `${path}/${part}`;
      const found = locate(root, byteString(below), true);
      if (found !== undefined) closeSync(found);
      else make(root, byteString(path), byteString(part), owner);
      path = below;
    }
  } finally {
    closeSync(root);
  }
}

function make(root: number, folder: string, name: string, owner: { uid: number; gid: number }): void {
  const seconds = Math.floor(Date.now() / 1000);
  using writer = new TreeWriter(root, folder, { owner: () => owner, modeMask: 0o777 });
  writer.entry({
    name,
    type: 'directory',
    mode: 0o755,
    ...owner,
    size: 0,
    mtime: { seconds, nanoseconds: 0 },
    linkName: '',
    major: 0,
    minor: 0,
    xattrs: new Map(),
  });
  writer.endEntry();
}
