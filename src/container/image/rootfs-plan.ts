/**
 * What a container's root is made of, as data: whoever mounts it (this process, or the launcher inside a mount namespace) does what the
 * plan says. Pure.
 */
import { join } from 'node:path';
import type { Digest } from './digest.js';
import { diffFolder } from './layers.js';
import { overlayOptions } from './overlay-options.js';
import type { OwnerMap } from './owners.js';
import type { ImageStore } from './store.js';

/** rootfs.json: what a root was made from. */
export interface RootfsRecord {
  readonly id: string;
  readonly kind: 'overlay' | 'copy';
  readonly image: Digest;
  readonly manifest: Digest;
  readonly chain: readonly Digest[];
  readonly owners?: OwnerMap;
  /** Marks are in `user.*`: a store of a user who is not root. */
  readonly userXattr: boolean;
}

export type RootfsPlan =
  | {
      readonly kind: 'copy';
      /** Where the root is, ready to be used. */
      readonly root: string;
    }
  | {
      readonly kind: 'overlay';
      /** Where the root is once it is mounted. */
      readonly root: string;
      /** Topmost first. */
      readonly lower: readonly string[];
      readonly upper: string;
      readonly work: string;
      /**
       * With owners: mount each of `lower` id-mapped at the same place of `mappedLower` first, and use those; they may go once the overlay
       * is mounted.
       */
      readonly owners?: OwnerMap;
      readonly mappedLower: readonly string[];
      /** mount("overlay", root, "overlay", 0, options). */
      readonly options: string;
      /** mount(2) takes one page: longer options need {@link overlayOptions} with shorter paths. */
      readonly fitsPage: boolean;
    };

const PAGE = 4096;

export function rootfsFolder(store: ImageStore, id: string): string {
  return store.path('rootfs', id);
}

/** How a root is mounted. */
export function rootfsPlan(store: ImageStore, record: RootfsRecord): RootfsPlan {
  const folder = rootfsFolder(store, record.id);
  const root = join(folder, 'root');
  if (record.kind === 'copy') return { kind: 'copy', root };
  // Overlayfs wants a lower folder even for an image without layers.
  const own = record.chain.map((chainId) => diffFolder(store, chainId)).reverse();
  const lower = own.length === 0 ? [join(folder, 'empty')] : own;
  const mappedLower =
    record.owners === undefined ? [] : lower.map((_, i) => join(folder, 'lower', String(i)));
  const upper = join(folder, 'upper');
  const work = join(folder, 'work');
  const options = overlayOptions({
    lower: mappedLower.length > 0 ? mappedLower : lower,
    upper,
    work,
    userXattr: record.userXattr,
  });
  return {
    kind: 'overlay',
    root,
    lower,
    upper,
    work,
    ...(record.owners === undefined ? {} : { owners: record.owners }),
    mappedLower,
    options,
    fitsPage: Buffer.byteLength(options) < PAGE,
  };
}
