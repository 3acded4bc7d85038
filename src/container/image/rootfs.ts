/**
 * A container's root from an image: an overlay over the image's layers, or a plain copy where overlayfs is missing. What is made is
 * recorded first, so that the layers stay and a crash leaves nothing that cannot be removed by id. A failure leaves nothing.
 */
import { createReadStream } from 'node:fs';
import { chmod, chown, lstat, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { O_DIRECTORY, O_PATH } from '../../sys/at.js';
import { SystemError } from '../../sys/errors.js';
import { FileDescriptor } from '../../sys/fd.js';
import { check, lastErrno, umount2 } from '../../sys/libc.js';
import { mountFileSystem, mountIdmapped } from '../../sys/mount.js';
import { parseDigest } from './digest.js';
import { explainDisk, RootfsError } from './errors.js';
import { removeTree } from './files.js';
import { JsonView } from './json.js';
import { diffFolder, ensureLayer } from './layers.js';
import { overlayOptions } from './overlay-options.js';
import { canOverlay } from './overlay-support.js';
import { type IdRange, mapId, type OwnerMap } from './owners.js';
import { type RootfsPlan, type RootfsRecord, rootfsFolder, rootfsPlan } from './rootfs-plan.js';
import type { ImageStore, StoredImage, StoreOptions } from './store.js';
import { unpackLayer } from './unpack.js';
import { openUserNamespace } from './user-namespace.js';

const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;
const EINVAL = 22;
const ENOENT = 2;
const RESERVE = 64 * 2 ** 20;

export interface PrepareOptions extends StoreOptions {
  /** Default: an overlay where it can be mounted, else a copy. */
  readonly kind?: 'overlay' | 'copy';
  /** For a container with a user namespace: who owns the files there. */
  readonly owners?: OwnerMap;
}

function checkId(id: string): void {
  if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$/.test(id)) return;
  throw new RootfsError(`"${id.slice(0, 100)}" cannot be the name of a root`, { code: 'ROOTFS_ID' });
}

/**
 * Makes the folders (or the copy) of a root; {@link mountRootfs} mounts it. The image's layers are unpacked where they are not.
 *
 * @throws RootfsError ROOTFS_EXISTS, LayerError, ImageStoreError
 */
export async function prepareRootfs(
  store: ImageStore,
  image: StoredImage,
  id: string,
  options: PrepareOptions = {},
): Promise<RootfsRecord> {
  checkId(id);
  using _lock = await store.share(options);
  const isPossible = await canOverlay(store);
  const kind = options.kind ?? (isPossible ? 'overlay' : 'copy');
  if (kind === 'overlay' && !isPossible) {
    throw new RootfsError(`overlays cannot be mounted over ${store.root}`, {
      code: 'NO_OVERLAY',
      hint: 'Is it on an overlay itself, or is the overlay module missing? A copy of the image works everywhere.',
    });
  }
  const folder = rootfsFolder(store, id);
  try {
    await mkdir(folder, { mode: 0o711 });
  } catch (cause) {
    throw new RootfsError(`there is already a root named ${id}`, { code: 'ROOTFS_EXISTS', cause });
  }
  const record: RootfsRecord = {
    id,
    kind,
    image: image.id,
    manifest: image.manifestDigest,
    chain: image.chain,
    ...(options.owners === undefined ? {} : { owners: options.owners }),
    userXattr: store.userXattr,
  };
  try {
    // Not synced: whoever counts references waits for our lock, and after a power cut nobody uses the root.
    await writeFile(join(folder, 'rootfs.json'), JSON.stringify(record));
    for (const name of kind === 'overlay' ? ['upper', 'work', 'root', 'lower', 'empty'] : ['root']) {
      await mkdir(join(folder, name), { mode: 0o755 });
    }
    if (kind === 'overlay') {
      for (const i of image.chain.keys()) await ensureLayer(store, image, i, options);
      await prepareUpper(store, record);
    } else {
      await copyLayers(store, image, join(folder, 'root'), options);
    }
    if (image.name !== undefined) await store.touch(image.name);
    return record;
  } catch (error) {
    await removeTree(folder);
    throw explainDisk(error, store.root);
  }
}

