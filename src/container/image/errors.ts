/**
 * What can go wrong with images: one class per operation. The message is a sentence that names the image, the file or the server.
 */
import { escaped, TvmmError, type TvmmErrorOptions } from '../../sys/errors.js';

/** Much of what these messages quote was written by strangers: they stay on one line, and nothing in them steers a terminal. */
class ImageError extends TvmmError {
  constructor(message: string, options: TvmmErrorOptions) {
    super(escaped(message), {
      ...options,
      ...(options.hint === undefined ? {} : { hint: escaped(options.hint) }),
    });
  }
}

/** An image name, a digest or a platform that a user wrote is not one. */
export class ImageNameError extends ImageError {}
/** A manifest, index, configuration or layout that does not follow its specification. */
export class ImageFormatError extends ImageError {}
/** Bytes that do not have the digest or the size that they were promised with. */
export class DigestMismatchError extends ImageError {}
/** A tar archive that is malformed. */
export class TarError extends ImageError {}
/** A layer that cannot or must not be unpacked. */
export class LayerError extends ImageError {}
/** A registry that cannot be reached, or answers with something else than was asked. */
export class RegistryError extends ImageError {
  /** HTTP status of the answer, where there was one. */
  readonly status: number | undefined;
  constructor(
    message: string,
    options: ConstructorParameters<typeof TvmmError>[1] & { readonly status?: number },
  ) {
    super(message, options);
    this.status = options.status;
  }
}
/** Credentials that are wrong, missing or unreadable. */
export class CredentialError extends ImageError {}
/** The image store: no such image, in use, locked, or damaged. */
export class ImageStoreError extends ImageError {}
/** A container's root file system cannot be made or mounted. */
export class RootfsError extends ImageError {}
/** A user or group that the image names is not in its files. */
export class UserError extends ImageError {}

/** Some is kept free for what else is to be written there. */
export const NO_ROOM =
  'Make room on the disk of the image store (tvmm image prune --all removes the images that no container uses), or choose another root folder: 64 MiB of it are kept free.';

/** What node:fs says of a full or closed disk, as a sentence about the store. Everything else stays as it is. */
export function explainDisk(error: unknown, root: string): unknown {
  if (error instanceof TvmmError || !(error instanceof Error) || !('code' in error)) return error;
  switch (error.code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new ImageStoreError(`the disk of the image store ${root} is full`, {
        code: 'DISK_FULL',
        hint: 'tvmm image prune --all removes the images that no container uses.',
        cause: error,
      });
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new ImageStoreError(`the image store ${root} cannot be written: ${error.message}`, {
        code: 'STORE_DENIED',
        hint: 'Choose another folder with --root, or run as root.',
        cause: error,
      });
    default:
      return error;
  }
}
