/**
 * Container images: registries, files, the store, and containers' roots. What the engine and the command line use.
 */
export {
  imageSize,
  type PruneOptions,
  pruneImages,
  type Removed,
  type RootfsUse,
  removeImage,
  rootfsUses,
} from './collect.js';
export type { ExecutionConfig, ImageConfig } from './config.js';
export { type Digest, isDigest } from './digest.js';
export * from './errors.js';
export { type LayerInfo, layerInfo } from './layers.js';
export { type LoadOptions, loadImages } from './load.js';
export { formatPlatform, HOST_PLATFORM, type Manifest, type Platform, parsePlatform } from './manifest.js';
export { type ImageProcess, imageProcess, mergeEnvironment, type ProcessOverrides } from './oci-config.js';
export { overlayOptions } from './overlay-options.js';
export { canOverlay } from './overlay-support.js';
export type { IdRange, OwnerMap } from './owners.js';
export { type PullOptions, type PullProgress, pullImage } from './pull.js';
export { type PushOptions, type PushProgress, pushImage } from './push.js';
export { familiarName, formatReference, parseReference, type Reference } from './reference.js';
export { forgetLogin, saveLogin } from './registry/auth-file.js';
export { RegistryClient, type RegistryOptions } from './registry/client.js';
export {
  createRootfs,
  loadRootfs,
  mountRootfs,
  type PrepareOptions,
  prepareRootfs,
  removeRootfs,
  unmountRootfs,
} from './rootfs.js';
export { type RootfsPlan, type RootfsRecord, rootfsPlan } from './rootfs-plan.js';
export { type SaveFormat, saveImages } from './save.js';
export {
  defaultStoreRoot,
  type ImageRecord,
  ImageStore,
  type StoredImage,
  type StoreOptions,
} from './store.js';
export { type ImageFileReader, layersReader, type ResolvedUser, resolveUser, rootReader } from './user.js';
