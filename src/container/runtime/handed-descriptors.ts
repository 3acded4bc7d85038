/**
 * Descriptors that the caller hands to the container's program: sockets by the protocol of sd_listen_fds(3), and those that it counts
 * (--preserve-fds). A descriptor that it has not is refused, as runc refuses it; one that Node has opened for itself in the meantime is never
 * mistaken for the caller's.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { CreateError } from './errors.js';

/** What client.c says when it starts Node in its place: its process id, and how many descriptors from 3 on were open. */
export const DESCRIPTORS_VARIABLE = 'TVMM_DESCRIPTORS';

export interface HandedDescriptors {
  /** From 3 on. */
  readonly count: number;
  /** Variables for the program. */
  readonly environment: string[];
}

/** @throws CreateError */
export function handedDescriptors(preserveFds: number): HandedDescriptors {
  const { LISTEN_PID, LISTEN_FDS } = process.env;
  return countDescriptors(
    preserveFds,
    LISTEN_PID === String(process.pid) ? LISTEN_FDS : undefined,
    isCallers,
  );
}

/**
 * @param listening LISTEN_FDS, where it is meant for the caller
 * @param isOpen whether the caller has a descriptor
 * @throws CreateError
 */
export function countDescriptors(
  preserveFds: number,
  listening: string | undefined,
  isOpen: (fd: number) => boolean,
): HandedDescriptors {
  const sockets = Number.parseInt(listening ?? '0', 10) || 0;
  if (preserveFds < 0) throw new CreateError(`--preserve-fds ${preserveFds} is no number of descriptors`);
  const count = sockets + preserveFds;
  for (let fd = 3; fd < 3 + count; fd++) {
    if (!isOpen(fd))
      throw new CreateError(
        `unable to stat preserved-fd ${fd - 3} (of ${count}): descriptor ${fd} is not open`,
      );
  }
  return { count, environment: sockets > 0 ? [`LISTEN_FDS=${sockets}`, 'LISTEN_PID=1'] : [] };
}

function isCallers(fd: number): boolean {
  const [pid, open] = (process.env[DESCRIPTORS_VARIABLE] ?? '').split(':');
  if (pid === String(process.pid)) return fd < 3 + Number(open);
  const links = openFiles();
  const link = links.get(fd);
  if (link === undefined) return false;
  // Started without the client, nobody knows what was open before Node. These it has, and a pipe to itself is nobody else's.
  if (/^anon_inode:\[?(eventpoll|eventfd|io_uring)/.test(link)) return false;
  return !link.startsWith('pipe:') || [...links.values()].filter((other) => other === link).length === 1;
}

/** What this process's descriptors are. */
function openFiles(): Map<number, string> {
  const files = new Map<number, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      files.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // The one that the folder was read by.
    }
  }
  return files;
}