/** The root's own owner and mode are those of the upper folder. */
async function prepareUpper(store: ImageStore, record: RootfsRecord): Promise<void> {
  const folder = rootfsFolder(store, record.id);
  const top = record.chain.at(-1);
  const stats = top === undefined ? undefined : await lstat(diffFolder(store, top));
  await chmod(join(folder, 'upper'), stats === undefined ? 0o755 : stats.mode & 0o7777);
  const owner = { uid: stats?.uid ?? 0, gid: stats?.gid ?? 0 };
  if (!store.privileged) return;
  const { owners } = record;
  const uid = owners === undefined ? owner.uid : mapId(owners.uid, owner.uid);
  const gid = owners === undefined ? owner.gid : mapId(owners.gid, owner.gid);
  if (uid === undefined || gid === undefined) {
    throw new RootfsError(`the user namespace has no id for the owner of /, ${owner.uid}:${owner.gid}`, {
      code: 'ROOTFS_OWNER',
    });
  }
  await chown(join(folder, 'upper'), uid, gid);
  for (const i of owners === undefined ? [] : rootfsLower(store, record).keys())
    await mkdir(join(folder, 'lower', String(i)));
}

function rootfsLower(store: ImageStore, record: RootfsRecord): readonly string[] {
  const plan = rootfsPlan(store, record);
  return plan.kind === 'overlay' ? plan.lower : [];
}

