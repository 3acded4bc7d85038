/**
 * The folder of one container below the runtime's root: `state.json` (record.ts), `config.json` (the configuration as it was at create),
 * `exec.fifo` (where the container's first process waits for `start`) and `lock`. Nothing in here trusts that the folder is whole.
 */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { AT_FDCWD, mknodat } from '../../sys/at.js';
import { ERRNO } from '../../sys/errno.js';
import { SystemError } from '../../sys/errors.js';
import { lastErrno } from '../../sys/libc.js';
import { ContainerIdError, ContainerNotFoundError, ContainerRecordError, errnoOf } from './errors.js';
import { ContainerLock } from './lock.js';
import { type ContainerRecord, parseRecord, recordText } from './record.js';

const S_IFIFO = 0o010000;
/** What a container's folder may be kept waiting for by another command; hooks may take their time. */
const LOCK_TIMEOUT_MS = 60_000;

/** @throws ContainerIdError */
export function checkId(id: string): void {
  if (id === '') throw new ContainerIdError('container id cannot be empty');
  if (!/^[A-Za-z0-9_+.-]+$/.test(id) || id === '.' || id === '..' || id.length > 255)
    throw new ContainerIdError(`invalid container ID format: ${JSON.stringify(id.slice(0, 300))}`);
}

export class ContainerFolder {
  readonly path: string;

  /** @param root absolute @throws ContainerIdError */
  constructor(
    readonly root: string,
    readonly id: string,
  ) {
    checkId(id);
    this.path = join(root, id);
  }

  get #record(): string {
    return join(this.path, 'state.json');
  }

  get configPath(): string {
    return join(this.path, 'config.json');
  }

  get fifoPath(): string {
    return join(this.path, 'exec.fifo');
  }

  get exists(): boolean {
    return existsSync(this.path);
  }

  /** Makes the folder, and the root above it. @returns false when it is there already */
  make(): boolean {
    for (let tries = 0; ; tries++) {
      try {
        // The container's root may have to pass, to reach what is bound from here.
        mkdirSync(this.path, { mode: 0o711 });
        return true;
      } catch (error) {
        const errno = errnoOf(error);
        if (errno === 'EEXIST') return false;
        if (errno !== 'ENOENT' || tries > 0) throw error;
      }
      mkdirSync(this.root, { recursive: true, mode: 0o711 });
    }
  }

  /** @throws ContainerNotFoundError, ContainerBusyError */
  async lock(): Promise<ContainerLock> {
    const lock = await ContainerLock.acquire(join(this.path, 'lock'), this.id, {
      create: true,
      timeoutMs: LOCK_TIMEOUT_MS,
    });
    if (lock === undefined) throw new ContainerNotFoundError(this.id, this.root);
    return lock;
  }

  /** The lock if it is free. `create` makes the lock file of a new folder. */
  tryLock(): ContainerLock | 'busy' | undefined {
    return ContainerLock.try(join(this.path, 'lock'), true);
  }

  /** Whether anything has been written yet. */
  get hasRecord(): boolean {
    return existsSync(this.#record);
  }

  /** Undefined when nothing has been written yet. @throws ContainerNotFoundError, ContainerRecordError */
  readRecord(): ContainerRecord | undefined {
    let text: string;
    try {
      text = readFileSync(this.#record, 'utf8');
    } catch (error) {
      if (!['ENOENT', 'ENOTDIR'].includes(errnoOf(error))) throw error;
      if (!this.exists) throw new ContainerNotFoundError(this.id, this.root);
      return undefined;
    }
    return parseRecord(text, this.#record);
  }

  writeRecord(record: ContainerRecord): void {
    this.#write(this.#record, recordText(record));
  }

  readConfig(): string {
    return readFileSync(this.configPath, 'utf8');
  }

  writeConfig(text: string): void {
    write(this.configPath, text);
  }

  /** @param owner who may open it: the container's root @throws SystemError */
  makeFifo(owner: { readonly uid: number; readonly gid: number } | undefined): void {
    if (mknodat(AT_FDCWD, this.fifoPath, S_IFIFO | 0o622, 0) === -1) {
      const errno = lastErrno();
      if (errno !== ERRNO.EEXIST) throw new SystemError('mknodat', this.fifoPath, errno);
    }
    // The caller's umask may have taken bits away.
    chmodSync(this.fifoPath, 0o622);
    if (owner !== undefined) chownSync(this.fifoPath, owner.uid, owner.gid);
  }

  get hasFifo(): boolean {
    return existsSync(this.fifoPath);
  }

  removeFifo(): void {
    try {
      unlinkSync(this.fifoPath);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }

  /** Removes the folder; the record last but one and the lock with it, so that a crash between leaves what the next try needs. */
  remove(): void {
    if (this.#removeUsual()) return;
    for (const name of namesIn(this.path)) {
      if (name !== 'state.json' && name !== 'lock') removeEntry(join(this.path, name));
    }
    for (const name of ['state.json', 'lock']) removeEntry(join(this.path, name));
    try {
      rmdirSync(this.path);
    } catch {
      // A temporary file of a command that was killed just now, or it is gone.
      rmSync(this.path, { recursive: true, force: true });
    }
  }

  /** What nearly always is all that there is, without a look. @returns false when something is left */
  #removeUsual(): boolean {
    // Whoever comes after a crash has to find the record as long as anything else is there.
    if (this.hasFifo) return false;
    try {
      for (const path of [this.configPath, this.#record, join(this.path, 'lock')]) unlinkSync(path);
      rmdirSync(this.path);
      return true;
    } catch {
      return false;
    }
  }

  #write(path: string, text: string): void {
    const temporary = `${path}.${process.pid}.new`;
    write(temporary, text);
    renameSync(temporary, path);
  }
}

/** All of it or nothing. @throws ContainerRecordError, which names the file: write(2) itself does not know it */
function write(path: string, text: string): void {
  try {
    writeFileSync(path, text, { mode: 0o600 });
  } catch (cause) {
    const errno = errnoOf(cause);
    try {
      rmSync(path, { force: true });
    } catch {
      // A disk that is read-only: nothing was made.
    }
    throw new ContainerRecordError(`cannot write ${path}: ${errno}`, {
      ...(errno === 'ENOSPC' ? { hint: 'Free some space or inodes there, or choose another --root.' } : {}),
      cause,
    });
  }
}

/** rmSync looks at everything twice, for what is hardly ever there: folders. */
function removeEntry(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    rmSync(path, { recursive: true, force: true });
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Ids of all folders below a root; none when there is no such root. */
export function containerIds(root: string): string[] {
  try {
    return readdirSync(root, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && /^[A-Za-z0-9_+.-]+$/.test(entry.name))
      .map(({ name }) => name)
      .sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
