/** `exec`: another process in a container that runs. The plan joins the namespaces of its first process; nothing is remembered of it. */
import { readFileSync, statSync } from 'node:fs';
import { Cgroup } from '../cgroup/cgroup.js';
import type { ExecContext } from '../compile/context.js';
import { compileExec } from '../compile/exec.js';
import { TAG } from '../compile/tags.js';
import { cachedSeccomp } from '../seccomp/cache.js';
import { NAMESPACE_TYPES, NAMESPACES, type NamespaceType } from '../spec/namespaces.js';
import { parseSpec } from '../spec/parse.js';
import { parseNumberList } from '../spec/policies.js';
import type { OciProcess, OciSpec } from '../spec/types.js';
import { checkTerminal, handedDescriptors, newPair } from './create.js';
import { driveUntil, expectLeft, finalStatus, type Stdio, startLaunch } from './drive.js';
import type { RuntimeEnvironment } from './environment.js';
import { ContainerStatusError, ExecError } from './errors.js';
import { homeOf } from './home.js';
import { cgroupContext, hostFacts } from './host.js';
import { writePidFile } from './pid-file.js';
import { openPidfd, sendPidfd } from './pidfd.js';
import { type ProcessName, processInfo } from './process-info.js';
import type { ContainerRecord } from './record.js';
import { cgroupOf, statusOf } from './status.js';
import type { ContainerFolder } from './store.js';
import { subCgroup } from './sub-cgroup.js';
import { ownTerminalSize } from './terminal-size.js';

export interface ExecOptions {
  readonly detach?: boolean;
  readonly consoleSocket?: string;
  readonly pidfdSocket?: string;
  readonly pidFile?: string;
  readonly preserveFds?: number;
  readonly ignorePaused?: boolean;
  /** Cgroups below the container's: `path`, or `controller,controller:path`. */
  readonly cgroups?: readonly string[];
  readonly stdio?: Stdio;
}

/** The configuration that the container was created with. @throws SpecError */
export function containerSpec(folder: ContainerFolder): OciSpec {
  return parseSpec(folder.readConfig());
}

/**
 * Runs a process. Detached it returns when the program runs, else when it has ended.
 *
 * @param choose makes the process of the container's configuration
 * @returns the exit status: 0 when detached
 * @throws ContainerStatusError, ExecError, LaunchError, CompileError
 */
