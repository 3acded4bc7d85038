/**
 * A further process of a running container as a launch plan (runtime `exec`). The container is hostile by now: nothing is opened in it but
 * the terminal, which is checked; nothing of the host's is open any more when one of its paths is walked.
 */
import type { Plan } from '../plan/plan.js';
import { NAMESPACES, type NamespaceType } from '../spec/namespaces.js';
import { OCI_VERSION, type OciProcess, type OciSpec } from '../spec/types.js';
import { data, named, ProgramBuilder, register } from './builder.js';
import { grantable } from './capabilities.js';
import { joinCgroups, openCgroups } from './cgroups.js';
import { checkDescriptors, leaveOrStay, openProc, planOf, seccompComesLast } from './common.js';
import { isForeground, openConsoleSocket, setUpConsole } from './console.js';
import type { ExecContext } from './context.js';
import {
  becomeUser,
  checkLabels,
  joinKeyring,
  setLabels,
  setNoNewPrivileges,
  setUndumpable,
} from './credentials.js';
import { resetAffinity, setAffinity, setOomScore, setRlimits, setScheduling } from './limits.js';
import { becomeRoot } from './namespaces.js';
import {
  candidatesOf,
  checkProgram,
  closeOthers,
  environmentOf,
  execProgram,
  keepDescriptors,
} from './program.js';
import { installSeccomp, markedState, openListener } from './seccomp.js';
import { replaceNull } from './streams.js';
import { PEER, TAG } from './tags.js';

/** What of the container further processes share. */
export type ExecShared = Pick<OciSpec, 'linux' | 'annotations'> & { readonly bundle?: string };

/**
 * Compiles `exec`.
 * @param shared of the container's configuration: personality and memory policy hold for every process, the rest is told to agents
 * @throws CompileError for what this machine cannot do
 */
export function compileExec(process: OciProcess, context: ExecContext, shared: ExecShared = {}): Plan {
  checkDescriptors(context);
  checkLabels(process, context.host);
  const launcher = new ProgramBuilder('launcher');
  const exec = new ProgramBuilder('exec');
  const user = context.namespaces.includes('user');

  setUndumpable(launcher);
  openProc(launcher);
  setAffinity(launcher, process.execCPUAffinity?.initial);
  setOomScore(launcher, process, context.host);
  openConsoleSocket(launcher, process, context.console);
  openListener(launcher, context.seccomp);
  openCgroups(launcher, context);
  // Out here they can still be raised; the program gets them from its parent.
  if (user) setRlimits(launcher, process);
  enterContainer(launcher, context);
  launcher.add({
    op: 'clone',
    what: 'start the process',
    flags: 0n,
    child: 'exec',
    result: 'exec-pid',
    ...(context.cgroup?.unified === undefined ? {} : { cgroup: 'cgroup-unified' }),
  });
  const listens = context.seccomp?.listener !== undefined;
  if (listens)
    launcher.add({
      op: 'send',
      what: 'tell the process its pid',
      tag: PEER.mapped,
      peer: 'exec',
      register: 'exec-pid',
    });
  launcher.add({ op: 'send', what: "tell the process's pid", tag: TAG.pid, register: 'exec-pid' });
  leaveOrStay(launcher, context.supervise, 'exec-pid');

  if (listens)
    exec.add({
      op: 'receive',
      what: 'learn the own pid',
      tag: PEER.mapped,
      peer: 'launcher',
      result: 'outer-pid',
    });
  runExec(exec, process, context, shared, user);
  return planOf([launcher, exec], context, context.pidfd === undefined ? {} : { pidfd: context.pidfd });
}

/**
 * Nobody is born from inside of a cgroup namespace into a cgroup who comes from outside of it: ENOENT, where cgroup v2 is mounted with
 * nsdelegate. So the process joins that one itself, being in its cgroup.
 */
function joinsCgroupNamespaceLate({ namespaces, cgroup }: ExecContext): boolean {
  return namespaces.includes('cgroup') && cgroup?.unified !== undefined;
}

const ORDER: readonly NamespaceType[] = ['user', 'cgroup', 'ipc', 'uts', 'network', 'pid', 'time', 'mount'];

