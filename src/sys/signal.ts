/**
 * Signals for threads that block in a system call. Node cannot install a handler that merely interrupts, so SIGUSR2 gets the
 * address of libc's `abs`: harmless, async-signal-safe, and enough to make KVM_RUN or write(2) return EINTR (design.md section 2).
 */
import { constants } from 'node:os';
import { check, getpid, gettid, sigaction, symbolAddress, tgkill } from './libc.js';

/** The signal that kicks a thread out of a blocking call. */
export const KICK_SIGNAL = constants.signals.SIGUSR2;

/** Kernel-independent glibc layout: handler (8), sa_mask (128), sa_flags (4), padding (4), sa_restorer (8). */
const SIGACTION_SIZE = 152;

/** Installs the interrupting handler for the whole process (without SA_RESTART). Calling it again is harmless. */
export function installKickHandler(): void {
  const action = new BigUint64Array(SIGACTION_SIZE / 8);
  action[0] = BigInt(symbolAddress('abs'));
  check(sigaction(KICK_SIGNAL, action, null), 'sigaction', 'SIGUSR2');
}

/** The calling thread's id, for {@link kickThread}. */
export function currentThreadId(): number {
  return gettid();
}

/** Interrupts a thread of this process; a thread that is gone is ignored. */
export function kickThread(threadId: number): void {
  tgkill(getpid(), threadId, KICK_SIGNAL);
}
