/**
 * Manifests, indexes and descriptors (OCI image-spec: descriptor.md, manifest.md, image-index.md) and Docker's schema 2, which differs in
 * media types alone. Refuses Docker's schema 1, whose digests do not cover what is unpacked, and layers that are fetched from elsewhere.
 */
import { type Digest, isDigest } from './digest.js';
import { ImageFormatError } from './errors.js';
import { JsonView } from './json.js';

export const MEDIA = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  layerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  layerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
} as const;

/** What a client says that it takes, most wanted first. */
export const MANIFEST_TYPES = [MEDIA.index, MEDIA.manifest, MEDIA.dockerIndex, MEDIA.dockerManifest];

/** distribution-spec, "Pushing manifests": registries need not take more than 4 MiB. Configurations get the same limit twice. */
export const MAX_MANIFEST = 4 * 2 ** 20;
export const MAX_CONFIG = 8 * 2 ** 20;
/** What overlayfs and Docker take at most is 127 and 128; a long history squashes well. */
export const MAX_LAYERS = 127;
/** One layer, compressed: larger ones are a mistake or an attack. */
const MAX_LAYER = 2 ** 40;

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Manifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface Index {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
}

export type Compression = 'none' | 'gzip' | 'zstd';

function platformOf(view: JsonView): Platform | undefined {
  if (view.isAbsent) return undefined;
  const variant = view.member('variant').optionalString();
  return {
    os: view.member('os').string(),
    architecture: view.member('architecture').string(),
    ...(variant === undefined || variant === '' ? {} : { variant }),
  };
}

/** @throws ImageFormatError */
export function parseDescriptor(view: JsonView, maxSize: number): Descriptor {
  const digestView = view.member('digest');
  const digest = digestView.string();
  if (!isDigest(digest)) return digestView.fail('not a sha256 or sha512 digest');
  const sizeView = view.member('size');
  const size = sizeView.size();
  if (size > maxSize) sizeView.fail(`${size} bytes are more than the ${maxSize} that are allowed`);
  const platform = platformOf(view.member('platform'));
  const annotations = view.member('annotations').stringMap();
  return {
    mediaType: view.member('mediaType').optionalString() ?? '',
    digest,
    size,
    ...(platform === undefined ? {} : { platform }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
}

/** How a layer is packed. @throws ImageFormatError for what is no layer, and for foreign and encrypted ones */
export function compressionOf(mediaType: string): Compression {
  switch (mediaType) {
    case MEDIA.layer:
    case MEDIA.dockerLayer:
      return 'none';
    case MEDIA.layerGzip:
    case MEDIA.dockerLayerGzip:
      return 'gzip';
    case MEDIA.layerZstd:
      return 'zstd';
    default: {
      const nondistributable = mediaType.includes('nondistributable') || mediaType.includes('foreign');
      throw new ImageFormatError(`a layer has the media type "${mediaType}", which cannot be unpacked here`, {
        code: 'LAYER_MEDIA_TYPE',
        hint: nondistributable
          ? 'The layer is not in the registry by its makers’ will.'
          : 'Is this the image of a container? Artifacts and encrypted images are not.',
      });
    }
  }
}

/** @param mediaType what the server or the descriptor said it is; the document's own word must agree @throws ImageFormatError */
export function parseManifest(bytes: Buffer, document: string, mediaType?: string): Manifest | Index {
  if (bytes.length > MAX_MANIFEST)
    new JsonView(undefined, document).fail(`larger than ${MAX_MANIFEST} bytes`);
  const view = JsonView.parse(bytes, document);
  const version = view.member('schemaVersion');
  if (version.value === 1)
    version.fail('Docker schema 1 is not supported; push the image again with a newer tool');
  if (version.value !== 2) version.fail('it must be 2');
  const hasManifests = !view.member('manifests').isAbsent;
  const hasLayers = !view.member('layers').isAbsent || !view.member('config').isAbsent;
  // The same bytes must not be a manifest to one reader and an index to another.
  if (hasManifests && hasLayers) view.fail('it is both a manifest and an index');
  const own = view.member('mediaType').optionalString();
  const type = own ?? mediaType ?? (hasManifests ? MEDIA.index : MEDIA.manifest);
  const isIndex = type === MEDIA.index || type === MEDIA.dockerIndex;
  if (!isIndex && type !== MEDIA.manifest && type !== MEDIA.dockerManifest) {
    view.member('mediaType').fail(`"${type}" is not an image`);
  }
  if (isIndex) {
    if (!hasManifests) view.member('manifests').fail('an index has no manifests');
    const manifests = view
      .member('manifests')
      .elements()
      .map((one) => parseDescriptor(one, Number.MAX_SAFE_INTEGER));
    return { kind: 'index', mediaType: type, manifests };
  }
  const layers = view.member('layers').elements();
  if (layers.length > MAX_LAYERS)
    view.member('layers').fail(`${layers.length} layers are more than ${MAX_LAYERS}`);
  return {
    kind: 'manifest',
    mediaType: type,
    config: parseDescriptor(view.member('config'), MAX_CONFIG),
    layers: layers.map((one) => parseDescriptor(one, MAX_LAYER)),
  };
}

export const HOST_PLATFORM: Platform = { os: 'linux', architecture: 'amd64' };

/** `linux/amd64` or `linux/arm64/v8`. @throws ImageFormatError */
export function parsePlatform(text: string): Platform {
  const match = /^([a-z0-9]+)\/([a-z0-9_]+)(?:\/([a-z0-9.]+))?$/.exec(text);
  const [, os, architecture, variant] = match ?? [];
  if (os === undefined || architecture === undefined) {
    throw new ImageFormatError(`"${text}" is not a platform`, {
      code: 'PLATFORM_INVALID',
      hint: 'A platform is OS/ARCHITECTURE[/VARIANT], for example linux/amd64.',
    });
  }
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return `${os}/${architecture}${variant === undefined ? '' : `/${variant}`}`;
}

/** The first manifest of an index for a platform (image-index.md: the first match should be used). @throws ImageFormatError */
export function selectManifest(index: Index, wanted: Platform, document: string): Descriptor {
  const images = index.manifests.filter(
    ({ mediaType }) => mediaType === '' || MANIFEST_TYPES.some((type) => type === mediaType),
  );
  const found = images.find(
    ({ platform }) =>
      platform?.os === wanted.os &&
      platform.architecture === wanted.architecture &&
      (wanted.variant === undefined || platform.variant === wanted.variant),
  );
  // An index of one image without a platform is how layouts on disk look.
  const only = images.length === 1 && images[0]?.platform === undefined ? images[0] : undefined;
  const chosen = found ?? only;
  if (chosen !== undefined) return chosen;
  const has = images.flatMap(({ platform }) =>
    platform === undefined || platform.os === 'unknown' ? [] : [formatPlatform(platform)],
  );
  throw new ImageFormatError(`${document} has no image for ${formatPlatform(wanted)}`, {
    code: 'PLATFORM_MISSING',
    hint: has.length === 0 ? undefined : `It has: ${has.join(', ')}.`,
  });
}
