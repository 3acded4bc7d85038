/** `exec`: another process in a running container, with the container's own limits to what it may do. */

import type { OciProcess, OciSpec } from '../spec/types.js';
import type { EngineContext } from './context.js';
import { ContainerStateError, OptionError } from './errors.js';
import { note } from './events.js';
import { containerCapabilities } from './options/capabilities.js';
import { mergeEnvironment } from './options/process.js';
import type { ContainerRecord } from './record.js';
import { settle } from './settle.js';
import { refuse } from './start.js';

export interface ExecRequest {
  readonly command: readonly string[];
  readonly env: readonly string[];
  readonly user?: string | undefined;
  readonly workdir?: string | undefined;
  readonly tty: boolean;
  readonly privileged: boolean;
  readonly detach: boolean;
  readonly stdio?: readonly [number, number, number];
  /** Gets the process's pid on the host once it runs. */
  readonly pidFile?: string;
}

/** @returns the exit status: the program's own, 126 or 127 when it cannot be run; 0 when detached @throws ContainerStateError, OptionError */
export async function execInContainer(
  context: EngineContext,
  id: string,
  request: ExecRequest,
): Promise<number> {
  if (request.command.length === 0) throw new OptionError('COMMAND', 'there is none');
  const record = await context.store.locked(id, (found) => settle(context, found));
  refuse(record, 'exec');
  note(context.paths, 'exec', record, { command: request.command.join(' ') });
  return execInRunning(context, record, request);
}

/** {@link execInContainer} for a container that is known to run, without a word in the journal. */
export async function execInRunning(
  context: EngineContext,
  record: ContainerRecord,
  request: ExecRequest,
): Promise<number> {
  const { id, init } = record;
  if (init === undefined)
    throw new ContainerStateError(`container ${record.name} does not run`, { code: 'CONTAINER_STATE' });
  for (const entry of request.env) {
    if (entry.indexOf('=') < 1 || entry.includes('\0'))
      throw new OptionError('--env', `${JSON.stringify(entry)} is not NAME=VALUE`);
  }
  const user =
    request.user === undefined
      ? undefined
      : await context.images.user(`/proc/${init.pid}/root`, request.user, record.options.groupAdd);
  return context.runtime.exec(id, (spec) => execProcess(spec, request, user), {
    detach: request.detach,
    ...(request.stdio === undefined ? {} : { stdio: request.stdio }),
    ...(request.pidFile === undefined ? {} : { pidFile: request.pidFile }),
  });
}

/** The process of `exec`: the container's own, with what was asked for in its place. Pure. */
function execProcess(
  spec: OciSpec,
  request: ExecRequest,
  user:
    | {
        readonly uid: number;
        readonly gid: number;
        readonly additionalGids: readonly number[];
        readonly home: string;
      }
    | undefined,
): OciProcess {
  const { process } = spec;
  if (process === undefined) throw new OptionError('CONTAINER', 'its configuration has no process');
  const { terminal: _terminal, consoleSize: _size, ...own } = process;
  const bounding = request.privileged
    ? containerCapabilities([], [], true)
    : (process.capabilities?.bounding ?? []);
  const isRoot = (user ?? process.user).uid === 0;
  return {
    ...own,
    args: request.command,
    cwd: request.workdir ?? process.cwd,
    ...(request.tty ? { terminal: true } : {}),
    env: mergeEnvironment(
      process.env ?? [],
      user === undefined ? [] : [`HOME=${user.home}`],
      request.tty ? ['TERM=xterm'] : [],
      request.env,
    ),
    user:
      user === undefined
        ? process.user
        : {
            uid: user.uid,
            gid: user.gid,
            ...(user.additionalGids.length > 0 ? { additionalGids: user.additionalGids } : {}),
          },
    capabilities: {
      bounding,
      permitted: isRoot ? bounding : [],
      effective: isRoot ? bounding : [],
      inheritable: [],
      ambient: [],
    },
  };
}
