/** Root file systems of the engine's containers: the image store's, or a plain directory of the user's (`--rootfs`). */
import { realpathSync, statSync } from 'node:fs';
import type { ImageStore, StoredImage } from '../image/store.js';
import type { EngineImage, EngineImages } from './context.js';
import { OptionError } from './errors.js';
import { mountPlain, ownerMap, plainParts, removePlain, unmountPlain } from './plain-root.js';
import type { ContainerRecord } from './record.js';
import { rootlessFacts } from './rootless.js';
import { readBelow, resolveUser } from './users.js';

/** Loaded at first use: a container from a plain directory needs none of it. */
async function open(root: string): Promise<ImageStore> {
  const { ImageStore } = await import('../image/store.js');
  return ImageStore.open(root);
}

function describe(image: StoredImage, name: string): EngineImage {
  const { config } = image.config;
  return { id: image.id, name, defaults: config };
}

/** @throws OptionError */
function plainRoot(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isDirectory() !== true) throw new OptionError('--rootfs', `${path} is no folder of this host`);
  return realpathSync(path);
}

/** A plain folder gets a layer above it where a user namespace could write nothing in it; without privileges no such layer can be mounted. */
function hasLayer(record: ContainerRecord): record is ContainerRecord & { firstId: number } {
  return record.firstId !== undefined && rootlessFacts() === undefined;
}

/** @param root of the image store */
export function engineImages(root: string): EngineImages {
  /** The image of a container's root, whether or not it has a name still. */
  const stored = async (record: ContainerRecord): Promise<StoredImage> => {
    const store = await open(root);
    const { loadRootfs } = await import('../image/rootfs.js');
    return store.load((await loadRootfs(store, record.id)).manifest, record.options.image);
  };
  return {
    async find(name, pull, report, { platform: wanted, tlsVerify }): Promise<EngineImage> {
      const store = await open(root);
      const { formatPlatform, parsePlatform } = await import('../image/manifest.js');
      const platform = wanted === undefined ? undefined : parsePlatform(wanted);
      const fetch = async () => {
        report(`${name}: pulling`);
        const { pullImage } = await import('../image/pull.js');
        return pullImage(store, name, {
          ...(platform === undefined ? {} : { platform }),
          ...(tlsVerify === undefined ? {} : { tlsVerify }),
        });
      };
      if (pull === 'always') return describe(await fetch(), name);
      try {
        const found = await store.find(name);
        const { platform: has } = found.config;
        const fits =
          platform === undefined || (has.os === platform.os && has.architecture === platform.architecture);
        if (fits) return describe(found, name);
        if (pull === 'never')
          throw new OptionError('--platform', `the image ${name} here is for ${formatPlatform(has)}`);
        return describe(await fetch(), name);
      } catch (error) {
        const missing = error instanceof Error && 'code' in error && error.code === 'IMAGE_NOT_FOUND';
        if (pull === 'never' || !missing) throw error;
        return describe(await fetch(), name);
      }
    },

    async of(record) {
      if (record.options.rootfs !== undefined) return undefined;
      return describe(await stored(record), record.options.image ?? '');
    },

    async prepare(record, image) {
      const store = await open(root);
      const { prepareRootfs } = await import('../image/rootfs.js');
      await prepareRootfs(store, await store.find(image.id).catch(() => store.find(image.name)), record.id, {
        ...(record.firstId === undefined ? {} : { owners: ownerMap(record.firstId) }),
        // The disk's file system is not the user namespace's, so that it can be mounted there as it is and not id-mapped.
        ...(record.firstId === undefined || rootlessFacts() === undefined ? {} : { kind: 'copy' }),
      });
    },

    async mount(record) {
      const { rootfs } = record.options;
      if (rootfs !== undefined) {
        const folder = plainRoot(rootfs);
        if (!hasLayer(record)) return folder;
        return mountPlain(root, record.id, folder, record.firstId);
      }
      const store = await open(root);
      const [{ loadRootfs, mountRootfs }, { rootfsPlan }] = await Promise.all([
        import('../image/rootfs.js'),
        import('../image/rootfs-plan.js'),
      ]);
      return mountRootfs(rootfsPlan(store, await loadRootfs(store, record.id)));
    },

    async parts(record) {
      const { rootfs } = record.options;
      if (rootfs !== undefined) {
        const folder = plainRoot(rootfs);
        return hasLayer(record)
          ? plainParts(root, record.id, folder)
          : { root: folder, upper: undefined, lower: [] };
      }
      const store = await open(root);
      const [{ loadRootfs }, { rootfsPlan }] = await Promise.all([
        import('../image/rootfs.js'),
        import('../image/rootfs-plan.js'),
      ]);
      const plan = rootfsPlan(store, await loadRootfs(store, record.id));
      return plan.kind === 'copy'
        ? { root: plan.root, upper: undefined, lower: [] }
        : { root: plan.root, upper: plan.upper, lower: plan.lower };
    },

    async unmount(record) {
      const { rootfs } = record.options;
      if (rootfs !== undefined) {
        if (hasLayer(record)) await unmountPlain(root, record.id, rootfs, record.firstId);
        return;
      }
      const store = await open(root);
      const [{ loadRootfs, unmountRootfs }, { rootfsPlan }] = await Promise.all([
        import('../image/rootfs.js'),
        import('../image/rootfs-plan.js'),
      ]);
      const plan = await loadRootfs(store, record.id).catch(() => undefined);
      if (plan !== undefined) unmountRootfs(rootfsPlan(store, plan));
    },

    async remove(record) {
      const { rootfs } = record.options;
      if (rootfs !== undefined) {
        if (hasLayer(record)) await removePlain(root, record.id, rootfs, record.firstId);
        return;
      }
      const { removeRootfs } = await import('../image/rootfs.js');
      await removeRootfs(await open(root), record.id);
    },

    async user(rootPath, user, groups) {
      return resolveUser(user, groups, readBelow(rootPath, 'etc/passwd'), readBelow(rootPath, 'etc/group'));
    },
  };
}
