/**
 * Starts a program without child_process: posix_spawn(3) copies nothing of this process (it shares memory with it until the program runs),
 * and child_process is slow to load. Only what the launcher needs: a path, arguments, descriptors by number. Blocks until the program runs.
 */

import { SystemError } from './errors.js';
import { FileDescriptor } from './fd.js';
import { check, declare, fcntl, lastErrno, type Pointer } from './libc.js';

/** Room for glibc's posix_spawn_file_actions_t (80 bytes). */
const FILE_ACTIONS_SIZE = 128;
const F_DUPFD_CLOEXEC = 1030;
const WNOHANG = 1;
const EINTR = 4;

const actionsInit = declare<(actions: Pointer) => number>('posix_spawn_file_actions_init', 'int', ['void *']);
const actionsDup2 = declare<(actions: Pointer, from: number, to: number) => number>(
  'posix_spawn_file_actions_adddup2',
  'int',
  ['void *', 'int', 'int'],
);
const actionsDestroy = declare<(actions: Pointer) => number>('posix_spawn_file_actions_destroy', 'int', [
  'void *',
]);
const posixSpawn = declare<
  (
    pid: Pointer,
    path: string,
    actions: Pointer,
    attributes: null,
    argv: readonly (string | null)[],
    envp: readonly (string | null)[],
  ) => number
>('posix_spawn', 'int', ['void *', 'str', 'void *', 'void *', 'const char **', 'const char **']);
const rawWaitpid = declare<(pid: number, status: Pointer, options: number) => number>('waitpid', 'int', [
  'int',
  'void *',
  'int',
]);

/** What to start. */
export interface SpawnOptions {
  readonly path: string;
  /** All of argv, the program's name first. */
  readonly argv: readonly string[];
  /** `NAME=value` each. */
  readonly environment: readonly string[];
  /** The program's descriptors: its number -> ours. Others are inherited as their close-on-exec flags say. */
  readonly descriptors: ReadonlyMap<number, number>;
}

/** @returns the pid, to be given to {@link waitPid} @throws SystemError */
export function spawn(options: SpawnOptions): number {
  const { path, argv, environment, descriptors } = options;
  // The descriptors are put in place one after the other: a source that stands where another goes must move out of the way first.
  const above = Math.max(...descriptors.keys(), 2) + 1;
  const moved: FileDescriptor[] = [];
  const actions = new BigUint64Array(FILE_ACTIONS_SIZE / 8);
  checkError(actionsInit(actions), 'posix_spawn_file_actions_init', path);
  try {
    for (const [target, source] of descriptors) {
      let from = source;
      if (source !== target && source < above) {
        from = check(fcntl(source, F_DUPFD_CLOEXEC, above), 'fcntl F_DUPFD_CLOEXEC', `fd ${source}`);
        moved.push(new FileDescriptor(from, `copy of fd ${source}`));
      }
      checkError(actionsDup2(actions, from, target), 'posix_spawn_file_actions_adddup2', `fd ${target}`);
    }
    const pid = new Int32Array(1);
    checkError(
      posixSpawn(pid, path, actions, null, [...argv, null], [...environment, null]),
      'posix_spawn',
      path,
    );
    return pid[0];
  } finally {
    actionsDestroy(actions);
    for (const copy of moved) copy[Symbol.dispose]();
  }
}

/**
 * Waits for a child of {@link spawn}.
 *
 * @returns the wait status; undefined when `wait` is false and it still runs
 * @throws SystemError (ECHILD)
 */
export function waitPid(pid: number, wait = true): number | undefined {
  const status = new Int32Array(1);
  for (;;) {
    const result = rawWaitpid(pid, status, wait ? 0 : WNOHANG);
    if (result === -1 && lastErrno() === EINTR) continue;
    check(result, 'waitpid', `${pid}`);
    return result === 0 ? undefined : status[0];
  }
}

/** An exit status as shells give it: the program's own, or 128 + the signal that ended it. */
export function exitStatus(waitStatus: number): number {
  const signal = waitStatus & 0x7f;
  return signal === 0 ? (waitStatus >> 8) & 0xff : 128 + signal;
}

/** posix_spawn and its family return the errno. */
function checkError(errno: number, call: string, object: string): void {
  if (errno !== 0) throw new SystemError(call, object, errno);
}
