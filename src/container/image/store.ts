/**
 * The image store: a folder of content-addressed blobs, unpacked layers by chain id, and names. Everything in it is whole or absent
 * (written aside, synced, renamed), so that any process may be killed at any time; what is left over is garbage that `collect` removes.
 *
 *     blobs/sha256/HEX        manifests, configurations, packed layers
 *     layers/sha256-HEX/      diff/ (an overlayfs layer) and layer.json
 *     images/HEX.json         a name and what it stands for; HEX is the name's hash
 *     rootfs/ID/              a container's root (rootfs.ts)
 *     tmp/, locks/
 *
 * Locks: whoever adds or uses holds `locks/store` shared; who removes holds it exclusively. A blob or a layer in the making has its own.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { access, readdir, readFile, rm, statfs, utimes } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { checkLayerCount, type ImageConfig, parseImageConfig } from './config.js';
import { chainIds, type Digest, digestOf, digestParts, parseDigest, verifyDigest } from './digest.js';
import { ImageStoreError } from './errors.js';
import { writeWhole } from './files.js';
import { JsonView } from './json.js';
import { Lock } from './lock.js';
import { MAX_CONFIG, MAX_MANIFEST, type Manifest, parseManifest } from './manifest.js';
import { familiarName, formatReference, parseReference } from './reference.js';

/** A name in the store. */
export interface ImageRecord {
  /** As formatReference writes it. */
  readonly name: string;
  /** Of the manifest of one platform. */
  readonly manifest: Digest;
  /** Milliseconds since 1970. */
  readonly pulledAt: number;
  readonly usedAt: number;
}

/** An image whose manifest and configuration have been read and checked. */
export interface StoredImage {
  /** Absent where it was asked for by its id and has none. */
  readonly name: string | undefined;
  /** The configuration's digest: the image's id, as Docker and podman have it. */
  readonly id: Digest;
  readonly manifestDigest: Digest;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  /** The layers' folders are named by these, lowest first. */
  readonly chain: readonly Digest[];
}

export interface StoreOptions {
  readonly signal?: AbortSignal;
  /** How long to wait for other processes. */
  readonly waitMs?: number;
}

const FOLDERS = ['blobs', 'blobs/sha256', 'blobs/sha512', 'layers', 'images', 'rootfs', 'tmp', 'locks'];

/** Root: /var/lib/tvmm. Others: XDG_DATA_HOME/tvmm, which is ~/.local/share/tvmm by default. TVMM_ROOT overrides both. */
export function defaultStoreRoot(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const chosen = environment.TVMM_ROOT;
  if (chosen !== undefined && isAbsolute(chosen)) return chosen;
  if (process.getuid?.() === 0) return '/var/lib/tvmm';
  const data = environment.XDG_DATA_HOME;
  return join(
    data !== undefined && isAbsolute(data) ? data : join(environment.HOME ?? homedir(), '.local/share'),
    'tvmm',
  );
}

/** user_namespaces(7): the initial one maps all ids to themselves. */
function isInitialUserNamespace(): boolean {
  try {
    return /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'utf8'));
  } catch {
    return true;
  }
}

export class ImageStore {
  /** Whether owners can be kept. */
  readonly privileged = process.geteuid?.() === 0;
  /** Whether overlayfs' marks have to be `user.*`: only the host's root may write `trusted.*`. */
  readonly userXattr = !this.privileged || !isInitialUserNamespace();

  private constructor(readonly root: string) {}

  /** Opens the store, and makes it where it is missing. @throws ImageStoreError */
  static open(root: string = defaultStoreRoot()): ImageStore {
    if (!isAbsolute(root)) {
      throw new ImageStoreError(`the root folder "${root}" is not an absolute path`, { code: 'STORE_ROOT' });
    }
    try {
      mkdirSync(root, { recursive: true, mode: 0o711 });
      for (const folder of FOLDERS) {
        // Setuid programs of images are not for the users of the host; a container's root must be reachable for its own.
        const mode = folder === 'rootfs' ? 0o711 : 0o700;
        mkdirSync(join(root, folder), { recursive: true, mode });
      }
    } catch (cause) {
      throw new ImageStoreError(`the image store ${root} cannot be made`, {
        code: 'STORE_ROOT',
        hint: 'Choose another folder with --root, or run as root.',
        cause,
      });
    }
    return new ImageStore(root);
  }

  path(...parts: string[]): string {
    return join(this.root, ...parts);
  }

  blobPath(digest: Digest): string {
    const { algorithm, hex } = digestParts(digest);
    return this.path('blobs', algorithm, hex);
  }

  layerFolder(chainId: Digest): string {
    return this.path('layers', chainId.replace(':', '-'));
  }

  /** To be held while something is added or used. */
  share(options: StoreOptions = {}): Promise<Lock> {
    return Lock.acquire(this.path('locks/store'), 'shared', {
      ...options,
      what: `the image store ${this.root}`,
    });
  }

  /** To be held while something is removed. */
  exclude(options: StoreOptions = {}): Promise<Lock> {
    return Lock.acquire(this.path('locks/store'), 'exclusive', {
      ...options,
      what: `the image store ${this.root}`,
    });
  }

  /** The lock of one blob or layer in the making; only with the store's shared lock. */
  lockItem(kind: 'blob' | 'layer', digest: Digest, options: StoreOptions = {}): Promise<Lock> {
    return Lock.acquire(this.path('locks', `${kind}-${digest.replace(':', '-')}`), 'exclusive', {
      ...options,
      what: `the ${kind} ${digest}`,
    });
  }

