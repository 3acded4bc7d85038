/** Checks of what keeps a container from taking the machine from its neighbours: cgroup limits, priorities, settings of the host. */
import type { Check } from '../check.js';
import type { Subject } from '../subject.js';

/** A limit of cgroup v2 as linux.resources.unified may have it: a number, and not `max`. */
function unified({ spec }: Subject, file: string): boolean {
  const text = spec.linux?.resources?.unified?.[file];
  return text !== undefined && /^\s*\d/.test(text);
}

export function limitsMemory(subject: Subject): boolean {
  return (subject.spec.linux?.resources?.memory?.limit ?? 0) > 0 || unified(subject, 'memory.max');
}

export function limitsPids(subject: Subject): boolean {
  return (subject.spec.linux?.resources?.pids?.limit ?? 0) > 0 || unified(subject, 'pids.max');
}

export function limitsCpu(subject: Subject): boolean {
  const cpu = subject.spec.linux?.resources?.cpu;
  return (
    (cpu?.quota ?? 0) > 0 ||
    (cpu?.cpus ?? '') !== '' ||
    unified(subject, 'cpu.max') ||
    unified(subject, 'cpuset.cpus')
  );
}

/** Settings that are a namespace's (namespaces(7)), and so the host's where that is not the container's own. */
function hostSysctls({ spec, namespaces }: Subject): string[] {
  return Object.keys(spec.linux?.sysctl ?? {}).filter((key) => {
    const name = key.replaceAll('/', '.');
    if (name.startsWith('net.')) return namespaces.network === 'host';
    if (/^(kernel\.(msg|sem|shm)|fs\.mqueue\.)/.test(name)) return namespaces.ipc === 'host';
    if (/^kernel\.(hostname|domainname)$/.test(name)) return namespaces.uts === 'host';
    return true;
  });
}

export const RESOURCE_CHECKS: readonly Check[] = [
  {
    id: 'host-sysctl',
    severity: 'high',
    title: "settings of the host's kernel are changed",
    why: 'They count for every program on the machine.',
    recommendation: 'set only what belongs to a namespace that the container has for itself',
    found: hostSysctls,
  },
  {
    id: 'no-pids-limit',
    severity: 'medium',
    title: 'no limit of processes',
    why: 'A loop of forks leaves no process for anybody else on the machine.',
    recommendation: 'set linux.resources.pids.limit',
    option: '--pids-limit 4096',
    found: (subject) => !limitsPids(subject),
  },
  {
    id: 'no-memory-limit',
    severity: 'medium',
    title: 'no limit of memory',
    why: 'The kernel ends programs elsewhere when this one takes all memory.',
    recommendation: 'set linux.resources.memory.limit',
    option: '--memory 512m',
    found: (subject) => !limitsMemory(subject),
  },
  {
    id: 'no-cpu-limit',
    severity: 'low',
    title: 'no limit of processor time',
    why: 'Neighbours get no more than their share of what it leaves.',
    recommendation: 'set linux.resources.cpu.quota and period',
    option: '--cpus 1.5',
    found: (subject) => !limitsCpu(subject),
  },
  {
    id: 'protected-from-oom',
    severity: 'medium',
    title: 'when memory runs out, others go first',
    why: "The kernel spares the container's processes and ends programs of the host in their stead, or stops the container for ever.",
    recommendation: 'leave oomScoreAdj at 0 or above, and the OOM killer on',
    option: 'no --oom-kill-disable; --oom-score-adj 0',
    found: ({ spec }) =>
      (spec.process?.oomScoreAdj ?? 0) < 0 || spec.linux?.resources?.memory?.disableOOMKiller === true,
  },
  {
    id: 'realtime',
    severity: 'medium',
    title: 'real-time priority',
    why: 'A busy loop at such a priority stops all ordinary programs on its processors.',
    recommendation: 'use an ordinary scheduling policy and I/O class',
    found: ({ spec }) => {
      const policy = spec.process?.scheduler?.policy;
      const realtime = policy === 'SCHED_FIFO' || policy === 'SCHED_RR' || policy === 'SCHED_DEADLINE';
      return realtime || spec.process?.ioPriority?.class === 'IOPRIO_CLASS_RT';
    },
  },
];
