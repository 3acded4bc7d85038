/**
 * A further process of a running container as a launch plan (runtime `exec`). The container is hostile by now: nothing is opened in it but
 * the terminal, which is checked; nothing of the host's is open any more when one of its paths is walked.
 *
 * Programs: `launcher`, which stays outside; `entering`, which joins cgroups and namespaces, readies everything and gives up the host's
 * descriptors and its privileges; `exec`, its child, the only one in the container's pid namespace. Whoever has CAP_SYS_PTRACE in there can
 * look into a process as soon as it shows (CVE-2016-9962, CVE-2024-21626): by then there is nothing left to be taken.
 */
import type { Plan } from '../plan/plan.js';
import { permits, refusesWith, type ShownCall } from '../seccomp/permits.js';
import { NAMESPACES, type NamespaceType } from '../spec/namespaces.js';
import { OCI_VERSION, type OciProcess, type OciSpec } from '../spec/types.js';
import { data, NULL, named, ProgramBuilder, register } from './builder.js';
import { type CapabilitySets, dropTo, grantable } from './capabilities.js';
import { joinCgroups, openCgroups } from './cgroups.js';
import { checkDescriptors, leaveOrStay, NO_PROCESS, openProc, planOf, seccompComesLast } from './common.js';
import { isForeground, openConsoleSocket, setUpConsole, takeTerminal } from './console.js';
import type { ExecContext } from './context.js';
import {
  becomeUser,
  checkLabels,
  joinKeyring,
  setLabels,
  setNoNewPrivileges,
  setUndumpable,
} from './credentials.js';
import {
  isScheduledAlone,
  resetAffinity,
  setAffinity,
  setNarrowRlimits,
  setOomScore,
  setRlimitsForChild,
  setScheduler,
  setScheduling,
} from './limits.js';
import { becomeRoot } from './namespaces.js';
import { IOCTL } from './numbers.js';
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
  const entering = new ProgramBuilder('entering');
  const exec = new ProgramBuilder('exec');

  setUndumpable(launcher);
  openProc(launcher);
  setAffinity(launcher, process.execCPUAffinity?.initial);
  setOomScore(launcher, process, context.host);
  openConsoleSocket(launcher, process, context.console);
  openListener(launcher, context.seccomp);
  openCgroups(launcher, context);
  openContainer(launcher, context);
  launcher.add({
    op: 'clone',
    what: 'enter the container',
    hint: NO_PROCESS,
    flags: 0n,
    child: 'entering',
    result: 'entering-pid',
    ...(context.cgroup?.unified === undefined ? {} : { cgroup: 'cgroup-unified' }),
  });
  launcher.add({
    op: 'receive',
    what: "learn the process's pid",
    tag: PEER.pid,
    peer: 'entering',
    result: 'exec-pid',
  });
  // It would count as a process of the container's until somebody has heard of its end.
  launcher.call('wait for what entered the container', 'wait4', [register('entering-pid'), NULL, 0, NULL]);
  const waits = needsLauncher(process, context);
  if (isScheduledAlone(process)) setScheduler(launcher, process, 'exec-pid');
  if (waits)
    launcher.add({
      op: 'send',
      what: 'let the process go on',
      tag: PEER.mapped,
      // Over the socket that it has taken over.
      peer: 'entering',
      register: 'exec-pid',
    });
  launcher.add({ op: 'send', what: "tell the process's pid", tag: TAG.pid, register: 'exec-pid' });
  leaveOrStay(launcher, context.supervise, 'exec-pid');

  enter(entering, process, context, shared);
  runExec(exec, process, context, shared);
  return planOf(
    [launcher, entering, exec],
    context,
    context.pidfd === undefined ? {} : { pidfd: context.pidfd },
  );
}

const ORDER: readonly NamespaceType[] = ['user', 'cgroup', 'ipc', 'uts', 'network', 'pid', 'time', 'mount'];

