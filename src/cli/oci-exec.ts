/** exec: the process is a file's, or the container's own with what the command line changes. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ExecOptions } from '../container/runtime/exec.js';
import { parseProcess } from '../container/spec/parse.js';
import type { OciProcess, OciSpec } from '../container/spec/types.js';
import type { OciAction, OciCall } from './oci.js';
import type { FlagValues } from './oci-flags.js';
import { UsageError } from './usage-error.js';

const MAX_ID = 2 ** 32 - 2;

export const exec: OciAction = (call) => call.runtime.exec(call.id, chooser(call), execOptions(call));

/** Makes the process of the container's configuration. @throws UsageError for a file that cannot be read */
export function chooser({ values, args, surroundings: { cwd } }: OciCall): (spec: OciSpec) => OciProcess {
  const file = values.words('process');
  // Read before anything else: it may be a pipe.
  const given = file === undefined ? undefined : parseProcess(readProcess(resolve(cwd, file)));
  return (spec) => given ?? processOf(spec, values, args.slice(1));
}

function readProcess(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

export function execOptions({ values, surroundings: { cwd } }: OciCall): ExecOptions {
  // Connected with by the launcher, which is in the caller's working directory.
  const consoleSocket = values.words('console-socket');
  const pidfdSocket = values.words('pidfd-socket');
  const pidFile = values.words('pid-file');
  return {
    detach: values.flag('detach'),
    preserveFds: values.integer('preserve-fds') ?? 0,
    ignorePaused: values.flag('ignore-paused'),
    cgroups: values.list('cgroup'),
    ...(consoleSocket === undefined ? {} : { consoleSocket }),
    ...(pidfdSocket === undefined ? {} : { pidfdSocket: resolve(cwd, pidfdSocket) }),
    ...(pidFile === undefined ? {} : { pidFile: resolve(cwd, pidFile) }),
  };
}

/** The container's process with another command line, and what the flags say. @throws UsageError */
export function processOf(spec: OciSpec, values: FlagValues, args: readonly string[]): OciProcess {
  if (args.length === 0) throw new UsageError('exec args cannot be empty');
  const base: OciProcess = spec.process ?? { user: { uid: 0, gid: 0 }, args: [], cwd: '/' };
  const { apparmorProfile = values.words('apparmor'), selinuxLabel = values.words('process-label') } = {
    ...(values.words('apparmor') === undefined ? { apparmorProfile: base.apparmorProfile } : {}),
    ...(values.words('process-label') === undefined ? { selinuxLabel: base.selinuxLabel } : {}),
  };
  const cwd = values.words('cwd') ?? base.cwd;
  if (!cwd.startsWith('/')) throw new UsageError('Cwd must be an absolute path');
  return {
    ...base,
    args,
    cwd,
    env: [...(base.env ?? []), ...values.list('env')],
    terminal: values.flag('tty'),
    user: user(base, values),
    noNewPrivileges: values.has('no-new-privs') ? values.flag('no-new-privs') : base.noNewPrivileges === true,
    ...(apparmorProfile === undefined ? {} : { apparmorProfile }),
    ...(selinuxLabel === undefined ? {} : { selinuxLabel }),
    ...(values.list('cap').length === 0 ? {} : { capabilities: capabilities(base, values.list('cap')) }),
  };
}

function user(base: OciProcess, values: FlagValues): OciProcess['user'] {
  const [uid, gid] = (values.words('user') ?? '').split(':');
  return {
    ...base.user,
    ...(uid === undefined || uid === '' ? {} : { uid: id(uid, 'uid') }),
    ...(gid === undefined ? {} : { gid: id(gid, 'gid') }),
    additionalGids: [
      ...(base.user.additionalGids ?? []),
      ...values.list('additional-gids').map((text) => id(text, 'additional gid')),
    ],
  };
}

function id(text: string, what: string): number {
  const number = /^[0-9]{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number <= MAX_ID)) throw new UsageError(`bad ${what}: ${JSON.stringify(text)} is no id`);
  return number;
}

/** As runc: to the bounding, effective and permitted sets, and to the ambient set where something can be inherited. */
function capabilities(base: OciProcess, added: readonly string[]): NonNullable<OciProcess['capabilities']> {
  const sets = base.capabilities ?? {};
  const more = (set: readonly string[] = []) => [...new Set([...set, ...added])];
  return {
    ...sets,
    bounding: more(sets.bounding),
    effective: more(sets.effective),
    permitted: more(sets.permitted),
    ...(sets.inheritable === undefined
      ? {}
      : { inheritable: more(sets.inheritable), ambient: more(sets.ambient) }),
  };
}
