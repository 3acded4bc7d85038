/** `exec`: another process in a container that runs. The plan joins the namespaces of its first process; nothing is remembered of it. */
import { readFileSync, statSync } from 'node:fs';
import type { FileDescriptor } from '../../sys/fd.js';
import { Cgroup } from '../cgroup/cgroup.js';
import type { ConsoleSocket, ExecContext } from '../compile/context.js';
import { compileExec } from '../compile/exec.js';
import { TAG } from '../compile/tags.js';
import type { Plan } from '../plan/plan.js';
import { cachedSeccomp } from '../seccomp/cache.js';
import { NAMESPACE_TYPES, NAMESPACES, type NamespaceType } from '../spec/namespaces.js';
import { parseNumberList } from '../spec/policies.js';
import type { OciProcess, OciSpec } from '../spec/types.js';
import { parseOnce } from './bundle.js';
import { checkTerminal, newPair } from './create.js';
import { driveUntil, expectLeft, finalStatus, type Stdio, startLaunch } from './drive.js';
import type { RuntimeEnvironment, RuntimeLog } from './environment.js';
import { ContainerStatusError, ExecError } from './errors.js';
import { type HandedDescriptors, handedDescriptors } from './handed-descriptors.js';
import { homeOf } from './home.js';
import { cgroupContext, hostFacts } from './host.js';
import { writePidFile } from './pid-file.js';
import { openPidfd, sendPidfd } from './pidfd.js';
import { type ProcessName, processInfo } from './process-info.js';
import type { ContainerRecord } from './record.js';
import { cgroupOf, statusOf } from './status.js';
import type { ContainerFolder } from './store.js';
import { subCgroup } from './sub-cgroup.js';
import { ownTerminalSize, type TerminalSize } from './terminal-size.js';

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
  return parseOnce(folder.readConfig());
}

/** What depends on who executes the plan. */
export interface ExecPlace {
  readonly handed: HandedDescriptors;
  /** The launcher's descriptor for the pidfd of the container's first process. */
  readonly pidfdAt: number;
  /** The size that a terminal begins with where nobody gives one. */
  readonly terminalSize?: () => TerminalSize | undefined;
  /** Where the master of a terminal goes. May refuse. */
  console(terminal: boolean): ConsoleSocket | undefined;
  /** Called when nothing but an error can keep the launch from its plan. */
  begin?(): void;
}

export interface PlannedExec extends Disposable {
  readonly plan: Plan;
  /** Of the container's first process. */
  readonly pidfd: FileDescriptor;
  readonly started: StartedProcess;
}

