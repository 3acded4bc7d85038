/**
 * A configuration as the launch plan of `create` (and `run`): pure, so that the same configuration on the same machine always gives the same
 * plan. Programs: `launcher`, which stays outside, and `init`, which becomes the container's program; between them `stage` where a time
 * namespace with clocks of its own needs a parent inside of the new user namespace, and `maps-N`, which hold mappings of mounts.
 */
import type { Plan, Struct } from '../plan/plan.js';
import { parseMountOptions } from '../spec/mount-options.js';
import { OCI_VERSION, type OciSpec } from '../spec/types.js';
import { data, named, ProgramBuilder, register } from './builder.js';
import { grantable } from './capabilities.js';
import { joinCgroups, openCgroups } from './cgroups.js';
import {
  checkDescriptors,
  checkSeccomp,
  leaveOrStay,
  openProc,
  planOf,
  runHooks,
  seccompComesLast,
} from './common.js';
import { openConsoleSocket, setUpConsole } from './console.js';
import type { CreateContext } from './context.js';
import {
  becomeUser,
  checkLabels,
  joinKeyring,
  setDumpable,
  setLabels,
  setNoNewPrivileges,
  setUndumpable,
} from './credentials.js';
import { makeDevices } from './devices.js';
import { CompileError } from './errors.js';
import { ensureWorkingDirectory, makePathsReadonly, maskPaths } from './hidden-paths.js';
import { askForRlimits, grantRlimits, setOomScore, setRlimits, setScheduling } from './limits.js';
import { setLoopbackUp } from './loopback.js';
import { mountAll } from './mounts.js';
import {
  becomeRoot,
  cloneFlags,
  deniesSetgroups,
  joinNamespaces,
  madeByInit,
  makeOwnNamespaces,
  makeTimeNamespace,
  mapIds,
  type NamespacePlan,
  openNamespaces,
  planNamespaces,
  setNames,
  timeOffsets,
} from './namespaces.js';
import {
  candidatesOf,
  checkProgram,
  closeOthers,
  environmentOf,
  execProgram,
  keepDescriptors,
} from './program.js';
import { bindRoot, enterRoot, isolateMounts, makeRootReadonly, openRoot } from './rootfs.js';
import { fillPid, installSeccomp, markedState, openListener, stateWithPid } from './seccomp.js';
import { openSources, type Sources } from './sources.js';
import { replaceNull } from './streams.js';
import { writeSysctls } from './sysctl.js';
import { PEER, TAG } from './tags.js';
import { descriptorPath } from './trees.js';

/** What the parts of one compilation share. */
interface Creation {
  readonly spec: OciSpec;
  readonly context: CreateContext;
  readonly namespaces: NamespacePlan;
  readonly sources: Sources;
  /** Somebody else maps init's ids or tells its pid, and it must wait for that. */
  readonly waits: boolean;
  /** The launcher stands outside of init's user namespace and sets its limits. */
  readonly outerLimits: boolean;
  readonly setgroupsDenied: boolean;
}

/**
 * Compiles `create` or `run`.
 * @throws CompileError for what this machine cannot do, and for what would change the host instead of the container
 */
export function compileCreate(spec: OciSpec, context: CreateContext): Plan {
  check(spec, context);
  const namespaces = planNamespaces(spec, context);
  const launcher = new ProgramBuilder('launcher');
  const stage = new ProgramBuilder('stage');
  const init = new ProgramBuilder('init');
  const helpers: ProgramBuilder[] = [];
  const offsets = timeOffsets(spec);
  const staged = offsets !== undefined && namespaces.created.has('user');

  startLauncher(launcher, spec, context, namespaces);
  const sources = openSources(launcher, spec, context, namespaces, helpers);
  joinNamespaces(launcher, namespaces);
  const creation: Creation = {
    spec,
    context,
    namespaces,
    sources,
    waits: namespaces.created.has('user') || context.seccomp?.listener !== undefined,
    outerLimits: namespaces.created.has('user') && !staged,
    setgroupsDenied: deniesSetgroups(spec, context),
  };
  if (staged) {
    giveBirthInStages(launcher, stage, creation, offsets);
  } else {
    if (offsets !== undefined) makeTimeNamespace(launcher, offsets);
    const later = madeByInit(namespaces);
    const types = [...namespaces.created].filter(
      (type) => !later.includes(type) && (type !== 'time' || offsets === undefined),
    );
    launcher.add({
      op: 'clone',
      what: "start the container's first process",
      flags: cloneFlags(types),
      child: 'init',
      result: 'init-pid',
      ...(context.cgroup?.unified === undefined ? {} : { cgroup: 'cgroup-unified' }),
    });
    if (namespaces.created.has('user')) mapIds(launcher, spec, context, 'init-pid', 'init');
    else if (creation.waits) sendPid(launcher, 'init');
  }
  launcher.add({ op: 'send', what: "tell the container's pid", tag: TAG.pid, register: 'init-pid' });
  if (creation.outerLimits) grantRlimits(launcher, spec.process, 'init-pid', 'init');
  leaveOrStay(launcher, context.supervise, 'init-pid');

  runInit(init, creation, staged ? 'stage' : 'launcher');
  return planOf([launcher, ...helpers, ...(staged ? [stage] : []), init], context);
}

