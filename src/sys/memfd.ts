/** Sealed files in memory (memfd_create(2)): bytes for another process that nobody can change any more, who holds the descriptor included. */
import { FileDescriptor } from './fd.js';
import { check, close, fcntl, lastErrno, memfdCreate, write } from './libc.js';

/** <linux/memfd.h> */
const MFD_CLOEXEC = 0x01;
const MFD_ALLOW_SEALING = 0x02;
const MFD_NOEXEC_SEAL = 0x08;
const MFD_EXEC = 0x10;
/** <linux/fcntl.h>: F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE. */
const F_ADD_SEALS = 1033;
const ALL_SEALS = 0x0f;
const EINVAL = 22;

/**
 * A memfd that holds `bytes`, sealed and close-on-exec.
 *
 * @param kind whether it will be executed; Linux 6.3 and later want to know, and may be set to refuse all that do not say
 * @throws SystemError
 */
export function sealedMemfd(name: string, bytes: Uint8Array, kind: 'data' | 'program'): FileDescriptor {
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  let fd = memfdCreate(name, flags | (kind === 'program' ? MFD_EXEC : MFD_NOEXEC_SEAL));
  if (fd === -1 && lastErrno() === EINVAL) fd = memfdCreate(name, flags);
  check(fd, 'memfd_create', name);
  try {
    for (let at = 0; at < bytes.length; )
      at += check(write(fd, bytes.subarray(at), bytes.length - at), 'write', name);
    check(fcntl(fd, F_ADD_SEALS, ALL_SEALS), 'fcntl F_ADD_SEALS', name);
  } catch (error) {
    close(fd);
    throw error;
  }
  return new FileDescriptor(fd, name);
}