async function copyLayers(
  store: ImageStore,
  image: StoredImage,
  root: string,
  options: PrepareOptions,
): Promise<void> {
  for (const [i, layer] of image.manifest.layers.entries()) {
    const diffId = image.config.diffIds[i];
    await unpackLayer(createReadStream(store.blobPath(layer.digest), { highWaterMark: 256 * 1024 }), root, {
      whiteouts: 'apply',
      privileged: store.privileged,
      maxBytes: Math.max(0, (await store.freeBytes()) - RESERVE),
      ...(options.owners === undefined || !store.privileged ? {} : { owners: options.owners }),
      ...(diffId === undefined ? {} : { diffId }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
  }
}

function rangesOf(view: JsonView): IdRange[] {
  return view.elements().map((one) => ({
    containerId: one.member('containerId').size(),
    hostId: one.member('hostId').size(),
    size: one.member('size').size(),
  }));
}

/** Reads what a root was made from. @throws RootfsError ROOTFS_NOT_FOUND */
export async function loadRootfs(store: ImageStore, id: string): Promise<RootfsRecord> {
  checkId(id);
  const path = join(rootfsFolder(store, id), 'rootfs.json');
  const text = await readFile(path).catch((cause: unknown) => {
    throw new RootfsError(`there is no root named ${id}`, { code: 'ROOTFS_NOT_FOUND', cause });
  });
  const view = JsonView.parse(text, path);
  const owners = view.member('owners');
  return {
    id,
    kind: view.member('kind').string() === 'copy' ? 'copy' : 'overlay',
    image: parseDigest(view.member('image').string(), path),
    manifest: parseDigest(view.member('manifest').string(), path),
    chain: view
      .member('chain')
      .strings()
      .map((one) => parseDigest(one, path)),
    ...(owners.isAbsent
      ? {}
      : { owners: { uid: rangesOf(owners.member('uid')), gid: rangesOf(owners.member('gid')) } }),
    userXattr: view.member('userXattr').value === true,
  };
}

/**
 * Mounts a root in this process's mount namespace. A copy needs no mount.
 *
 * @param userns for a plan with owners: a user namespace with these mappings; made here when it is left out
 * @returns the folder of the root
 * @throws RootfsError; nothing stays mounted
 */
export async function mountRootfs(plan: RootfsPlan, userns?: FileDescriptor): Promise<string> {
  if (plan.kind === 'copy') return plan.root;
  const mapped: string[] = [];
  try {
    if (plan.owners !== undefined) {
      using own = userns === undefined ? await openUserNamespace(plan.owners) : undefined;
      const namespace = own ?? userns;
      for (const [i, lower] of plan.lower.entries()) {
        const target = plan.mappedLower[i];
        if (target === undefined || namespace === undefined) continue;
        mountIdmapped(lower, target, namespace.fd);
        mapped.push(target);
      }
    }
    mountOverlay(plan);
    return plan.root;
  } catch (cause) {
    if (cause instanceof RootfsError) throw cause;
    const isIdmap = cause instanceof SystemError && cause.syscall === 'mount_setattr';
    throw new RootfsError(`the root ${plan.root} cannot be mounted`, {
      code: isIdmap ? 'NO_IDMAPPED_MOUNTS' : 'ROOTFS_MOUNT',
      ...(isIdmap
        ? { hint: 'This file system knows no id-mapped mounts: use a copy of the image instead.' }
        : {}),
      cause,
    });
  } finally {
    // The overlay holds private clones of its layers.
    for (const target of mapped.reverse()) umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW);
  }
}

function mountOverlay(plan: Extract<RootfsPlan, { kind: 'overlay' }>): void {
  const call = (options: string): number => mountFileSystem('overlay', plan.root, 'overlay', 0, options);
  if (plan.fitsPage) {
    check(call(plan.options), 'mount overlay', plan.root);
    return;
  }
  // Descriptors make short paths, and they work with every kernel; the mount keeps the folders, not the numbers.
  const descriptors: FileDescriptor[] = [];
  try {
    const short = (path: string): string => {
      const one = FileDescriptor.open(path, O_PATH | O_DIRECTORY);
      descriptors.push(one);
      return `/proc/self/fd/${one.fd}`;
    };
    const lower = plan.mappedLower.length > 0 ? plan.mappedLower : plan.lower;
    const options = overlayOptions({
      lower: lower.map(short),
      upper: plan.upper,
      work: plan.work,
      userXattr: plan.options.endsWith(',userxattr'),
    });
    check(call(options), 'mount overlay', plan.root);
  } finally {
    for (const one of descriptors) one[Symbol.dispose]();
  }
}

/**
 * Prepares and mounts a root; where its overlay cannot be mounted after all (a file system or a kernel without id-mapped mounts), as a copy.
 *
 * @throws RootfsError LayerError ImageStoreError; nothing stays
 */
export async function createRootfs(
  store: ImageStore,
  image: StoredImage,
  id: string,
  options: PrepareOptions = {},
): Promise<{ readonly record: RootfsRecord; readonly root: string }> {
  const record = await prepareRootfs(store, image, id, options);
  try {
    return { record, root: await mountRootfs(rootfsPlan(store, record)) };
  } catch (error) {
    await removeRootfs(store, id);
    if (record.kind === 'copy' || options.kind === 'overlay') throw error;
    const copy = await prepareRootfs(store, image, id, { ...options, kind: 'copy' });
    return { record: copy, root: await mountRootfs(rootfsPlan(store, copy)) };
  }
}

/** Unmounts a root, however often it was mounted; not mounted is fine. @throws RootfsError */
export function unmountRootfs(plan: RootfsPlan): void {
  if (plan.kind === 'copy') return;
  for (const path of [plan.root, ...plan.mappedLower]) {
    while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) === 0) {}
    const errno = lastErrno();
    if (errno === EINVAL || errno === ENOENT) continue;
    throw new RootfsError(`${path} cannot be unmounted`, {
      code: 'ROOTFS_UNMOUNT',
      cause: new SystemError('umount2', path, errno),
    });
  }
}

/** Unmounts and removes a root with all that was written in it. A root that is not there is fine. @throws RootfsError */
export async function removeRootfs(store: ImageStore, id: string): Promise<void> {
  checkId(id);
  const folder = rootfsFolder(store, id);
  const names = await readdir(folder).catch(() => undefined);
  if (names === undefined) return;
  const record = await loadRootfs(store, id).catch(() => undefined);
  if (record === undefined) {
    // Killed before the record was whole: nothing was mounted yet.
    await removeTree(folder);
    return;
  }
  if (store.privileged) unmountRootfs(rootfsPlan(store, record));
  // The record goes last: until then the layers are in use.
  for (const name of names) if (name !== 'rootfs.json') await removeTree(join(folder, name));
  await removeTree(folder);
}
