/**
 * Where a user without root keeps containers (XDG Base Directory Specification): images and records below XDG_DATA_HOME, what a reboot may
 * take below XDG_RUNTIME_DIR. A runtime folder that others could have prepared is refused.
 */
import { lstatSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { RootlessError } from './errors.js';

export interface UserFolders {
  readonly root: string;
  readonly run: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined;
}

function ownedBy(path: string, uid: number): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat?.isDirectory() === true && stat.uid === uid && (stat.mode & 0o022) === 0;
}

/** TVMM_ROOT and TVMM_RUN come first. Makes the runtime folder. @throws RootlessError when it is somebody else's */
export function userFolders(uid: number, environment: Environment = process.env): UserFolders {
  const root =
    absolute(environment.TVMM_ROOT) ??
    join(
      absolute(environment.XDG_DATA_HOME) ?? join(absolute(environment.HOME) ?? homedir(), '.local', 'share'),
      'tvmm',
    );
  const given = absolute(environment.TVMM_RUN);
  if (given !== undefined) return { root, run: given };
  const session = [absolute(environment.XDG_RUNTIME_DIR), `/run/user/${uid}`].find(
    (path) => path !== undefined && ownedBy(path, uid),
  );
  const run = session === undefined ? `/tmp/tvmm-run-${uid}` : join(session, 'tvmm');
  mkdirSync(run, { recursive: true, mode: 0o700 });
  if (!ownedBy(run, uid))
    throw new RootlessError(`${run} is not this user's alone`, {
      code: 'ROOTLESS_RUN',
      hint: 'Set XDG_RUNTIME_DIR to a folder of your own, as a login does, or remove that one.',
    });
  return { root, run };
}
