/**
 * The root of a container that runs from a plain folder in a user namespace of its own: an overlay over the folder, mapped to the container's ids.
 * The folder belongs to somebody else outside, so that its root could make no mount point in it; it is not written to. What is written goes
 * into <root>/plain/<id>, and goes with the container.
 */
import { chmodSync, chownSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { removeTreeSync } from '../../sys/remove-tree.js';
import type { OwnerMap } from '../image/owners.js';
import type { RootfsPlan } from '../image/rootfs-plan.js';
import type { RootParts } from './context.js';
import { idMappings } from './options/namespaces.js';

/** The user namespace's ids, as the image store writes them. */
export function ownerMap(firstId: number): OwnerMap {
  const ranges = idMappings(firstId).map(({ containerID, hostID, size }) => ({
    containerId: containerID,
    hostId: hostID,
    size,
  }));
  return { uid: ranges, gid: ranges };
}

async function planOf(root: string, id: string, lower: string, firstId: number) {
  const { overlayOptions } = await import('../image/overlay-options.js');
  const folder = join(root, 'plain', id);
  const [upper, work, mapped] = ['upper', 'work', 'lower'].map((name) => join(folder, name));
  if (upper === undefined || work === undefined || mapped === undefined) throw new Error('three names');
  const options = overlayOptions({ lower: [mapped], upper, work, userXattr: false });
  const plan: RootfsPlan & { kind: 'overlay' } = {
    kind: 'overlay',
    root: join(folder, 'root'),
    lower: [lower],
    upper,
    work,
    owners: ownerMap(firstId),
    mappedLower: [mapped],
    options,
    fitsPage: Buffer.byteLength(options) < 4096,
  };
  return plan;
}

/** @param lower the user's folder @returns the mounted root @throws RootfsError where the file system knows no id-mapped mounts */
export async function mountPlain(root: string, id: string, lower: string, firstId: number): Promise<string> {
  const plan = await planOf(root, id, lower, firstId);
  mkdirSync(join(root, 'plain'), { recursive: true, mode: 0o711 });
  mkdirSync(join(root, 'plain', id), { recursive: true, mode: 0o711 });
  for (const folder of [plan.upper, plan.work, plan.root, ...plan.mappedLower])
    mkdirSync(folder, { recursive: true, mode: 0o755 });
  // The root's own owner and mode are those of the upper folder.
  const { mode, uid, gid } = statSync(lower);
  const map = (owner: number) => (owner < (plan.owners?.uid[0]?.size ?? 0) ? firstId + owner : firstId);
  chownSync(plan.upper, map(uid), map(gid));
  chmodSync(plan.upper, mode & 0o7777);
  const { mountRootfs } = await import('../image/rootfs.js');
  return mountRootfs(plan);
}

/** Where its parts are. */
export function plainParts(root: string, id: string, lower: string): RootParts {
  const folder = join(root, 'plain', id);
  return { root: join(folder, 'root'), upper: join(folder, 'upper'), lower: [lower] };
}

export async function unmountPlain(root: string, id: string, lower: string, firstId: number): Promise<void> {
  if (statSync(join(root, 'plain', id), { throwIfNoEntry: false }) === undefined) return;
  const { unmountRootfs } = await import('../image/rootfs.js');
  unmountRootfs(await planOf(root, id, lower, firstId));
}

/** What was written goes as well. */
export async function removePlain(root: string, id: string, lower: string, firstId: number): Promise<void> {
  await unmountPlain(root, id, lower, firstId);
  removeTreeSync(join(root, 'plain', id));
}
