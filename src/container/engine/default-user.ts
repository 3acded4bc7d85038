/** Whom a container runs as where `--user` says nothing: the image's user, else root. */
import type { ImageDefaults } from './options/process.js';

export function defaultUser(image: ImageDefaults | undefined): string {
  return image === undefined || image.user === '' ? '0' : image.user;
}
