/**
 * The process that holds a user's namespaces: all commands of the user share them, since what one mounts (a container's root) another must
 * find. It sleeps, costs some KB, and lasts until the machine ends or somebody kills it; then a container's minder serves as well, which is
 * in the same namespaces, and with no container a new one is made.
 */
import { constants, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { FileDescriptor } from '../../sys/fd.js';
import { FileLock } from '../../sys/file-lock.js';
import { TAG } from '../compile/tags.js';
import { writeWhole } from '../engine/files.js';
import { identify, isAlive, type ProcessIdentity, processShape } from '../engine/process.js';
import { object, optional, parseDocument } from '../engine/shape.js';
import { Launch } from '../launch/launch.js';
import { launcherFile } from '../launch/launcher-file.js';
import { RootlessError } from './errors.js';
import type { UserFolders } from './folders.js';
import { holderPlan } from './plans.js';
import { type IdMaps, ownIdMaps } from './subids.js';

const LOCK_TIMEOUT_MS = 30_000;
const FILE = 'rootless.json';

const holderShape = object({ holder: processShape });
const minderShape = object({ minder: optional(processShape) });

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** A process that lives, in a user namespace which is not ours. */
function holds(identity: ProcessIdentity | undefined): identity is ProcessIdentity {
  if (identity === undefined || !isAlive(identity)) return false;
  try {
    return readlinkSync(`/proc/${identity.pid}/ns/user`) !== readlinkSync('/proc/self/ns/user');
  } catch {
    return false;
  }
}

function recorded({ run }: UserFolders): ProcessIdentity | undefined {
  const file = join(run, FILE);
  const json = readIfThere(file);
  if (json === undefined) return undefined;
  try {
    const { holder } = parseDocument(holderShape, json, file);
    return holds(holder) ? holder : undefined;
  } catch {
    // Not what we write: as good as none.
    return undefined;
  }
}

function anyMinder({ root }: UserFolders): ProcessIdentity | undefined {
  const folder = join(root, 'containers');
  let ids: string[] = [];
  try {
    ids = readdirSync(folder);
  } catch {
    return undefined;
  }
  for (const id of ids) {
    const file = join(folder, id, 'container.json');
    const json = readIfThere(file);
    try {
      const minder = json === undefined ? undefined : parseDocument(minderShape, json, file).minder;
      if (holds(minder)) return minder;
    } catch {
      // A damaged record says nothing about namespaces.
    }
  }
  return undefined;
}

/** Finds the namespaces of this user, or makes them. @throws RootlessError, LaunchError, CreateError */
export async function findHolder(folders: UserFolders, uid: number, gid: number): Promise<ProcessIdentity> {
  const known = recorded(folders);
  if (known !== undefined) return known;
  using _lock = await FileLock.acquire(join(folders.run, 'rootless.lock'), 'exclusive', LOCK_TIMEOUT_MS);
  const found = recorded(folders) ?? anyMinder(folders) ?? (await makeHolder(ownIdMaps(uid, gid)));
  writeWhole(join(folders.run, FILE), `${JSON.stringify({ holder: found })}\n`);
  return found;
}

async function makeHolder(maps: IdMaps): Promise<ProcessIdentity> {
  using nothing = FileDescriptor.open('/dev/null', constants.O_RDWR);
  using launch = Launch.start(holderPlan(maps), {
    stdio: [nothing.fd, nothing.fd, nothing.fd],
    descriptors: { program: launcherFile().fd },
  });
  let holder: ProcessIdentity | undefined;
  for (;;) {
    const event = launch.next();
    if (event === undefined || event.kind === 'closed') break;
    if (event.kind === 'failed') throw event.error;
    if (event.kind === 'sent' && event.tag === TAG.idMaps) {
      const { writeIdMaps } = await import('../runtime/id-maps.js');
      writeIdMaps(event.value, maps.uids, maps.gids);
      launch.answer(TAG.idMaps);
    } else if (event.kind === 'sent' && event.tag === TAG.pid) {
      holder = identify(event.value);
      break;
    }
  }
  launch.wait();
  launch.release();
  if (holder !== undefined) return holder;
  throw new RootlessError('the process that holds the user namespace has ended early', {
    code: 'ROOTLESS_HOLDER',
  });
}
