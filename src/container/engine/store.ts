/**
 * The containers on disk: records, names and locks between commands. A name is claimed by a file that holds the id, under a lock of its own;
 * what a killed command left behind (a claim without a container, a folder without a record) counts as absent and is cleared away.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { FileLock } from '../../sys/file-lock.js';
import { ContainerNameError, ContainerNotFoundError } from './errors.js';
import { isFresh, readIfThere, writeReplaceable, writeWhole } from './files.js';
import { checkName, isId, randomName, shortId } from './names.js';
import type { EnginePaths } from './paths.js';
import { type ContainerRecord, parseRecord } from './record.js';

/** A stop may hold a lock for as long as the cgroup takes to empty; nobody holds one while waiting for a container. */
const LOCK_TIMEOUT_MS = 120_000;
/** Folders without a record that are younger may be in the making. */
const ORPHAN_AGE_MS = 60_000;

export class ContainerStore {
  constructor(readonly paths: EnginePaths) {}

  folder(id: string): string {
    return join(this.paths.containers, id);
  }

  #file(id: string): string {
    return join(this.folder(id), 'container.json');
  }

  /** The record; undefined when there is no such container. @throws RecordError */
  read(id: string): ContainerRecord | undefined {
    const json = readIfThere(this.#file(id));
    // A power cut may have emptied what was not to outlive it.
    return json === undefined || json === '' ? undefined : parseRecord(json, this.#file(id));
  }

  /** Replaces the record, whole. That of a container which goes with its end (`--rm`) does not wait for the disk. */
  write(record: ContainerRecord): void {
    const write = record.options.remove ? writeReplaceable : writeWhole;
    write(this.#file(record.id), `${JSON.stringify(record)}\n`);
  }

  /** Every id that has a record. */
  ids(): string[] {
    return this.#folders().filter((id) => (readIfThere(this.#file(id)) ?? '') !== '');
  }

  /** All records, the youngest first. A record that cannot be read is given to `onDamaged` and left out. */
  all(onDamaged: (id: string, error: unknown) => void = () => {}): ContainerRecord[] {
    return this.#folders()
      .flatMap((id) => {
        try {
          return this.read(id) ?? [];
        } catch (error) {
          onDamaged(id, error);
          return [];
        }
      })
      .sort((a, b) => b.created.localeCompare(a.created));
  }

  #folders(): string[] {
    try {
      return readdirSync(this.paths.containers).filter(isId);
    } catch {
      return [];
    }
  }

  /**
   * The id that a user means by a name, an id, or the first digits of one.
   *
   * @throws ContainerNotFoundError for none, and for several
   */
  resolve(word: string): string {
    const claimed = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(word)
      ? readIfThere(join(this.paths.names, word))?.trim()
      : undefined;
    const ids = this.#folders();
    if (claimed !== undefined && ids.includes(claimed)) return claimed;
    // A claim that was killed between its two files: the record counts.
    const unclaimed = claimed === undefined ? this.all().find(({ name }) => name === word) : undefined;
    if (unclaimed !== undefined) return unclaimed.id;
    const found = /^[0-9a-f]+$/.test(word) ? ids.filter((id) => id.startsWith(word)) : [];
    const [only] = found;
    if (only !== undefined && found.length === 1) return only;
    if (found.length > 1) {
      throw new ContainerNotFoundError(`${found.length} containers have ids that begin with ${word}`, {
        code: 'CONTAINER_AMBIGUOUS',
        hint: `for instance ${found.slice(0, 3).map(shortId).join(', ')}; write more of it`,
      });
    }
    throw new ContainerNotFoundError(`there is no container ${word}`, {
      code: 'CONTAINER_NOT_FOUND',
      hint: 'tvmm ps -a shows all containers',
    });
  }

  /**
   * Takes a name for a new container, a random one where none is asked for, and writes its record: there is a container with that name at
   * once, or none.
   *
   * @param record makes it; nobody else makes one meanwhile
   * @throws ContainerNameError when the name is taken
   */
  async claimName(
    wanted: string | undefined,
    id: string,
    record: (name: string) => ContainerRecord,
  ): Promise<void> {
    if (wanted !== undefined) checkName(wanted);
    using _lock = await FileLock.acquire(join(this.paths.locks, 'names'), 'exclusive', LOCK_TIMEOUT_MS);
    mkdirSync(this.paths.names, { recursive: true, mode: 0o700 });
    this.#sweep();
    for (let tries = 0; ; tries++) {
      const name = wanted ?? randomName(tries);
      const owner = readIfThere(join(this.paths.names, name))?.trim();
      if (owner === undefined || !this.#present(owner)) {
        mkdirSync(this.folder(id), { recursive: true, mode: 0o700 });
        this.write(record(name));
        // The record has the name as well.
        writeReplaceable(join(this.paths.names, name), `${id}\n`);
        return;
      }
      if (wanted !== undefined) {
        throw new ContainerNameError(`the name ${name} is taken by container ${shortId(owner)}`, {
          code: 'CONTAINER_NAME_TAKEN',
          hint: `choose another, or remove that one: tvmm rm ${name}`,
        });
      }
    }
  }

  /** Gives a container another name. The caller holds the container's lock. @throws ContainerNameError */
  async rename(record: ContainerRecord, wanted: string): Promise<ContainerRecord> {
    checkName(wanted);
    using _lock = await FileLock.acquire(join(this.paths.locks, 'names'), 'exclusive', LOCK_TIMEOUT_MS);
    this.#sweep();
    const owner = readIfThere(join(this.paths.names, wanted))?.trim();
    if (owner !== undefined && this.#present(owner)) {
      throw new ContainerNameError(`the name ${wanted} is taken by container ${shortId(owner)}`, {
        code: 'CONTAINER_NAME_TAKEN',
        hint: 'choose another',
      });
    }
    // The record counts: a claim that a crash leaves behind is taken back with the next one.
    const renamed = { ...record, name: wanted };
    this.write(renamed);
    writeWhole(join(this.paths.names, wanted), `${record.id}\n`);
    rmSync(join(this.paths.names, record.name), { force: true });
    return renamed;
  }

  /** Ends or clears away what claims that were killed have left. The caller holds the lock of the names: no other claim is under way. */
  #sweep(): void {
    for (const file of readdirSync(this.paths.names)) {
      if (isFresh(file)) rmSync(join(this.paths.names, file), { force: true });
    }
    for (const id of this.#folders()) {
      if (readIfThere(this.#file(id)) === undefined) {
        rmSync(this.folder(id), { recursive: true, force: true });
      }
    }
    for (const { id, name } of this.all()) {
      const file = join(this.paths.names, name);
      // Empty: a power cut came before the disk had it.
      const owner = readIfThere(file)?.trim();
      if (owner === undefined || owner === '') writeReplaceable(file, `${id}\n`);
    }
  }

  /** Whether a container is there, or in the making. */
  #present(id: string): boolean {
    if ((readIfThere(this.#file(id)) ?? '') !== '') return true;
    try {
      return Date.now() - statSync(this.folder(id)).mtimeMs < ORPHAN_AGE_MS;
    } catch {
      return false;
    }
  }

  /** Removes a container's folder and name; the caller has removed everything else and holds the lock. */
  remove(id: string, name: string | undefined): void {
    // First what makes it a container, so that a crash in the middle leaves rubbish and no half container.
    rmSync(this.#file(id), { force: true });
    rmSync(this.folder(id), { recursive: true, force: true });
    if (name !== undefined) {
      const file = join(this.paths.names, name);
      if (readIfThere(file)?.trim() === id) rmSync(file, { force: true });
    }
    rmSync(join(this.paths.locks, id), { force: true });
  }

  /** Folders that a killed command left without a record. */
  orphans(): string[] {
    return this.#folders().filter((id) => !this.#present(id));
  }

  /**
   * Runs `action` as the only command that changes this container.
   *
   * @throws ContainerNotFoundError when it is removed meanwhile
   */
  async locked<T>(id: string, action: (record: ContainerRecord) => Promise<T> | T): Promise<T> {
    using _lock = await this.lock(id);
    const record = this.read(id);
    if (record === undefined) {
      // Nobody will come to remove the file that waiting for it has made.
      rmSync(join(this.paths.locks, id), { force: true });
      throw new ContainerNotFoundError(`there is no container ${shortId(id)} any more`, {
        code: 'CONTAINER_NOT_FOUND',
        hint: 'tvmm ps -a shows all containers',
      });
    }
    return await action(record);
  }

  lock(id: string): Promise<FileLock> {
    return FileLock.acquire(join(this.paths.locks, id), 'exclusive', LOCK_TIMEOUT_MS);
  }
}

/** The text of a file of the host, for facts; undefined where it cannot be read. */
export function hostFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