/** @throws ContainerStatusError, CompileError, and what `choose` and `place` throw */
export function planExec(
  environment: RuntimeEnvironment,
  folder: ContainerFolder,
  record: ContainerRecord,
  choose: (spec: OciSpec) => OciProcess,
  options: ExecOptions,
  place: ExecPlace,
): PlannedExec {
  const init = runningInit(folder, record, options.ignorePaused === true);
  const spec = containerSpec(folder);
  const chosen = choose(spec);
  // A program that asks for the size at once must not be told zero.
  const consoleSize =
    chosen.consoleSize ??
    (chosen.terminal === true && options.detach !== true ? place.terminalSize?.() : undefined);
  const process = consoleSize === undefined ? chosen : { ...chosen, consoleSize };
  checkTerminal(process.terminal === true, options.detach === true, options.consoleSocket);
  const { handed, pidfdAt } = place;
  const console = place.console(process.terminal === true);
  place.begin?.();
  const pidfd = openPidfd(init);
  try {
    const base = cgroupOf(record);
    const cgroup = base === undefined ? undefined : subCgroup(base, options.cgroups ?? []);
    const context = cgroupContext(cgroup === undefined ? undefined : new Cgroup(cgroup), undefined);
    const home = homeOf(record.rootfs, process);
    const seccomp = spec.linux?.seccomp;
    const execContext: ExecContext = {
      id: record.id,
      host: hostFacts(),
      control: 3 + handed.count,
      preserveFds: handed.count,
      pid: init.pid,
      pidfd: pidfdAt,
      namespaces: foreignNamespaces(init.pid),
      setgroupsDenied: readFileSync(`/proc/${init.pid}/setgroups`, 'utf8').startsWith('deny'),
      supervise: options.detach !== true,
      newKeyring: record.newKeyring,
      environment: handed.environment,
      warn: (message) => environment.log.warn(message),
      ...(console === undefined ? {} : { console }),
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
    const started = new StartedProcess(process.args[0] ?? '', init.pid, log);
    return { plan, pidfd, started, [Symbol.dispose]: () => pidfd[Symbol.dispose]() };
  } catch (error) {
    pidfd[Symbol.dispose]();
    throw error;
  }
}

/** What a launch of `exec` tells. */
export class StartedProcess {
  #name: ProcessName | undefined;
  #ready = false;

  constructor(
    readonly program: string,
    /** The container's first process. */
    readonly init: number,
    readonly log: RuntimeLog,
  ) {}

  readonly handle = async (tag: number, value: number): Promise<undefined> => {
    if (tag === TAG.pid) this.log.debug(`child process in init(): pid ${value}`);
    if (tag === TAG.ready) this.log.debug(`setns_init: about to exec ${this.program}`);
    // The launcher's word is the first: whoever in the container may trace the process could have its socket, too.
    if (tag === TAG.pid) this.#name ??= processInfo(value) ?? { pid: value, startTime: '0' };
    if (tag === TAG.ready) this.#ready = true;
  };

  /** It runs, or is about to. */
  get ready(): boolean {
    return this.#ready && this.#name !== undefined;
  }

  /** Tells who wants to know. @throws ExecError when there is nothing to tell of */
  announce({ pidfdSocket, pidFile }: ExecOptions): void {
    if (this.#name === undefined) throw new ExecError('the process ended while it was being started');
    if ((pidfdSocket ?? pidFile) !== undefined && !sharesPids(this.#name.pid, this.init))
      throw new ExecError(`process ${this.#name.pid} is none of the container's`);
    if (pidfdSocket !== undefined) sendPidfd(pidfdSocket, this.#name);
    if (pidFile !== undefined) writePidFile(pidFile, this.#name.pid);
  }
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
  const { consoleSocket } = options;
  const handed = handedDescriptors(options.preserveFds ?? 0);
  const control = 3 + handed.count;
  let ownTerminal = false;
  using planned = planExec(environment, folder, record, choose, options, {
    handed,
    pidfdAt: control + 2,
    terminalSize: ownTerminalSize,
    console: (terminal) => {
      ownTerminal = terminal && consoleSocket === undefined;
      if (ownTerminal) return { descriptor: control + 1 };
      return consoleSocket === undefined ? undefined : { path: consoleSocket };
    },
  });
  const detached = options.detach === true;
  using pair = ownTerminal ? await newPair() : undefined;
  const foreground = detached ? undefined : await import('./foreground.js');
  using signals = foreground === undefined ? undefined : new foreground.SignalForwarder();
  using launched = startLaunch(planned.plan, {
    preserveFds: handed.count,
    descriptors: new Map([
      ...(pair === undefined ? [] : ([[control + 1, pair.launcherEnd.fd]] as const)),
      [control + 2, planned.pidfd.fd],
    ]),
    ...(options.stdio === undefined ? {} : { stdio: options.stdio }),
  });
  if (signals !== undefined) signals.target = launched.pid;
  const { started } = planned;
  await driveUntil(launched, started.handle, () => !detached && started.ready);
  if (detached) expectLeft(launched);
  started.announce(options);
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

/** Whether two processes are in one pid namespace, as far as one may look: one that has ended is in none. */
function sharesPids(one: number, other: number): boolean {
  try {
    return statSync(`/proc/${one}/ns/pid`).ino === statSync(`/proc/${other}/ns/pid`).ino;
  } catch {
    return true;
  }
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
