/** Namespaces that a container was given by path: criu neither saves nor makes those of a network or of pids, and joins the others anew. */
import { closeSync, constants, openSync, statSync } from 'node:fs';
import { NAMESPACES } from '../../spec/namespaces.js';
import type { OciSpec } from '../../spec/types.js';
import { CheckpointError, errnoOf } from '../errors.js';
import type { CriuOptions } from './request.js';

/** By the names that runc gives them in its checkpoints. */
const KEPT: Readonly<Record<string, string>> = { network: 'extRootNetNS', pid: 'extRootPidNS' };
/** What criu can join at a restore. */
const JOINED = ['ipc', 'uts', 'user'];

/** `--external` for the dump. @throws CheckpointError */
export function externalNamespaces({ linux = {} }: OciSpec): string[] {
  return (linux.namespaces ?? []).flatMap(({ type, path }) => {
    const key = KEPT[type];
    if (path === undefined || key === undefined) return [];
    return [`${NAMESPACES[type].file}[${inodeOf(path)}]:${key}`];
  });
}

function inodeOf(path: string): number {
  try {
    return statSync(path).ino;
  } catch (cause) {
    throw new CheckpointError(`cannot find the namespace ${path}: ${errnoOf(cause)}`, { cause });
  }
}

/** The namespaces of a restore, open until disposed of. */
export class RestoredNamespaces implements Disposable {
  readonly descriptors: number[] = [];
  readonly keys: string[] = [];
  readonly joined: NonNullable<CriuOptions['joined']>;

  /** @throws CheckpointError */
  constructor({ linux = {} }: OciSpec) {
    const given = (linux.namespaces ?? []).flatMap(({ type, path }) =>
      path === undefined ? [] : [{ type, path }],
    );
    const wrong = given.find(({ type }) => KEPT[type] === undefined && !JOINED.includes(type));
    if (wrong !== undefined)
      throw new CheckpointError(`criu cannot restore into the ${wrong.type} namespace ${wrong.path}`, {
        hint: `Leave the path out of linux.namespaces, so that the container has a ${wrong.type} namespace of its own.`,
      });
    this.joined = given
      .filter(({ type }) => JOINED.includes(type))
      .map(({ type, path }) => ({ type: NAMESPACES[type].file, path }));
    try {
      for (const { type, path } of given) {
        const key = KEPT[type];
        if (key === undefined) continue;
        this.descriptors.push(openNamespace(path));
        this.keys.push(key);
      }
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    for (const fd of this.descriptors.splice(0)) closeSync(fd);
  }
}

function openNamespace(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY);
  } catch (cause) {
    throw new CheckpointError(`cannot open the namespace ${path}: ${errnoOf(cause)}`, { cause });
  }
}
