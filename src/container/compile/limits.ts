/**
 * What a process may use and how it is scheduled (config.md, "POSIX process", "Linux Process"; config-linux.md, "Memory policy", "Personality").
 * All of it before privileges are dropped; resource limits last, since they bind the launch itself.
 */
import {
  bitMask,
  IO_PRIORITY_CLASSES,
  IO_PRIORITY_SHIFT,
  MEMORY_POLICY_FLAGS,
  MEMORY_POLICY_MODES,
  parseNumberList,
  SCHEDULER_FLAGS,
  SCHEDULER_POLICIES,
} from '../spec/policies.js';
import { RLIM_INFINITY, RLIMITS } from '../spec/rlimits.js';
import type { OciLinux, OciProcess, OciRlimit } from '../spec/types.js';
import { data, NULL, named, type ProgramBuilder, register } from './builder.js';
import type { HostFacts } from './context.js';
import { PER } from './numbers.js';
import { PEER } from './tags.js';

/** Of the launcher, whose children inherit it: only it is allowed to lower it, and its own files in /proc are its own. */
export function setOomScore(
  launcher: ProgramBuilder,
  process: OciProcess | undefined,
  host: HostFacts,
): void {
  if (process?.oomScoreAdj === undefined) return;
  launcher.writeFile(
    `set oom_score_adj to ${process.oomScoreAdj}`,
    'proc',
    'self/oom_score_adj',
    String(process.oomScoreAdj),
    {
      hint: 'Only root may lower it.',
      // As everywhere: without root a lower score than the caller's is asked for in vain.
      ...(host.rootless || host.userNamespace === true ? { allow: ['EACCES', 'EPERM'] } : {}),
    },
  );
}

function limitText(value: bigint): string {
  return value === RLIM_INFINITY ? 'unlimited' : value.toString();
}

function setRlimit(
  program: ProgramBuilder,
  { type, soft, hard }: OciRlimit,
  pid?: string,
  allow: { readonly allow?: readonly string[]; readonly result?: string } = {},
): void {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, soft, true);
  view.setBigUint64(8, hard, true);
  const text = `{${limitText(soft)}, ${limitText(hard)}}`;
  program.call(
    `set ${type} to ${limitText(soft)} (hard ${limitText(hard)})`,
    'prlimit64',
    [pid === undefined ? 0 : register(pid), named(RLIMITS[type], type), data({ bytes, text }), NULL],
    {
      hint: 'A hard limit can be raised only with CAP_SYS_RESOURCE in the initial user namespace.',
      ...allow,
    },
  );
}

/** Sets the limits of this process, or of the one whose pid a register has. */
export function setRlimits(program: ProgramBuilder, process: OciProcess | undefined, pid?: string): void {
  for (const rlimit of process?.rlimits ?? []) setRlimit(program, rlimit, pid);
}

/** Descriptors that a process needs to start another. */
const ROOM = 256n;

/** Whether a limit would keep a process from starting the one that it is meant for. */
function bindsParent({ type, soft }: OciRlimit): boolean {
  return type === 'RLIMIT_NPROC' || (type === 'RLIMIT_NOFILE' && soft < ROOM);
}

/**
 * Sets the limits of this process for the child that it is about to start as the container's user: with room for both of them where they are
 * counted. The child calls {@link setNarrowRlimits}.
 */
export function setRlimitsForChild(program: ProgramBuilder, { rlimits = [] }: OciProcess): void {
  const oneMore = (value: bigint) => (value === RLIM_INFINITY ? value : value + 1n);
  for (const rlimit of rlimits) {
    const { type, soft, hard } = rlimit;
    if (!bindsParent(rlimit)) setRlimit(program, rlimit);
    else if (type === 'RLIMIT_NPROC') {
      const wider = { type, soft: oneMore(soft), hard: oneMore(hard) };
      setRlimit(program, wider, undefined, { allow: ['EPERM'], result: 'wider' });
      // The caller's own limit is this very one.
      program.unless('not-negative', 'wider', 'wider', () => setRlimit(program, rlimit));
    }
  }
}

/** What {@link setRlimitsForChild} has left: lower limits, for which nobody needs a privilege. */
export function setNarrowRlimits(program: ProgramBuilder, { rlimits = [] }: OciProcess): void {
  for (const rlimit of rlimits) if (bindsParent(rlimit)) setRlimit(program, rlimit);
}

/** Has the launcher set them, who stands outside of the user namespace and may raise them. */
export function askForRlimits(init: ProgramBuilder, process: OciProcess | undefined): void {
  if ((process?.rlimits ?? []).length === 0) return;
  const what = 'get the resource limits set';
  init.add({ op: 'send', what, tag: PEER.limits, peer: 'launcher' });
  init.add({ op: 'receive', what, tag: PEER.limits, peer: 'launcher' });
}

/** The launcher's side of {@link askForRlimits}. */
export function grantRlimits(
  launcher: ProgramBuilder,
  process: OciProcess | undefined,
  pid: string,
  peer: string,
): void {
  if ((process?.rlimits ?? []).length === 0) return;
  launcher.add({ op: 'receive', what: 'wait for the mounts', tag: PEER.limits, peer });
  setRlimits(launcher, process, pid);
  launcher.add({ op: 'send', what: 'let the container go on', tag: PEER.limits, peer });
}

/** struct sched_attr, version 0 (sched_setattr(2)). */
const SCHED_ATTR_SIZE = 48;

