/**
 * A user namespace without a process: what id-mapped mounts take their mapping from. Made by a helper process that leaves at once.
 */
import { spawn } from 'node:child_process';
import { readlinkSync, writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { FileDescriptor } from '../../sys/fd.js';
import { RootfsError } from './errors.js';
import type { IdRange, OwnerMap } from './owners.js';

const O_RDONLY = 0;
const TRIES = 2000;

function mapLines(ranges: readonly IdRange[]): string {
  return ranges.map(({ containerId, hostId, size }) => `${containerId} ${hostId} ${size}\n`).join('');
}

/** Needs CAP_SETUID in this namespace. @throws RootfsError */
export async function openUserNamespace(owners: OwnerMap): Promise<FileDescriptor> {
  // unshare of util-linux and of busybox alike; cat waits until its input ends, also when this process is killed.
  const child = spawn('unshare', ['-U', 'cat'], { stdio: ['pipe', 'ignore', 'ignore'] });
  const failed = new Promise<never>((_, reject) => {
    const fail = (cause?: unknown) =>
      reject(
        new RootfsError('a user namespace for the image cannot be made', { code: 'USER_NAMESPACE', cause }),
      );
    child.once('error', fail);
    child.once('exit', () => fail());
  });
  failed.catch(() => {});
  child.stdin.on('error', () => {});
  const made = async (): Promise<FileDescriptor> => {
    const own = readlinkSync('/proc/self/ns/user');
    for (let i = 0; i < TRIES; i++) {
      if (child.pid !== undefined && readlinkSync(`/proc/${child.pid}/ns/user`) !== own) {
        writeFileSync(`/proc/${child.pid}/uid_map`, mapLines(owners.uid));
        writeFileSync(`/proc/${child.pid}/gid_map`, mapLines(owners.gid));
        return FileDescriptor.open(`/proc/${child.pid}/ns/user`, O_RDONLY);
      }
      await setTimeout(2);
    }
    throw new RootfsError('a user namespace for the image was not ready in time', { code: 'USER_NAMESPACE' });
  };
  try {
    return await Promise.race([made(), failed]);
  } finally {
    child.stdin.end();
    child.kill('SIGKILL');
  }
}
