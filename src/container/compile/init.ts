/**
 * The program of a container's first process, from its birth to the program that it becomes: the order in which privileges, mounts and the
 * engine's work depend on each other.
 */
import type { Struct } from '../plan/plan.js';
import { OCI_VERSION, type OciSpec } from '../spec/types.js';
import { data, named, type ProgramBuilder, register } from './builder.js';
import { dropTo, grantable } from './capabilities.js';
import { awaitCgroup, entersByItself, joinCgroups } from './cgroups.js';
import { runHooks, seccompComesLast } from './common.js';
import { isForeground, setUpConsole, takeTerminal } from './console.js';
import type { CreateContext } from './context.js';
import { becomeUser, joinKeyring, setLabels, setNoNewPrivileges, setUndumpable } from './credentials.js';
import { makeDevices } from './devices.js';
import { ensureWorkingDirectory, makePathsReadonly, maskPaths } from './hidden-paths.js';
import { askForRlimits, resetAffinity, setRlimits, setScheduling } from './limits.js';
import { setLoopbackUp } from './loopback.js';
import type { MadeDevices } from './made-devices.js';
import { CONTAINER_PROC } from './mount-context.js';
import { makeDevReadonly, mountAll, procIsFollowed } from './mounts.js';
import {
  becomeRoot,
  joinCgroupNamespace,
  makeOwnNamespaces,
  type NamespacePlan,
  setNames,
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
import { fillPid, installSeccomp, markedState, stateWithPid } from './seccomp.js';
import type { Sources } from './sources.js';
import { replaceNull } from './streams.js';
import { writeSysctls } from './sysctl.js';
import { PEER, TAG } from './tags.js';
import { descriptorPath } from './trees.js';

/** What the parts of one compilation share. */
export interface Creation {
  readonly spec: OciSpec;
  readonly context: CreateContext;
  readonly namespaces: NamespacePlan;
  readonly sources: Sources;
  readonly devices: MadeDevices;
  /** Somebody else maps init's ids or tells its pid, and it must wait for that. */
  readonly waits: boolean;
  /** The launcher stands outside of init's user namespace and sets its limits. */
  readonly outerLimits: boolean;
  readonly setgroupsDenied: boolean;
}

/** Whether the engine has something to do between the mounts and the program. */
function engineActs({ hooks, linux }: OciSpec, context: CreateContext): boolean {
  return (
    context.prepare === true ||
    (hooks?.prestart ?? []).length + (hooks?.createRuntime ?? []).length > 0 ||
    Object.keys(linux?.netDevices ?? {}).length > 0
  );
}

/** Whether the engine must know the pid before it hears of anything else: hooks are told it, or the poststop hooks follow upon theirs. */
export function tellsOfPid(spec: OciSpec, context: CreateContext): boolean {
  const { createContainer = [], startContainer = [] } = spec.hooks ?? {};
  return engineActs(spec, context) || createContainer.length + startContainer.length > 0;
}

/** The first process, from its birth to the program. */
export function runInit(init: ProgramBuilder, creation: Creation): void {
  const { spec, context, namespaces } = creation;
  const { process } = spec;
  if (creation.waits)
    init.add({
      op: 'receive',
      what: 'wait for the launcher',
      tag: PEER.mapped,
      peer: 'launcher',
      result: 'outer-pid',
    });
  if (namespaces.user) becomeRoot(init, creation.setgroupsDenied);
  setUndumpable(init);
  const alone = entersByItself(context, namespaces);
  const enterCgroups = () => {
    if (alone) awaitCgroup(init);
    joinCgroups(init, context, { open: alone });
    joinCgroupNamespace(init, namespaces, context);
    resetAffinity(init);
    makeOwnNamespaces(init, namespaces);
  };
  // What shows the cgroups has to be mounted in their namespace, and what is copied into memory counts. All else need not wait for the engine.
  const first =
    !alone ||
    spec.mounts?.some(
      ({ type, options }) => type?.startsWith('cgroup') === true || options?.includes('tmpcopyup') === true,
    ) === true;
  if (first) enterCgroups();
  init.call('start a session', 'setsid', []);
  init.call('take all permissions that are asked for', 'umask', [0]);
  if (context.newKeyring !== false) joinKeyring(init, context.id, true);
  if (namespaces.created.has('network')) setLoopbackUp(init);
  if (namespaces.has('uts')) setNames(init, spec);

  buildRoot(init, creation, first ? () => {} : enterCgroups);
  enterRoot(init, spec, context, namespaces.has('mount'));

  writeSysctls(init, spec, (type) => namespaces.has(type) && context.hostNamespaces?.includes(type) !== true);
  setScheduling(init, process, spec.linux);
  const waits = context.execFifo !== undefined;
  if (waits) openOwnDescriptors(init, creation);
  const kept = [
    ...(waits ? ['own-descriptors', 'fifo'] : []),
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
function buildRoot(init: ProgramBuilder, creation: Creation, mounted: () => void): void {
  const { spec, context, namespaces, sources } = creation;
  const mounts = namespaces.has('mount');
  const waits = context.execFifo !== undefined;
  const recorded = { what: 'be taken note of', tag: TAG.recorded };
  if (waits) init.add({ op: 'send', ...recorded });
  if (mounts) {
    isolateMounts(init, spec, context);
    bindRoot(init, spec, context);
    const label = context.host.selinux ? spec.linux?.mountLabel : undefined;
    mountAll(init, { spec, context, namespaces, sources, ...(label === undefined ? {} : { label }) });
  } else openRoot(init, spec, context);
  makeDevices(init, spec, namespaces.user, creation.devices);
  mounted();
  // Answered long since, and taken before another answer may come behind it.
  if (waits) init.add({ op: 'receive', ...recorded });

  const { hooks } = spec;
  if (engineActs(spec, context)) {
    init.add({ op: 'send', what: 'have the engine prepare the container', tag: TAG.prepare });
    init.add({ op: 'receive', what: 'have the engine prepare the container', tag: TAG.prepare });
  }
  if ((hooks?.createContainer ?? []).length > 0) {
    init.call('go to the root', 'fchdir', [register('root')]);
    runHooks(init, 'createContainer', hooks?.createContainer, stateFor(init, creation, 'creating'));
  }
  if (spec.process !== undefined) {
    setUpConsole(init, spec.process, 'root', mounts, isForeground(context.console));
    takeTerminal(init, spec.process);
    if (spec.process.terminal !== true) replaceNull(init, 'root');
  }
  ensureWorkingDirectory(init, spec);
  if (!mounts) return;
  makeDevReadonly(init, spec);
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
    // Under the filter by now: one call, whose absence from a profile would be told.
    if (keepAdmin) dropTo(init, sets);
  }
  const tellReady = () => init.add({ op: 'send', what: 'tell that the container is ready', tag: TAG.ready });
  const waits = context.execFifo !== undefined;
  if (waits || process === undefined) tellReady();
  if (waits) waitForStart(init);
  if (process === undefined) {
    // Only `start` would need it, and has said so.
    init.add({ op: 'exit', what: 'end: there is no process to start', status: 1 });
    return;
  }
  const hooks = spec.hooks?.startContainer ?? [];
  // Hooks of the container are no more trusted than its program.
  if (late && hooks.length > 0) install();
  runHooks(
    init,
    'startContainer',
    hooks,
    startState(init, creation),
    environment,
    waits ? 'start' : undefined,
  );
  if (waits) init.write('answer start', 'start', '0');
  else tellReady();
  if (late && hooks.length === 0) install();
  execProgram(init, process, candidates, environment);
}

function startState(init: ProgramBuilder, creation: Creation): Struct {
  if ((creation.spec.hooks?.startContainer ?? []).length === 0) return { bytes: new Uint8Array(0) };
  return stateFor(init, creation, 'created');
}

/**
 * The fifo is opened through /proc/self/fd, in the container's own procfs where it has one: a process that is let into the container before
 * `start`, or one of a pod that it joins, can take what this one has open (with CAP_SYS_PTRACE), and from the host's procfs it could go on.
 */
function openOwnDescriptors(init: ProgramBuilder, { spec, namespaces }: Creation): void {
  const proc = namespaces.has('mount') && procIsFollowed(spec) ? CONTAINER_PROC : 'proc';
  init.openAt2(
    'open /proc/self/fd',
    register(proc),
    'self/fd',
    ['PATH', 'DIRECTORY'],
    ['BENEATH', 'NO_MAGICLINKS', 'NO_XDEV'],
    { result: 'own-descriptors' },
  );
}

/** Opens the fifo for writing: that waits until `start` opens it for reading. It closes as the program begins: `start` hears that, too. */
function waitForStart(init: ProgramBuilder): void {
  const path = descriptorPath(init, 'fifo', '');
  init.call(
    'wait for start',
    'openat',
    [register('own-descriptors'), data(path), named(0o2000001, 'O_WRONLY|O_CLOEXEC'), 0],
    { result: 'start', hint: 'The fifo must let the user of the container write: mode 0622.' },
  );
  init.close('fifo');
  init.close('own-descriptors');
}
