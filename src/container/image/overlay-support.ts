/**
 * Whether a store can hold overlayfs layers and have overlays mounted over them: not on overlayfs itself (a container's own root), nor on
 * file systems without extended attributes. Found by trying; a yes is remembered in the store for this kernel and this disk.
 */
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { AT_FDCWD, byteString, lsetxattr, mknodat } from '../../sys/at.js';
import { umount2 } from '../../sys/libc.js';
import { mountFileSystem } from '../../sys/mount.js';
import { temporaryName } from './files.js';
import { overlayOptions } from './overlay-options.js';
import type { ImageStore } from './store.js';

const S_IFCHR = 0o020000;
const MNT_DETACH = 2;
const answers = new Map<string, Promise<boolean>>();

/** Whether roots from this store can be overlays; else they are copies. */
export function canOverlay(store: ImageStore): Promise<boolean> {
  const known = answers.get(store.root);
  if (known !== undefined) return known;
  const answer = probe(store);
  answers.set(store.root, answer);
  return answer;
}

async function probe(store: ImageStore): Promise<boolean> {
  const note = store.path('overlay');
  // The trial takes as long as starting a container does.
  const circumstances = `${release()} ${(await stat(store.root)).dev} ${store.privileged} ${store.userXattr}\n`;
  if ((await readFile(note, 'utf8').catch(() => '')) === circumstances) return true;
  const answer = await attempt(store);
  if (answer) await writeFile(note, circumstances).catch(() => {});
  return answer;
}

async function attempt(store: ImageStore): Promise<boolean> {
  const folder = store.path('tmp', temporaryName('probe'));
  const part = (name: string): string => join(folder, name);
  try {
    for (const name of ['lower', 'upper', 'work', 'root']) await mkdir(part(name), { recursive: true });
    const mark = `${store.userXattr ? 'user' : 'trusted'}.overlay.opaque`;
    const lower = byteString(part('lower'));
    if (mknodat(AT_FDCWD, `${lower}/whiteout`, S_IFCHR, 0) === -1) return false;
    if (lsetxattr(lower, mark, Buffer.from('y')) === -1) return false;
    // Without privileges someone else mounts, in a user namespace (Linux 5.11).
    if (!store.privileged) return (await readFile('/proc/filesystems', 'utf8')).includes('\toverlay\n');
    const options = overlayOptions({
      lower: [part('lower')],
      upper: part('upper'),
      work: part('work'),
      userXattr: store.userXattr,
    });
    if (mountFileSystem('overlay', part('root'), 'overlay', 0, options) === -1) return false;
    umount2(part('root'), MNT_DETACH);
    return true;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
