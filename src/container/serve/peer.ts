/**
 * Whether a client may be served: it runs as the same user, sees the same namespaces, root folder and privileges. Everybody else's container
 * would be made in a world that is not the caller's; they are sent the cold way.
 */
import { readFileSync, readlinkSync, statSync } from 'node:fs';
import { peerCredentials } from '../../sys/unix-listener.js';
import { errnoOf } from '../runtime/errors.js';

const NAMESPACE_FILES = ['mnt', 'pid', 'user', 'net', 'ipc', 'uts', 'cgroup', 'time'];
/** `CapInh`, `CapPrm`, `CapEff`, `CapBnd`, `CapAmb` of /proc/PID/status (proc(5)). */
const CAPABILITY_LINES = /^Cap\w+:.*$/gm;

/** What has to be the same. */
interface Surroundings {
  readonly places: readonly string[];
  readonly capabilities: string;
}

function placeOf(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false });
  return found === undefined ? 'none' : `${found.dev}:${found.ino}`;
}

/** `mnt:[4026531841]`: the number names the namespace (namespaces(7)). */
function namespaceAt(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    // A kernel without this kind; or its process has ended, which /proc/PID/status will tell.
    if (errnoOf(error) === 'ENOENT') return 'none';
    throw error;
  }
}

function surroundingsOf(pid: number | 'self'): Surroundings {
  return {
    places: [
      ...NAMESPACE_FILES.map((name) => namespaceAt(`/proc/${pid}/ns/${name}`)),
      placeOf(`/proc/${pid}/root`),
    ],
    capabilities: (readFileSync(`/proc/${pid}/status`, 'latin1').match(CAPABILITY_LINES) ?? []).join('\n'),
  };
}

export class PeerCheck {
  readonly #own = surroundingsOf('self');
  readonly #uid = process.geteuid?.() ?? -1;

  /** The pid of a client that may be served; undefined for others. */
  check(socket: number): number | undefined {
    const { pid, uid } = peerCredentials(socket);
    // Pid 0 stands for a process that this pid namespace does not see.
    if (uid !== this.#uid || pid <= 0) return undefined;
    try {
      const theirs = surroundingsOf(pid);
      const same =
        theirs.capabilities === this.#own.capabilities &&
        theirs.places.every((place, index) => place === this.#own.places[index]);
      return same ? pid : undefined;
    } catch {
      // It has ended, or hides.
      return undefined;
    }
  }
}