function check(spec: OciSpec, context: CreateContext): void {
  checkDescriptors(context);
  checkSeccomp(spec.linux?.seccomp !== undefined, context);
  checkLabels(spec.process, context.host);
  if (spec.linux?.intelRdt !== undefined) {
    if (context.host.resctrl === undefined)
      throw new CompileError(
        'linux.intelRdt',
        'is asked for, and no resctrl file system is mounted here',
        'Leave it out, or mount it: mount -t resctrl resctrl /sys/fs/resctrl.',
      );
    if (context.resctrlTasks === undefined)
      throw new CompileError('linux.intelRdt', 'was not prepared by the caller');
  }
  if (context.host.rootless && Object.keys(spec.linux?.netDevices ?? {}).length > 0)
    throw new CompileError('linux.netDevices', 'moves devices of the host, which only root may do');
  warnOfWhatIsIgnored(spec, context);
  if (spec.linux?.mountLabel !== undefined && !context.host.selinux)
    context.warn?.('linux.mountLabel is ignored: this machine has no SELinux');
}

/** What other runtimes ignore without a word, and some clients therefore ask for. */
function warnOfWhatIsIgnored(
  { mounts = [], root, linux = {} }: OciSpec,
  { warn = () => {} }: CreateContext,
): void {
  for (const [index, { options = [] }] of mounts.entries()) {
    const { bind, data } = parseMountOptions(options);
    if (bind !== undefined && data.length > 0)
      warn(`mounts[${index}].options: ${data.join(',')} is ignored: it means nothing to a bind mount`);
  }
  if (linux.namespaces?.some(({ type }) => type === 'mount') === true) return;
  for (const [name, present] of [
    ['mounts', mounts.length > 0],
    ['root.readonly', root.readonly === true],
    ['linux.maskedPaths', (linux.maskedPaths ?? []).length > 0],
    ['linux.readonlyPaths', (linux.readonlyPaths ?? []).length > 0],
  ] as const)
    if (present) warn(`${name} is ignored: without a mount namespace it would change the host's mounts`);
}

/** Up to the clone: everything that must be opened while this is still the caller's world. */
function startLauncher(
  launcher: ProgramBuilder,
  spec: OciSpec,
  context: CreateContext,
  namespaces: NamespacePlan,
): void {
  // A rootless caller could not open its child's uid_map if the child's files belonged to root.
  if (!(context.host.rootless && namespaces.created.has('user'))) setUndumpable(launcher);
  openProc(launcher);
  setOomScore(launcher, spec.process, context.host);
  if (context.execFifo !== undefined)
    launcher.open('open the fifo that starts the container', context.execFifo, ['PATH', 'NOFOLLOW'], 'fifo');
  if (spec.process !== undefined) openConsoleSocket(launcher, spec.process, context.console);
  openListener(launcher, context.seccomp);
  openCgroups(launcher, context.cgroup);
  if (context.resctrlTasks !== undefined)
    launcher.open(`open ${context.resctrlTasks}`, context.resctrlTasks, ['WRONLY'], 'resctrl');
  openNamespaces(launcher, namespaces);
}

function sendPid(program: ProgramBuilder, peer: string): void {
  program.add({ op: 'send', what: 'let the container go on', tag: PEER.mapped, peer, register: 'init-pid' });
}

