/**
 * Makes this command root in the user's own namespace: this process becomes the launcher, which joins the namespaces and becomes this command
 * again. Pid, parent, terminal and streams stay. Inside, the engine works as it does for root: files of other owners, mounts and networks
 * are the namespace's.
 */
import { constants } from 'node:fs';
import { execve } from '../../sys/execve.js';
import { FileDescriptor } from '../../sys/fd.js';
import { check, fcntl } from '../../sys/libc.js';
import { sealedMemfd } from '../../sys/memfd.js';
import { launcherFile } from '../launch/launcher-file.js';
import { encodePlan } from '../plan/encode.js';
import { userFolders } from './folders.js';
import { findHolder } from './holder.js';
import { joinPlan, type Reentry } from './plans.js';

const F_DUPFD = 0;
const F_SETFD = 2;
/** Above the descriptors that a shell hands over. */
const ASIDE = 100;

/** A descriptor that stays open beyond execve(2). */
function kept(from: FileDescriptor): number {
  using _from = from;
  return check(fcntl(from.fd, F_DUPFD, ASIDE), 'fcntl F_DUPFD', from.name);
}

/** Returns only by its error. @throws RootlessError, LaunchError, SystemError */
export async function enterNamespaces(again: Omit<Reentry, 'cwd' | 'environment'>): Promise<never> {
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  const folders = userFolders(uid);
  const { pid } = await findHolder(folders, uid, gid);
  const environment = { ...process.env, TVMM_ROOT: folders.root, TVMM_RUN: folders.run };
  const namespace = (file: string) =>
    kept(FileDescriptor.open(`/proc/${pid}/ns/${file}`, constants.O_RDONLY));
  const plan = joinPlan(
    {
      ...again,
      cwd: process.cwd(),
      environment: Object.entries(environment).flatMap(([name, value]) =>
        value === undefined ? [] : [`${name}=${value}`],
      ),
    },
    { user: namespace('user'), mount: namespace('mnt') },
  );
  const planAt = kept(sealedMemfd('tvmm-plan', encodePlan(plan), 'data'));
  // Node has marked all descriptors that it was started with; one that is closed stays so.
  for (const stream of [0, 1, 2]) fcntl(stream, F_SETFD, 0);
  execve(`/proc/self/fd/${launcherFile().fd}`, ['tvmm-launcher', String(planAt)], []);
}
