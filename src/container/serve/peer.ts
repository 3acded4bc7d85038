/**
 * Whether a client may be served: it runs as the same user, sees the same namespaces, root folder and privileges. Everybody else's container
 * would be made in a world that is not the caller's; they are sent the cold way.
 */
import { readFileSync, readlinkSync, statSync } from 'node:fs';
import { capabilitySets } from '../../sys/capabilities.js';
import { peerCredentials } from '../../sys/unix-listener.js';
import { errnoOf } from '../runtime/errors.js';

const NAMESPACE_FILES = ['mnt', 'pid', 'user', 'net', 'ipc', 'uts', 'cgroup', 'time'];
/** `CapInh`, `CapPrm`, `CapEff`, `CapBnd`, `CapAmb` of /proc/PID/status (proc(5)). */
const CAPABILITY_LINES = /^Cap\w+:.*$/gm;

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

function capabilityLines(pid: number | 'self'): readonly string[] {
  return readFileSync(`/proc/${pid}/status`, 'latin1').match(CAPABILITY_LINES) ?? [];
}

/**
 * Whether the sets that capget(2) tells say all: root's program has no more permitted than its bounding set has, so that who has as much permitted
 * as this one, which is all that its bounding set has, has no smaller bounding set, unless it has dropped from that itself and kept the means to do
 * anything all the same; and where nothing is inheritable nothing is ambient (capabilities(7)).
 */
function setsSayAll(lines: readonly string[]): boolean {
  const [inheritable, permitted, , bounding] = lines.map((line) => line.replace(/^.*\t/, ''));
  return process.geteuid?.() === 0 && /^0+$/.test(inheritable ?? '') && permitted === bounding;
}

export class PeerCheck {
  readonly #namespaces = NAMESPACE_FILES.map((name) => namespaceAt(`/proc/self/ns/${name}`));
  readonly #root = placeOf('/proc/self/root');
  readonly #capabilities = capabilityLines('self').join('\n');
  /** Undefined where they would not tell enough. */
  readonly #sets = setsSayAll(capabilityLines('self')) ? capabilitySets(process.pid) : undefined;
  readonly #uid = process.geteuid?.() ?? -1;

  #mayDoTheSame(pid: number): boolean {
    const sets = this.#sets;
    if (sets === undefined) return capabilityLines(pid).join('\n') === this.#capabilities;
    return capabilitySets(pid).every((half, index) => half === sets[index]);
  }

  /** The pid of a client that may be served; undefined for others. */
  check(socket: number): number | undefined {
    const { pid, uid } = peerCredentials(socket);
    // Pid 0 stands for a process that this pid namespace does not see.
    if (uid !== this.#uid || pid <= 0) return undefined;
    try {
      const same =
        this.#mayDoTheSame(pid) &&
        NAMESPACE_FILES.every(
          (name, index) => namespaceAt(`/proc/${pid}/ns/${name}`) === this.#namespaces[index],
        ) &&
        placeOf(`/proc/${pid}/root`) === this.#root;
      return same ? pid : undefined;
    } catch {
      // It has ended, or hides.
      return undefined;
    }
  }
}
