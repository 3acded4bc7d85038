/**
 * A configuration as the launch plan of `create` (and `run`): pure, so that the same configuration on the same machine always gives the same
 * plan. Programs: `launcher`, which stays outside, and `init`, which becomes the container's program; between them `stage` where a time
 * namespace with clocks of its own needs a parent inside of the new user namespace, and `maps-N`, which hold mappings of mounts.
 */
import { posix } from 'node:path';
import type { Plan } from '../plan/plan.js';
import { parseMountOptions } from '../spec/mount-options.js';
import type { OciSpec } from '../spec/types.js';
import { ProgramBuilder } from './builder.js';
import { awaitCgroup, entersByItself, openCgroups } from './cgroups.js';
import { checkDescriptors, checkSeccomp, leaveOrStay, NO_PROCESS, openProc, planOf } from './common.js';
import { openConsoleSocket } from './console.js';
import type { CreateContext } from './context.js';
import { checkLabels, setDumpable, setUndumpable } from './credentials.js';
import { CompileError } from './errors.js';
import { type Creation, runInit, tellsOfPid } from './init.js';
import { grantRlimits, setOomScore } from './limits.js';
import { openDevices } from './made-devices.js';
import {
  becomeRoot,
  cloneFlags,
  deniesSetgroups,
  joinNamespaces,
  madeByInit,
  makeTimeNamespace,
  mapIds,
  type NamespacePlan,
  openNamespaces,
  planNamespaces,
  timeOffsets,
} from './namespaces.js';
import { superviseAndRemove } from './removal.js';
import { openListener } from './seccomp.js';
import { nextSource, openSources } from './sources.js';
import { PEER, TAG } from './tags.js';

/**
 * Compiles `create` or `run`.
 * @throws CompileError for what this machine cannot do, and for what would change the host instead of the container
 */
export function compileCreate(given: OciSpec, context: CreateContext): Plan {
  const spec = withPlainDestinations(given, context);
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
  const devices = openDevices(launcher, spec, context, namespaces, nextSource(context, sources));
  openCgroupsLater(launcher, context, namespaces);
  joinNamespaces(launcher, namespaces, context);
  const creation: Creation = {
    spec,
    context,
    namespaces,
    sources,
    devices,
    waits:
      namespaces.created.has('user') || context.seccomp?.listener !== undefined || tellsOfPid(spec, context),
    outerLimits: namespaces.created.has('user') && !staged,
    setgroupsDenied: deniesSetgroups(spec, context),
  };
  if (staged) {
    giveBirthInStages(launcher, stage, creation, offsets);
  } else {
    if (offsets !== undefined) makeTimeNamespace(launcher, offsets);
    const later = madeByInit(namespaces);
    const types = [...namespaces.created].filter(
      (type) =>
        !later.includes(type) &&
        (type !== 'time' || offsets === undefined) &&
        (type !== 'network' || context.networkMade !== true),
    );
    launcher.add({
      op: 'clone',
      what: "start the container's first process",
      hint: NO_PROCESS,
      flags: cloneFlags(types),
      child: 'init',
      result: 'init-pid',
      ...(context.cgroup?.unified === undefined ? {} : { cgroup: 'cgroup-unified' }),
    });
    tellPid(launcher);
    if (namespaces.created.has('user')) mapIds(launcher, spec, context, 'init-pid', 'init');
    else if (creation.waits) sendPid(launcher, 'init');
  }
  if (creation.outerLimits) grantRlimits(launcher, spec.process, 'init-pid', 'init');
  if (context.supervise === true && context.removal !== undefined)
    superviseAndRemove(launcher, context.removal, 'init-pid');
  else leaveOrStay(launcher, context.supervise, 'init-pid');

  runInit(init, creation);
  return planOf([launcher, ...helpers, ...(staged ? [stage] : []), init], context);
}

/** A destination may name its place by the root's path on the host: older clients do so, and other runtimes take it. */
function withPlainDestinations(spec: OciSpec, context: CreateContext): OciSpec {
  const root = `${posix.resolve(context.bundle, spec.root.path)}/`;
  if (root === '//' || spec.mounts?.some(({ destination }) => destination.startsWith(root)) !== true)
    return spec;
  const mounts = spec.mounts.map((mount) =>
    mount.destination.startsWith(root)
      ? { ...mount, destination: mount.destination.slice(root.length - 1) }
      : mount,
  );
  return { ...spec, mounts };
}

function check(spec: OciSpec, context: CreateContext): void {
  checkDescriptors(context);
  if (context.networkMade === true && spec.linux?.namespaces?.some(({ type }) => type === 'user') === true)
    throw new CompileError(
      'linux.namespaces',
      'has a user namespace, and its network namespace is not its own',
    );
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
  if (context.cgroupLater !== true) openCgroups(launcher, context);
  openNamespaces(launcher, namespaces);
}

function tellPid(launcher: ProgramBuilder): void {
  launcher.add({ op: 'send', what: "tell the container's pid", tag: TAG.pid, register: 'init-pid' });
}

/** As late as this process has to. */
function openCgroupsLater(launcher: ProgramBuilder, context: CreateContext, namespaces: NamespacePlan): void {
  if (context.cgroupLater !== true || (context.cgroup ?? context.resctrlTasks) === undefined) return;
  if (entersByItself(context, namespaces)) return;
  awaitCgroup(launcher);
  openCgroups(launcher, context);
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
  tellPid(launcher);
  // Over the socket of the stage, which the first process has taken over.
  sendPid(launcher, 'stage');

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
    hint: NO_PROCESS,
    // The launcher's child, like any other first process: it may have to wait for it.
    flags: cloneFlags(types) | 0x8000n,
    child: 'init',
    result: 'init-pid',
  });
  stage.add({
    op: 'send',
    what: "tell the container's pid",
    tag: PEER.pid,
    peer: 'launcher',
    register: 'init-pid',
  });
  stage.add({ op: 'exit', what: 'leave', status: 0 });
}