/** The clocks of a time namespace that belongs to the new user namespace are set in there, by a parent of the first process. */
function giveBirthInStages(
  launcher: ProgramBuilder,
  stage: ProgramBuilder,
  creation: Creation,
  offsets: string,
): void {
  const { spec, context, namespaces, setgroupsDenied } = creation;
  launcher.add({
    op: 'clone',
    what: 'make the user namespace',
    flags: cloneFlags(['user']),
    child: 'stage',
    result: 'stage-pid',
    ...(context.cgroup?.unified === undefined ? {} : { cgroup: 'cgroup-unified' }),
  });
  mapIds(launcher, spec, context, 'stage-pid', 'stage');
  launcher.add({
    op: 'receive',
    what: "learn the container's pid",
    tag: PEER.pid,
    peer: 'stage',
    result: 'init-pid',
  });

  stage.add({ op: 'receive', what: 'wait for the id maps', tag: PEER.mapped, peer: 'launcher' });
  becomeRoot(stage, setgroupsDenied);
  // Its own files in /proc are the host root's else; nobody else is in the user namespace yet who could look in.
  setDumpable(stage);
  makeTimeNamespace(stage, offsets);
  setUndumpable(stage);
  const elsewhere = ['user', 'time', ...madeByInit(namespaces)];
  const types = [...namespaces.created].filter((type) => !elsewhere.includes(type));
  stage.add({
    op: 'clone',
    what: "start the container's first process",
    // The launcher's child, like any other first process: it may have to wait for it.
    flags: cloneFlags(types) | 0x8000n,
    child: 'init',
    result: 'init-pid',
  });
  sendPid(stage, 'init');
  stage.add({
    op: 'send',
    what: "tell the container's pid",
    tag: PEER.pid,
    peer: 'launcher',
    register: 'init-pid',
  });
  stage.add({ op: 'exit', what: 'leave', status: 0 });
}

/** The first process, from its birth to the program. */
function runInit(init: ProgramBuilder, creation: Creation, parent: string): void {
  const { spec, context, namespaces } = creation;
  const { process } = spec;
  if (creation.waits)
    init.add({
      op: 'receive',
      what: 'wait for the launcher',
      tag: PEER.mapped,
      peer: parent,
      result: 'outer-pid',
    });
  if (namespaces.user) becomeRoot(init, creation.setgroupsDenied);
  setUndumpable(init);
  joinCgroups(init, context.cgroup);
  if (context.resctrlTasks !== undefined) init.write('join the class of service of resctrl', 'resctrl', '0');
  makeOwnNamespaces(init, namespaces);
  init.call('start a session', 'setsid', []);
  init.call('take all permissions that are asked for', 'umask', [0]);
  if (context.newKeyring !== false) joinKeyring(init, context.id, true);
  if (namespaces.created.has('network')) setLoopbackUp(init);
  if (namespaces.has('uts')) setNames(init, spec);

  buildRoot(init, creation);
  enterRoot(init, spec, context, namespaces.has('mount'));

  writeSysctls(init, spec, namespaces);
  setScheduling(init, process, spec.linux);
  // procfs is needed to open the fifo with, and for nothing else from here on.
  const kept = [
    ...(context.execFifo === undefined ? [] : ['proc', 'fifo']),
    ...(context.seccomp?.listener === undefined ? [] : ['listener']),
  ];
  keepDescriptors(init, kept, context.control);
  if (creation.outerLimits) askForRlimits(init, process);
  else setRlimits(init, process);
  if (process !== undefined) setLabels(init, process, context.host);
  closeOthers(init, kept.length, context.preserveFds ?? 0, context.control);
  becomeProgram(init, creation);
}

