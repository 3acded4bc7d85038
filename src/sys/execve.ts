/** Becomes another program (execve(2)): same process, same parent, same descriptors but for those that close on exec. Other threads end. */
import { SystemError } from './errors.js';
import { declare, lastErrno } from './libc.js';

const rawExecve = declare<
  (path: string, argv: readonly (string | null)[], envp: readonly (string | null)[]) => number
>('execve', 'int', ['str', 'const char **', 'const char **']);

/** Returns only by its error. @param environment `NAME=value` each @throws SystemError */
export function execve(path: string, argv: readonly string[], environment: readonly string[]): never {
  rawExecve(path, [...argv, null], [...environment, null]);
  throw new SystemError('execve', path, lastErrno());
}
