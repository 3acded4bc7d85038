/** create, run, start, kill, delete, pause, resume. */
import { resolve } from 'node:path';
import type { CreateOptions } from '../container/runtime/create.js';
import { signalNumber } from '../container/spec/signals.js';
import type { OciAction, OciCall, OciSurroundings } from './oci.js';
import { UsageError } from './usage-error.js';

export function createOptions({ values, surroundings: { cwd, variables } }: OciCall): CreateOptions {
  // Connected with by the launcher, which is in the caller's working directory: a longer path might not fit into an address.
  const consoleSocket = values.words('console-socket');
  const pidfdSocket = values.words('pidfd-socket');
  const pidFile = values.words('pid-file');
  const notifySocket = notifySocketOf(variables);
  return {
    bundle: resolve(cwd, values.words('bundle') ?? '.'),
    preserveFds: values.integer('preserve-fds') ?? 0,
    noPivot: values.flag('no-pivot'),
    noNewKeyring: values.flag('no-new-keyring'),
    ...(consoleSocket === undefined ? {} : { consoleSocket }),
    ...(pidfdSocket === undefined ? {} : { pidfdSocket: resolve(cwd, pidfdSocket) }),
    ...(pidFile === undefined ? {} : { pidFile: resolve(cwd, pidFile) }),
    ...(notifySocket === undefined ? {} : { notifySocket }),
  };
}

/** Whom a service tells that it is ready: other kinds of addresses are no sockets of this machine. */
export function notifySocketOf({ NOTIFY_SOCKET }: OciSurroundings['variables']): string | undefined {
  return NOTIFY_SOCKET !== undefined && /^[/@]./.test(NOTIFY_SOCKET) ? NOTIFY_SOCKET : undefined;
}

export const LIFECYCLE = {
  async create(call) {
    await call.runtime.create(call.id, createOptions(call));
    return 0;
  },
  run(call) {
    const detach = call.values.flag('detach');
    return call.runtime.run(call.id, { ...createOptions(call), detach, keep: call.values.flag('keep') });
  },
  async start({ runtime, id, surroundings: { variables } }) {
    await runtime.start(id, { notifySocket: notifySocketOf(variables) });
    return 0;
  },
  async kill({ runtime, id, values, args }) {
    const text = args[1] === undefined || args[1] === '' ? 'SIGTERM' : args[1];
    const signal = signalNumber(text);
    if (signal === undefined) throw new UsageError(`unknown signal ${JSON.stringify(text)}`);
    await runtime.kill(id, signal, { all: values.flag('all') });
    return 0;
  },
  async delete({ runtime, id, values }) {
    await runtime.delete(id, { force: values.flag('force') });
    return 0;
  },
  async pause({ runtime, id }) {
    await runtime.pause(id);
    return 0;
  },
  resume({ runtime, id }) {
    runtime.resume(id);
    return 0;
  },
} as const satisfies Readonly<Record<string, OciAction>>;