/** Mounts, devices, hooks, terminal, hidden paths: all through the root's descriptor, from outside of it. */
function buildRoot(init: ProgramBuilder, creation: Creation): void {
  const { spec, context, namespaces, sources } = creation;
  const mounts = namespaces.has('mount');
  if (mounts) {
    isolateMounts(init, spec, context);
    bindRoot(init, spec, context);
    const label = context.host.selinux ? spec.linux?.mountLabel : undefined;
    mountAll(init, { spec, context, namespaces, sources, ...(label === undefined ? {} : { label }) });
  } else openRoot(init, spec, context);
  makeDevices(init, spec, namespaces.user);

  const { hooks } = spec;
  const engineActs =
    context.prepare === true ||
    (hooks?.prestart ?? []).length + (hooks?.createRuntime ?? []).length > 0 ||
    Object.keys(spec.linux?.netDevices ?? {}).length > 0;
  if (engineActs) {
    init.add({ op: 'send', what: 'have the engine prepare the container', tag: TAG.prepare });
    init.add({ op: 'receive', what: 'have the engine prepare the container', tag: TAG.prepare });
  }
  if ((hooks?.createContainer ?? []).length > 0) {
    init.call('go to the root', 'fchdir', [register('root')]);
    runHooks(init, 'createContainer', hooks?.createContainer, stateFor(init, creation, 'creating'));
  }
  if (spec.process !== undefined) {
    setUpConsole(init, spec.process, 'root', mounts);
    if (spec.process.terminal !== true) replaceNull(init, 'root');
  }
  ensureWorkingDirectory(init, spec);
  if (!mounts) return;
  makePathsReadonly(init, spec);
  maskPaths(init, spec);
  makeRootReadonly(init, spec);
}

/** The state as hooks in the container get it: with the pid that the process has in there. */
function stateFor(init: ProgramBuilder, creation: Creation, status: 'creating' | 'created'): Struct {
  init.call('look up the own pid', 'getpid', [], { result: 'own-pid' });
  const marked = stateWithPid(state(creation, status), `{state ${status}}`);
  fillPid(init, marked, 'own-pid');
  return marked.struct;
}

function state({ spec, context }: Creation, status: 'creating' | 'created') {
  return markedState({
    ociVersion: OCI_VERSION,
    id: context.id,
    status,
    bundle: context.bundle,
    ...(spec.annotations === undefined ? {} : { annotations: spec.annotations }),
  });
}

/** Privileges go, the engine is told, `start` is waited for, and the program begins. */
function becomeProgram(init: ProgramBuilder, creation: Creation): void {
  const { spec, context, namespaces, setgroupsDenied } = creation;
  const { process } = spec;
  const { seccomp, host } = context;
  const install = () => {
    if (seccomp !== undefined) installSeccomp(init, seccomp, state(creation, 'creating'), 'outer-pid');
  };
  const environment =
    process === undefined ? [] : environmentOf(process, context.environment ?? [], context.home);
  const candidates = process === undefined ? [] : candidatesOf(process.args[0] ?? '', environment);
  // A listener's agent must be there before the container counts as created.
  const late = process !== undefined && seccompComesLast(process) && seccomp?.listener === undefined;
  if (process !== undefined) {
    setNoNewPrivileges(init, process);
    const sets = grantable(process.capabilities, host, namespaces.user, (message) => context.warn?.(message));
    const keepAdmin = seccomp !== undefined && !seccompComesLast(process);
    becomeUser(
      init,
      process,
      { sets, host, userNamespace: namespaces.user, setgroupsDenied, keepAdmin },
      () => {
        checkProgram(init, process.args[0] ?? '', candidates);
        if (!late) install();
      },
    );
  }
  init.add({ op: 'send', what: 'tell that the container is ready', tag: TAG.ready });
  if (context.execFifo !== undefined) waitForStart(init);
  if (process === undefined) {
    // Only `start` would need it, and has said so.
    init.add({ op: 'exit', what: 'end: there is no process to start', status: 1 });
    return;
  }
  runHooks(init, 'startContainer', spec.hooks?.startContainer, startState(init, creation), environment);
  if (context.execFifo !== undefined) init.close('start');
  if (late) install();
  execProgram(init, process, candidates, environment);
}

function startState(init: ProgramBuilder, creation: Creation): Struct {
  if ((creation.spec.hooks?.startContainer ?? []).length === 0) return { bytes: new Uint8Array(0) };
  return stateFor(init, creation, 'created');
}

/** Opens the fifo for writing: that waits until `start` opens it for reading. It stays open until the program begins or fails to. */
function waitForStart(init: ProgramBuilder): void {
  const path = descriptorPath(init, 'fifo');
  init.call(
    'wait for start',
    'openat',
    [register('proc'), data(path), named(0o2000001, 'O_WRONLY|O_CLOEXEC'), 0],
    { result: 'start', hint: 'The fifo must let the user of the container write: mode 0622.' },
  );
  init.close('fifo');
  init.close('proc');
  init.write('answer start', 'start', '0');
}
