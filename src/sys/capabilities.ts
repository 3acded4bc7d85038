/** The capabilities of a process (capget(2)), without the text of /proc/PID/status. */
import { check, declare, type Pointer } from './libc.js';

/** _LINUX_CAPABILITY_VERSION_3: two structs of three 32-bit sets. */
const VERSION_3 = 0x20080522;

const rawCapget = declare<(header: Pointer, data: Pointer) => number>('capget', 'int', ['void *', 'void *']);

/**
 * Effective, permitted and inheritable set, the low half of each and then the high half. The bounding and the ambient set are not told.
 *
 * @throws SystemError (ESRCH)
 */
export function capabilitySets(pid: number): Uint32Array {
  const sets = new Uint32Array(6);
  check(rawCapget(Uint32Array.of(VERSION_3, pid), sets), 'capget', `process ${pid}`);
  return sets;
}
