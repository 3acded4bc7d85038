/** The launcher as a sealed file in memory: read once per process, and nothing that a container does to /proc/PID/exe reaches the disk. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TvmmError } from '../../sys/errors.js';
import { FileDescriptor } from '../../sys/fd.js';
import { check, fcntl } from '../../sys/libc.js';
import { sealedMemfd } from '../../sys/memfd.js';
import { packageRoot } from '../../sys/package-root.js';

export class LauncherMissingError extends TvmmError {
  constructor(path: string, cause: unknown) {
    super(`the launcher ${path} cannot be read`, {
      code: 'LAUNCHER_MISSING',
      hint: 'npm run build makes it',
      cause,
    });
  }
}

/** Absolute path of the launcher's binary. */
export function launcherPath(): string {
  return join(packageRoot(), 'dist/firmware/launcher');
}

const F_DUPFD_CLOEXEC = 1030;
/** Above the numbers that descriptors of a launch usually have: those are put in place before the program is opened. */
const ABOVE = [200, 100, 48, 3];

let cached: FileDescriptor | undefined;

/** The sealed copy; kept for as long as the process lives. @throws LauncherMissingError, SystemError */
export function launcherFile(): FileDescriptor {
  if (cached !== undefined) return cached;
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(launcherPath());
  } catch (error) {
    throw new LauncherMissingError(launcherPath(), error);
  }
  using file = sealedMemfd('tvmm-launcher', bytes, 'program');
  let fd = -1;
  // RLIMIT_NOFILE may be lower than the first.
  for (const above of ABOVE) {
    fd = fcntl(file.fd, F_DUPFD_CLOEXEC, above);
    if (fd !== -1) break;
  }
  check(fd, 'fcntl F_DUPFD_CLOEXEC', 'tvmm-launcher');
  cached = new FileDescriptor(fd, 'tvmm-launcher');
  return cached;
}