/** What the container is entered by. */
function openContainer(launcher: ProgramBuilder, { pid, pidfd, namespaces }: ExecContext): void {
  if (pidfd === undefined)
    launcher.call(`open process ${pid}`, 'pidfd_open', [pid, 0], {
      result: 'pidfd',
      hint: 'The container must be running.',
    });
  if (namespaces.includes('mount')) return;
  const what = `open the root of process ${pid}`;
  launcher.openAt2(what, register('proc'), String(pid), ['PATH', 'DIRECTORY'], ['BENEATH'], {
    result: 'process',
  });
  const flags = named(0o10000000 | 0o200000 | 0o2000000, 'O_PATH|O_DIRECTORY|O_CLOEXEC');
  launcher.call(what, 'openat', [register('process'), data('root'), flags, 0], { result: 'root' });
}

/**
 * Joins all namespaces of the container's first process at once, through one descriptor that cannot come to mean another process. It is the
 * next child that will be in the pid namespace.
 */
function joinNamespaces(entering: ProgramBuilder, { pid, namespaces }: ExecContext): void {
  const types = ORDER.filter((type) => namespaces.includes(type));
  if (types.length === 0) return;
  const flags = types.reduce((sum, type) => sum + NAMESPACES[type].flag, 0);
  entering.call(
    `join the namespaces of process ${pid}`,
    'setns',
    [register('pidfd'), named(flags, types.map((type) => NAMESPACES[type].flagName).join('|'))],
    { hint: 'Joining them needs root, or the user who made the container.' },
  );
}

/** Whether the process waits until the launcher has done something for it, or told it its pid. */
function needsLauncher(process: OciProcess, { seccomp }: ExecContext): boolean {
  return seccomp?.listener !== undefined || isScheduledAlone(process);
}

/** Everything up to the birth of the process that shows in the container, and all that need not be done by that one itself. */
function enter(
  entering: ProgramBuilder,
  process: OciProcess,
  context: ExecContext,
  shared: ExecShared,
): void {
  const { host, namespaces } = context;
  const user = namespaces.includes('user');
  const setgroupsDenied = deniesSetgroups(context);
  joinCgroups(entering, context);
  // Out here they can still be raised.
  if (user) setRlimitsForChild(entering, process);
  joinNamespaces(entering, context);
  if (user) becomeRoot(entering, setgroupsDenied);
  setUndumpable(entering);
  if (process.execCPUAffinity?.final === undefined) resetAffinity(entering);
  else setAffinity(entering, process.execCPUAffinity.final);
  if (context.newKeyring !== false) joinKeyring(entering, context.id, false);
  if (!namespaces.includes('mount')) {
    entering.call('go to the root', 'fchdir', [register('root')]);
    entering.call("make it this process's root", 'chroot', [data('.')]);
  }
  setUpConsole(entering, process, undefined, false, isForeground(context.console));
  if (process.terminal !== true) replaceNull(entering, undefined);
  setScheduling(entering, process, shared.linux, isScheduledAlone(process));
  if (!user) setRlimitsForChild(entering, process);
  setLabels(entering, process, host);
  // One by one: the socket to the launcher, whose number nobody knows, is still needed.
  entering.close('proc');
  entering.close('pidfd');
  if (!namespaces.includes('mount')) for (const name of ['root', 'process']) entering.close(name);
  if (context.cgroup?.unified !== undefined) entering.close('cgroup-unified');

  setNoNewPrivileges(entering, process);
  const environment = environmentFor(process, context);
  const { sets, keepAdmin } = privileges(process, context, (message) => context.warn?.(message));
  becomeUser(entering, process, { sets, host, userNamespace: user, setgroupsDenied, keepAdmin }, () => {
    checkProgram(entering, process.args[0] ?? '', candidatesOf(process.args[0] ?? '', environment));
  });
  if (installsEarly(process, context)) installAndDrop(entering, process, context, shared);
  entering.add({
    op: 'clone',
    what: 'start the process',
    hint: NO_PROCESS,
    // The launcher's child: it may have to wait for it.
    flags: CLONE_PARENT,
    child: 'exec',
    result: 'exec-pid',
  });
  entering.add({
    op: 'send',
    what: "tell the process's pid",
    tag: PEER.pid,
    peer: 'launcher',
    register: 'exec-pid',
  });
  entering.add({ op: 'exit', what: 'leave', status: 0 });
}

const CLONE_PARENT = 0x8000n;
const SIGCHLD = 17;