  async hasBlob(digest: Digest): Promise<boolean> {
    return access(this.blobPath(digest)).then(
      () => true,
      () => false,
    );
  }

  /** Adds a small blob whose digest is known to be right. */
  async putBlob(digest: Digest, bytes: Uint8Array): Promise<void> {
    if (!(await this.hasBlob(digest))) await writeWhole(this.blobPath(digest), bytes, this.path('tmp'));
  }

  /** Reads a small blob and checks it. @throws ImageStoreError DigestMismatchError */
  async readBlob(digest: Digest, limit: number): Promise<Buffer> {
    let bytes: Buffer;
    try {
      bytes = await readFile(this.blobPath(digest));
    } catch (cause) {
      throw new ImageStoreError(`the store ${this.root} lacks ${digest}`, {
        code: 'STORE_DAMAGED',
        hint: 'Pull the image again.',
        cause,
      });
    }
    if (bytes.length > limit) throw new ImageStoreError(`${digest} is too large`, { code: 'STORE_DAMAGED' });
    if (digest.startsWith('sha256:')) verifyDigest(digestOf(bytes), digest, `a blob of ${this.root}`);
    return bytes;
  }

  /** Bytes that there is room for. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.root);
    return bavail * bsize;
  }

  #recordPath(name: string): string {
    return this.path('images', `${digestParts(digestOf(name)).hex}.json`);
  }

  /** Gives an image a name, which another image may lose by it. */
  async tag(name: string, manifest: Digest): Promise<ImageRecord> {
    const now = Date.now();
    const record: ImageRecord = { name, manifest, pulledAt: now, usedAt: now };
    await writeWhole(
      this.#recordPath(name),
      JSON.stringify({ name, manifest, pulledAt: now }),
      this.path('tmp'),
    );
    return record;
  }

  /** All names, in order. A damaged record is as good as none. */
  async records(): Promise<ImageRecord[]> {
    const { stat } = await import('node:fs/promises');
    const found: ImageRecord[] = [];
    for (const file of await readdir(this.path('images'))) {
      if (!file.endsWith('.json')) continue;
      const path = this.path('images', file);
      try {
        const view = JsonView.parse(await readFile(path), path);
        const name = view.member('name').string();
        const manifest = parseDigest(view.member('manifest').string(), path);
        // When it was used last is the file's own time: cheap to set, and nothing is lost when it is wrong.
        found.push({
          name,
          manifest,
          pulledAt: view.member('pulledAt').size(),
          usedAt: (await stat(path)).mtimeMs,
        });
      } catch {}
    }
    return found.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async removeRecord(name: string): Promise<void> {
    await rm(this.#recordPath(name), { force: true });
  }

  /** Notes that an image is in use now. */
  async touch(name: string): Promise<void> {
    const now = new Date();
    await utimes(this.#recordPath(name), now, now).catch(() => {});
  }

  /** Reads an image by its manifest's digest. @throws ImageStoreError ImageFormatError DigestMismatchError */
  async load(manifestDigest: Digest, name?: string): Promise<StoredImage> {
    const what = name ?? manifestDigest;
    const manifest = parseManifest(
      await this.readBlob(manifestDigest, MAX_MANIFEST),
      `the manifest of ${what}`,
    );
    if (manifest.kind === 'index')
      throw new ImageStoreError(`${what} is an index, not an image`, { code: 'STORE_DAMAGED' });
    const id = manifest.config.digest;
    const config = parseImageConfig(await this.readBlob(id, MAX_CONFIG), `the configuration of ${what}`);
    checkLayerCount(config, manifest.layers.length, what);
    return { name, id, manifestDigest, manifest, config, chain: chainIds(config.diffIds) };
  }

  /** Finds an image by name, by digest, or by the first digits of its id. @throws ImageStoreError ImageNameError */
  async find(text: string): Promise<StoredImage> {
    const records = await this.records();
    const isHex = /^(?:sha256:)?[0-9a-f]{3,64}$/.test(text);
    let byName: ImageRecord | undefined;
    try {
      const reference = parseReference(text);
      const whole = formatReference(reference);
      byName = records.find(({ name }) => name === whole);
      const { digest, registry, repository } = reference;
      byName ??=
        digest === undefined
          ? undefined
          : records.find(
              (one) => one.manifest === digest && one.name.startsWith(`${registry}/${repository}`),
            );
    } catch (error) {
      if (!isHex) throw error;
    }
    if (byName !== undefined) return this.load(byName.manifest, byName.name);
    const digits = text.replace(/^sha256:/, '');
    const matches = new Map<Digest, StoredImage>();
    for (const record of isHex ? records : []) {
      const image = await this.load(record.manifest, record.name).catch(() => undefined);
      if (image === undefined || matches.has(image.manifestDigest)) continue;
      if ([image.id, image.manifestDigest].some((one) => digestParts(one).hex.startsWith(digits))) {
        matches.set(image.manifestDigest, image);
      }
    }
    const [only, second] = [...matches.values()];
    if (second !== undefined) {
      throw new ImageStoreError(`several images begin with ${text}`, {
        code: 'IMAGE_AMBIGUOUS',
        hint: 'Give more digits.',
      });
    }
    if (only !== undefined) return only;
    throw new ImageStoreError(`there is no image ${text} in ${this.root}`, {
      code: 'IMAGE_NOT_FOUND',
      hint: `tvmm image ls shows all images; get it with: tvmm image pull ${text}`,
    });
  }

  /** The names of an image, as people write them. */
  async namesOf(manifest: Digest): Promise<string[]> {
    const records = await this.records();
    return records
      .filter((one) => one.manifest === manifest)
      .map(({ name }) => familiarName(parseReference(name)));
  }
}