/** Whether a scheduler is for the process alone: none of its children would have it, or it could have none. */
export function isScheduledAlone({ scheduler }: OciProcess): boolean {
  return (
    scheduler !== undefined &&
    (scheduler.policy === 'SCHED_DEADLINE' || (scheduler.flags ?? []).includes('SCHED_FLAG_RESET_ON_FORK'))
  );
}

/** Of this process, or of the one whose pid a register has. */
export function setScheduler(program: ProgramBuilder, process: OciProcess, pid?: string): void {
  const { scheduler } = process;
  if (scheduler === undefined) return;
  const bytes = new Uint8Array(SCHED_ATTR_SIZE);
  const view = new DataView(bytes.buffer);
  let flags = 0;
  for (const flag of scheduler.flags ?? []) flags |= SCHEDULER_FLAGS[flag];
  view.setUint32(0, SCHED_ATTR_SIZE, true);
  view.setUint32(4, SCHEDULER_POLICIES[scheduler.policy], true);
  view.setBigUint64(8, BigInt(flags), true);
  view.setInt32(16, scheduler.nice ?? 0, true);
  view.setUint32(20, scheduler.priority ?? 0, true);
  view.setBigUint64(24, scheduler.runtime ?? 0n, true);
  view.setBigUint64(32, scheduler.deadline ?? 0n, true);
  view.setBigUint64(40, scheduler.period ?? 0n, true);
  const text = `{${scheduler.policy}, nice ${scheduler.nice ?? 0}, priority ${scheduler.priority ?? 0}}`;
  program.call(
    `schedule by ${scheduler.policy}`,
    'sched_setattr',
    [pid === undefined ? 0 : register(pid), data({ bytes, text }), 0],
    {
      hint: "Real-time policies need CAP_SYS_NICE and, with cgroup v1, a share of cpu.rt_runtime_us; a SCHED_DEADLINE process scheduler can't be used together with AllowedCPUs (linux.resources.cpu.cpus).",
    },
  );
}

function setIoPriority(program: ProgramBuilder, process: OciProcess): void {
  const { ioPriority } = process;
  if (ioPriority === undefined) return;
  const value = (IO_PRIORITY_CLASSES[ioPriority.class] << IO_PRIORITY_SHIFT) | ioPriority.priority;
  program.call(`set the I/O priority to ${ioPriority.class} ${ioPriority.priority}`, 'ioprio_set', [
    named(1, 'IOPRIO_WHO_PROCESS'),
    0,
    named(value, `${ioPriority.class}|${ioPriority.priority}`),
  ]);
}

function setMemoryPolicy(program: ProgramBuilder, linux: OciLinux | undefined): void {
  const policy = linux?.memoryPolicy;
  if (policy === undefined) return;
  let mode: number = MEMORY_POLICY_MODES[policy.mode];
  for (const flag of policy.flags ?? []) mode |= MEMORY_POLICY_FLAGS[flag];
  const names = [policy.mode, ...(policy.flags ?? [])].join('|');
  const mask = policy.nodes === undefined ? undefined : bitMask(parseNumberList(policy.nodes) ?? []);
  program.call(
    `set the memory policy ${policy.mode}`,
    'set_mempolicy',
    [
      named(mode, names),
      mask === undefined ? NULL : data({ bytes: mask, text: `{nodes ${policy.nodes}}` }),
      // The kernel takes one bit less than it is told.
      mask === undefined ? 0 : mask.length * 8 + 1,
    ],
    { hint: 'The nodes must exist and be allowed by the cpuset.' },
  );
}

function setPersonality(program: ProgramBuilder, linux: OciLinux | undefined): void {
  const domain = linux?.personality?.domain;
  if (domain === undefined) return;
  program.call(`set the personality ${domain}`, 'personality', [named(PER[domain], `PER_${domain}`)]);
}

/** Scheduling, I/O priority, personality, memory policy. `others` is without the first. */
export function setScheduling(
  program: ProgramBuilder,
  process: OciProcess | undefined,
  linux: OciLinux | undefined,
  others = false,
): void {
  if (process !== undefined) {
    if (!others) setScheduler(program, process);
    setIoPriority(program, process);
  }
  setPersonality(program, linux);
  setMemoryPolicy(program, linux);
}

/** CPU affinity from a list such as `0-3,7`. */
export function setAffinity(program: ProgramBuilder, list: string | undefined): void {
  if (list === undefined) return;
  const mask = bitMask(parseNumberList(list) ?? []);
  program.call(
    `run on the CPUs ${list}`,
    'sched_setaffinity',
    [0, mask.length, data({ bytes: mask, text: `{CPUs ${list}}` })],
    { hint: 'At least one of the CPUs must be there and allowed by the cpuset.' },
  );
}

/** NR_CPUS of the largest kernels. */
const MAX_CPUS = 8192;
const EVERY_CPU = { bytes: new Uint8Array(MAX_CPUS / 8).fill(0xff), text: '{all CPUs}' } as const;

/** All CPUs of the cpuset that it is in by now: a mask of the caller's (a service with CPUAffinity=, taskset(1)) is not the container's. */
export function resetAffinity(program: ProgramBuilder): void {
  program.call(
    'run on every CPU of the cpuset',
    'sched_setaffinity',
    [0, EVERY_CPU.bytes.length, data(EVERY_CPU)],
    // Of a deadline scheduler's process, or under a seccomp filter of somebody else's: then it stays as it is.
    { allow: ['EBUSY', 'EINVAL', 'EPERM', 'ENOSYS'] },
  );
}