function deniesSetgroups({ setgroupsDenied, host }: ExecContext): boolean {
  return setgroupsDenied === true || host.setgroupsDenied === true;
}

function environmentFor(process: OciProcess, context: ExecContext): readonly string[] {
  return environmentOf(process, context.environment ?? [], context.home);
}

/** What is still to be called behind a filter that is installed before the process is started. */
const CALLS_OF_START: readonly ShownCall[] = [
  { call: 'capset' },
  { call: 'socketpair', args: [1, 0x80001] },
  { call: 'close' },
  { call: 'sendto' },
  { call: 'exit_group' },
  { call: 'rt_sigprocmask', args: [2] },
  { call: 'setsid' },
  { call: 'ioctl', args: [0, IOCTL.TIOCSCTTY] },
  { call: 'fcntl', args: [3, 2, 1] },
  { call: 'prlimit64' },
  { call: 'close_range', args: [3] },
  { call: 'execve' },
];
const ENOSYS = 38;

/**
 * Whether the filter is installed before the process shows in the container: then CAP_SYS_ADMIN, which it takes without no_new_privs, never
 * shows in there. Not where the filter would keep the launch from its last steps, nor where an agent is told of the process.
 */
function installsEarly(process: OciProcess, context: ExecContext): boolean {
  const { seccomp } = context;
  if (seccomp === undefined || seccompComesLast(process) || needsLauncher(process, context)) return false;
  const clones =
    permits(seccomp, { call: 'clone3' }) ||
    (refusesWith(seccomp, { call: 'clone3' }, ENOSYS) &&
      permits(seccomp, { call: 'clone', args: [Number(CLONE_PARENT) | SIGCHLD] }));
  return clones && CALLS_OF_START.every((call) => permits(seccomp, call));
}

function privileges(
  process: OciProcess,
  { seccomp, host, namespaces }: ExecContext,
  warn: (message: string) => void,
): { sets: CapabilitySets; keepAdmin: boolean } {
  const sets = grantable(process.capabilities, host, namespaces.includes('user'), warn);
  return { sets, keepAdmin: seccomp !== undefined && !seccompComesLast(process) };
}

function install(program: ProgramBuilder, { seccomp, id }: ExecContext, shared: ExecShared): void {
  if (seccomp === undefined) return;
  const state = markedState({
    ociVersion: OCI_VERSION,
    id,
    status: 'running',
    bundle: shared.bundle ?? '',
    ...(shared.annotations === undefined ? {} : { annotations: shared.annotations }),
  });
  installSeccomp(program, seccomp, state, 'outer-pid');
}

/** With the privilege that it takes, which goes then. */
function installAndDrop(
  program: ProgramBuilder,
  process: OciProcess,
  context: ExecContext,
  shared: ExecShared,
): void {
  install(program, context, shared);
  const { sets, keepAdmin } = privileges(process, context, () => {});
  // Under the filter by now: one call, whose absence from a profile would be told.
  if (keepAdmin) dropTo(program, sets);
}

/** The process itself: what no other can do for it. */
function runExec(exec: ProgramBuilder, process: OciProcess, context: ExecContext, shared: ExecShared): void {
  const { seccomp } = context;
  if (needsLauncher(process, context))
    exec.add({
      op: 'receive',
      what: 'wait for the launcher',
      tag: PEER.mapped,
      peer: 'launcher',
      result: 'outer-pid',
    });
  exec.call('start a session', 'setsid', []);
  takeTerminal(exec, process);
  const kept = seccomp?.listener === undefined ? [] : ['listener'];
  keepDescriptors(exec, kept, context.control);
  setNarrowRlimits(exec, process);
  closeOthers(exec, kept.length, context.preserveFds ?? 0, context.control);

  const last = seccompComesLast(process);
  if (!last && !installsEarly(process, context)) installAndDrop(exec, process, context, shared);
  exec.add({ op: 'send', what: 'tell that the process is ready', tag: TAG.ready });
  if (last) install(exec, context, shared);
  const environment = environmentFor(process, context);
  execProgram(exec, process, candidatesOf(process.args[0] ?? '', environment), environment);
}