export async function execInContainer(
  environment: RuntimeEnvironment,
  folder: ContainerFolder,
  record: ContainerRecord,
  choose: (spec: OciSpec) => OciProcess,
  options: ExecOptions,
): Promise<number> {
  const init = runningInit(folder, record, options.ignorePaused === true);
  const spec = containerSpec(folder);
  const detached = options.detach === true;
  const chosen = choose(spec);
  // A program that asks for the size at once must not be told zero.
  const consoleSize =
    chosen.consoleSize ?? (chosen.terminal === true && !detached ? ownTerminalSize() : undefined);
  const process = consoleSize === undefined ? chosen : { ...chosen, consoleSize };
  checkTerminal(process.terminal === true, detached, options.consoleSocket);
  const handed = handedDescriptors(options.preserveFds ?? 0);
  const control = 3 + handed.count;
  using pair = process.terminal === true && options.consoleSocket === undefined ? await newPair() : undefined;
  using pidfd = openPidfd(init);
  const base = cgroupOf(record);
  const cgroup = base === undefined ? undefined : subCgroup(base, options.cgroups ?? []);
  const context = cgroupContext(cgroup === undefined ? undefined : new Cgroup(cgroup), undefined);
  const home = homeOf(record.rootfs, process);
  const seccomp = spec.linux?.seccomp;
  const execContext: ExecContext = {
    id: record.id,
    host: hostFacts(),
    control,
    preserveFds: handed.count,
    pid: init.pid,
    pidfd: control + 2,
    namespaces: foreignNamespaces(init.pid),
    setgroupsDenied: readFileSync(`/proc/${init.pid}/setgroups`, 'utf8').startsWith('deny'),
    supervise: !detached,
    newKeyring: record.newKeyring,
    environment: handed.environment,
    warn: (message) => environment.log.warn(message),
    ...(options.consoleSocket !== undefined
      ? { console: { path: options.consoleSocket } }
      : pair === undefined
        ? {}
        : { console: { descriptor: control + 1 } }),
    ...(context === undefined ? {} : { cgroup: context }),
    ...(record.resctrl === undefined ? {} : { resctrlTasks: record.resctrl.tasks }),
    ...(seccomp === undefined ? {} : { seccomp: cachedSeccomp(seccomp, '/linux/seccomp') }),
    ...(home === undefined ? {} : { home }),
  };
  const plan = compileExec(process, execContext, { ...spec, bundle: record.bundle });
  const { log } = environment;
  // The stages have the names by which readers of runc's log know them.
  log.debug(`nsexec container setup: joins ${execContext.namespaces.join(', ') || 'no'} namespaces`);
  if (execContext.seccomp !== undefined) log.debug(`seccomp filter flags: ${execContext.seccomp.flags}`);
  const cpus = process.execCPUAffinity?.initial;
  if (cpus !== undefined) log.debug(`nsexec: affinity: ${affinityMask(cpus)}`);
  const foreground = detached ? undefined : await import('./foreground.js');
  using signals = foreground === undefined ? undefined : new foreground.SignalForwarder();
  using launched = startLaunch(plan, {
    preserveFds: handed.count,
    descriptors: new Map([
      ...(pair === undefined ? [] : ([[control + 1, pair.launcherEnd.fd]] as const)),
      [control + 2, pidfd.fd],
    ]),
    ...(options.stdio === undefined ? {} : { stdio: options.stdio }),
  });
  if (signals !== undefined) signals.target = launched.pid;
  let started: ProcessName | undefined;
  let ready = false;
  const handle = async (tag: number, value: number): Promise<undefined> => {
    if (tag === TAG.pid) log.debug(`child process in init(): pid ${value}`);
    if (tag === TAG.ready) log.debug(`setns_init: about to exec ${process.args[0]}`);
    if (tag === TAG.pid) started = processInfo(value) ?? { pid: value, startTime: '0' };
    if (tag === TAG.ready) ready = true;
  };
  await driveUntil(launched, handle, () => !detached && ready && started !== undefined);
  if (detached) expectLeft(launched);
  if (started === undefined) throw new ExecError('the process ended while it was being started');
  if (options.pidfdSocket !== undefined) sendPidfd(options.pidfdSocket, started);
  if (options.pidFile !== undefined) writePidFile(options.pidFile, started.pid);
  if (foreground === undefined) {
    launched.release();
    return 0;
  }
  await using _proxy = pair === undefined ? undefined : await pair.join();
  await foreground.waitClosed(launched);
  return finalStatus(launched);
}

/** `0x5` for the CPUs 0 and 2. */
function affinityMask(cpus: string): string {
  const mask = (parseNumberList(cpus) ?? []).reduce((sum, cpu) => sum | (1n << BigInt(cpu)), 0n);
  return `0x${mask.toString(16)}`;
}

function runningInit(folder: ContainerFolder, record: ContainerRecord, evenPaused: boolean): ProcessName {
  const status = statusOf(folder, record);
  if (status === 'stopped' || status === 'creating' || record.init === undefined)
    throw new ContainerStatusError(`cannot exec in a ${status} container`);
  if (status === 'paused' && !evenPaused)
    throw new ContainerStatusError('cannot exec in a paused container (use --ignore-paused to override)');
  return record.init;
}

/** Namespaces of a process that are not this one's. */
function foreignNamespaces(pid: number): NamespaceType[] {
  return NAMESPACE_TYPES.filter((type) => {
    const { file } = NAMESPACES[type];
    const theirs = statSync(`/proc/${pid}/ns/${file}`, { throwIfNoEntry: false });
    const ours = statSync(`/proc/self/ns/${file}`, { throwIfNoEntry: false });
    return theirs !== undefined && theirs.ino !== ours?.ino;
  });
}