/** Joins all namespaces of the container's first process at once, through one descriptor that cannot come to mean another process. */
function enterContainer(launcher: ProgramBuilder, context: ExecContext): void {
  const { pid, pidfd, namespaces } = context;
  if (pidfd === undefined)
    launcher.call(`open process ${pid}`, 'pidfd_open', [pid, 0], {
      result: 'pidfd',
      hint: 'The container must be running.',
    });
  if (!namespaces.includes('mount')) {
    launcher.openAt2(
      `open the root of process ${pid}`,
      register('proc'),
      String(pid),
      ['PATH', 'DIRECTORY'],
      ['BENEATH'],
      {
        result: 'process',
      },
    );
    launcher.call(
      `open the root of process ${pid}`,
      'openat',
      [
        register('process'),
        data('root'),
        named(0o10000000 | 0o200000 | 0o2000000, 'O_PATH|O_DIRECTORY|O_CLOEXEC'),
        0,
      ],
      { result: 'root' },
    );
  }
  const late = joinsCgroupNamespaceLate(context) ? 'cgroup' : undefined;
  const types = ORDER.filter((type) => type !== late && namespaces.includes(type));
  if (types.length === 0) return;
  const flags = types.reduce((sum, type) => sum + NAMESPACES[type].flag, 0);
  launcher.call(
    `join the namespaces of process ${pid}`,
    'setns',
    [register('pidfd'), named(flags, types.map((type) => NAMESPACES[type].flagName).join('|'))],
    { hint: 'Joining them needs root, or the user who made the container.' },
  );
}

function runExec(
  exec: ProgramBuilder,
  process: OciProcess,
  context: ExecContext,
  shared: ExecShared,
  user: boolean,
): void {
  const { seccomp, host } = context;
  const setgroupsDenied = context.setgroupsDenied === true || host.setgroupsDenied === true;
  if (joinsCgroupNamespaceLate(context)) {
    const { flag, flagName } = NAMESPACES.cgroup;
    exec.call('join the cgroup namespace of the container', 'setns', [
      register('pidfd'),
      named(flag, flagName),
    ]);
  }
  if (user) becomeRoot(exec, setgroupsDenied);
  setUndumpable(exec);
  joinCgroups(exec, context);
  if (process.execCPUAffinity?.final === undefined) resetAffinity(exec);
  else setAffinity(exec, process.execCPUAffinity.final);
  exec.call('start a session', 'setsid', []);
  if (context.newKeyring !== false) joinKeyring(exec, context.id, false);
  if (!context.namespaces.includes('mount')) {
    exec.call('go to the root', 'fchdir', [register('root')]);
    exec.call("make it this process's root", 'chroot', [data('.')]);
  }
  setUpConsole(exec, process, undefined, false, isForeground(context.console));
  if (process.terminal !== true) replaceNull(exec, undefined);
  setScheduling(exec, process, shared.linux);
  const kept = seccomp?.listener === undefined ? [] : ['listener'];
  keepDescriptors(exec, kept, context.control);
  if (!user) setRlimits(exec, process);
  setLabels(exec, process, host);
  closeOthers(exec, kept.length, context.preserveFds ?? 0, context.control);

  const install = () => {
    if (seccomp === undefined) return;
    const state = markedState({
      ociVersion: OCI_VERSION,
      id: context.id,
      status: 'running',
      bundle: shared.bundle ?? '',
      ...(shared.annotations === undefined ? {} : { annotations: shared.annotations }),
    });
    installSeccomp(exec, seccomp, state, 'outer-pid');
  };
  const environment = environmentOf(process, context.environment ?? [], context.home);
  const candidates = candidatesOf(process.args[0] ?? '', environment);
  setNoNewPrivileges(exec, process);
  const sets = grantable(process.capabilities, host, user, (message) => context.warn?.(message));
  const keepAdmin = seccomp !== undefined && !seccompComesLast(process);
  becomeUser(exec, process, { sets, host, userNamespace: user, setgroupsDenied, keepAdmin }, () => {
    checkProgram(exec, process.args[0] ?? '', candidates);
    if (!seccompComesLast(process)) install();
  });
  exec.add({ op: 'send', what: 'tell that the process is ready', tag: TAG.ready });
  if (seccompComesLast(process)) install();
  execProgram(exec, process, candidates, environment);
}
