/**
 * Named volumes on disk: a folder each, with volume.json and `_data`, which is what containers mount. A volume exists when its volume.json does.
 * Who uses a volume stands in the containers' records; a container's record is written before its volumes are made, and a volume is only
 * removed under the same lock after a look at all records, so that none is taken from under a container.
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { FileLock } from '../../../sys/file-lock.js';
import { removeTreeSync } from '../../../sys/remove-tree.js';
import { VolumeError } from '../errors.js';
import { readIfThere, writeWhole } from '../files.js';
import type { EnginePaths } from '../paths.js';
import { flag, type Infer, object, oneOf, parseDocument, table, text, withDefault } from '../shape.js';

const LOCK_TIMEOUT_MS = 120_000;
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/;

const volumeShape = object({
  name: text,
  /** RFC 3339. */
  created: text,
  anonymous: withDefault(flag, false),
  labels: withDefault(table(text), {}),
  /** Whether it has what the first container's image has at its place: `begun` was interrupted. */
  copyUp: withDefault(oneOf('pending', 'begun', 'done'), 'pending'),
});
export type Volume = Infer<typeof volumeShape>;

function isVolumeName(name: string): boolean {
  return NAME.test(name);
}

/** @throws VolumeError */
export function checkVolumeName(name: string): string {
  if (isVolumeName(name)) return name;
  throw new VolumeError(`${JSON.stringify(name)} is no name of a volume`, {
    code: 'VOLUME_NAME',
    hint: 'letters, digits, "_", "." and "-", at most 128, the first a letter or digit; a folder of the host begins with /',
  });
}

export class VolumeStore {
  constructor(private readonly paths: EnginePaths) {}

  #folder(name: string): string {
    return join(this.paths.volumes, checkVolumeName(name));
  }

  #file(name: string): string {
    return join(this.#folder(name), 'volume.json');
  }

  /** The folder that containers mount. */
  data(name: string): string {
    return join(this.#folder(name), '_data');
  }

  /** @throws RecordError */
  read(name: string): Volume | undefined {
    const json = readIfThere(this.#file(name));
    return json === undefined ? undefined : parseDocument(volumeShape, json, this.#file(name));
  }

  /** @throws VolumeError when there is none */
  find(name: string): Volume {
    const volume = isVolumeName(name) ? this.read(name) : undefined;
    if (volume !== undefined) return volume;
    throw new VolumeError(`there is no volume ${name}`, {
      code: 'VOLUME_NOT_FOUND',
      hint: 'tvmm volume ls shows all volumes',
    });
  }

  /** All volumes by name. One whose record cannot be read is left out, and told. */
  all(onDamaged: (name: string, error: unknown) => void = () => {}): Volume[] {
    return this.#names().flatMap((name) => {
      try {
        return this.read(name) ?? [];
      } catch (error) {
        onDamaged(name, error);
        return [];
      }
    });
  }

  #names(): string[] {
    try {
      return readdirSync(this.paths.volumes).filter(isVolumeName).sort();
    } catch {
      return [];
    }
  }

  write(volume: Volume): void {
    writeWhole(this.#file(volume.name), `${JSON.stringify(volume)}\n`);
  }

  /** Runs `action` while nobody else makes or removes volumes. */
  async locked<T>(action: () => Promise<T> | T): Promise<T> {
    using _lock = await FileLock.acquire(join(this.paths.locks, 'volumes'), 'exclusive', LOCK_TIMEOUT_MS);
    return await action();
  }

  /** Makes a volume where there is none. The caller holds the lock. */
  ensure(name: string, fields: Partial<Pick<Volume, 'anonymous' | 'labels'>> = {}): Volume {
    const found = this.read(name);
    // Roots of user namespaces pass on their way to what is theirs.
    mkdirSync(this.paths.volumes, { recursive: true, mode: 0o711 });
    mkdirSync(this.#folder(name), { recursive: true, mode: 0o711 });
    mkdirSync(this.data(name), { recursive: true, mode: 0o755 });
    if (found !== undefined) return found;
    const volume: Volume = {
      name,
      created: new Date().toISOString(),
      anonymous: false,
      labels: {},
      copyUp: 'pending',
      ...fields,
    };
    this.write(volume);
    return volume;
  }

  /** Removes a volume with all that is in it. The caller holds the lock and knows that nobody uses it. */
  remove(name: string): void {
    // First what makes it a volume: a crash in the middle leaves rubbish that the next one of this name, or prune, clears.
    rmSync(this.#file(name), { force: true });
    removeTreeSync(this.#folder(name));
  }

  /** Folders that killed commands left without a volume.json. The caller holds the lock. */
  rubbish(): string[] {
    return this.#names().filter((name) => readIfThere(this.#file(name)) === undefined);
  }
}
