/**
 * Capabilities (capabilities(7)) by what they are worth to somebody who wants out, and the checks made of that. Over a user namespace of
 * the container's own they are worth less: they count for what it owns, and for the kernel code that they open.
 */
import type { Check } from '../check.js';
import type { Subject } from '../subject.js';
import type { Severity } from '../types.js';

/** What a capability of the host amounts to; those that are not here are what services ordinarily need. */
export const CAPABILITY_SEVERITY: Readonly<Record<string, Severity>> = {
  CAP_SYS_ADMIN: 'critical',
  CAP_SYS_MODULE: 'critical',
  CAP_SYS_RAWIO: 'critical',
  CAP_BPF: 'high',
  CAP_DAC_READ_SEARCH: 'high',
  CAP_MAC_ADMIN: 'high',
  CAP_MAC_OVERRIDE: 'high',
  CAP_AUDIT_CONTROL: 'medium',
  CAP_AUDIT_READ: 'medium',
  CAP_CHECKPOINT_RESTORE: 'medium',
  CAP_NET_ADMIN: 'medium',
  CAP_PERFMON: 'medium',
  CAP_SYSLOG: 'medium',
  CAP_SYS_BOOT: 'medium',
  CAP_SYS_PACCT: 'medium',
  CAP_SYS_PTRACE: 'medium',
  CAP_SYS_RESOURCE: 'medium',
  CAP_SYS_TIME: 'medium',
  CAP_SYS_TTY_CONFIG: 'medium',
  CAP_BLOCK_SUSPEND: 'low',
  CAP_DAC_OVERRIDE: 'low',
  CAP_IPC_LOCK: 'low',
  CAP_IPC_OWNER: 'low',
  CAP_LEASE: 'low',
  CAP_LINUX_IMMUTABLE: 'low',
  CAP_MKNOD: 'low',
  CAP_NET_RAW: 'low',
  CAP_SETFCAP: 'low',
  CAP_SYS_NICE: 'low',
  CAP_WAKE_ALARM: 'low',
};

function held(subject: Subject, severity: Severity): string[] {
  return [...subject.capabilities].filter((name) => CAPABILITY_SEVERITY[name] === severity).sort();
}

/** Whether capabilities are over the host: user namespaces that map its root still bound them. */
function overHost({ namespaces, facts }: Subject): boolean {
  return namespaces.user === 'host' && !facts.rootless;
}

const has = ({ capabilities }: Subject, name: string) => capabilities.has(name);

export const CAPABILITY_CHECKS: readonly Check[] = [
  {
    id: 'capabilities-own-the-host',
    severity: 'critical',
    title: 'capabilities that are as good as being the host',
    why: 'They mount file systems, load kernel modules or reach the hardware: each is enough to take the host over.',
    recommendation: 'drop them; where a program needs one, look for the narrower one that replaced it',
    option: '--cap-drop NAME',
    found: (subject) => (overHost(subject) ? held(subject, 'critical') : []),
  },
  {
    id: 'ptrace-host-processes',
    severity: 'critical',
    title: "CAP_SYS_PTRACE over the host's processes",
    why: 'Any process of the host can be made to execute anything.',
    recommendation: 'add a namespace of type pid, or drop the capability',
    option: 'no --pid host, or --cap-drop SYS_PTRACE',
    found: (subject) =>
      overHost(subject) && subject.namespaces.pid === 'host' && has(subject, 'CAP_SYS_PTRACE'),
  },
  {
    id: 'capabilities-powerful',
    severity: 'high',
    title: 'capabilities that reach past the container',
    why: "They read any file of the host's file system by its handle, run programs in the kernel or override its mandatory rules.",
    recommendation: 'drop them',
    option: '--cap-drop NAME',
    found: (subject) => (overHost(subject) ? held(subject, 'high') : []),
  },
  {
    id: 'administer-host-network',
    severity: 'high',
    title: "CAP_NET_ADMIN over the host's network",
    why: 'It can redirect, filter and listen to all traffic of the host.',
    recommendation: 'add a namespace of type network, or drop the capability',
    option: 'no --network host, or --cap-drop NET_ADMIN',
    found: (subject) =>
      overHost(subject) && subject.namespaces.network === 'host' && has(subject, 'CAP_NET_ADMIN'),
  },
  {
    id: 'capabilities-of-administrators',
    severity: 'medium',
    title: 'capabilities that ordinary services do not need',
    why: "They change or reveal what belongs to the whole machine, its clock and log among them, or lift the container's limits.",
    recommendation: 'drop those that the program does not use',
    option: '--cap-drop NAME',
    found: (subject) => (overHost(subject) ? held(subject, 'medium') : []),
  },
  {
    id: 'capabilities-in-user-namespace',
    severity: 'medium',
    title: "capabilities that open much of the kernel's code, over the container's own user namespace",
    why: 'They count only for what the container owns, but most holes of the last years were in code that these alone reach.',
    recommendation: 'drop those that the program does not use',
    option: '--cap-drop NAME',
    found: (subject) => (overHost(subject) ? [] : [...held(subject, 'critical'), ...held(subject, 'high')]),
  },
  {
    id: 'capabilities-convenient',
    severity: 'low',
    title: 'capabilities that most programs run without',
    why: 'They forge packets, make device nodes, or pass by the permissions of files.',
    recommendation: 'start from none and add what the program asks for',
    option: '--cap-drop all --cap-add NAME',
    found: (subject) => (overHost(subject) ? held(subject, 'low') : []),
  },
  {
    id: 'inheritable-capabilities',
    severity: 'low',
    title: 'inheritable capabilities',
    why: 'Files with inheritable capabilities of their own give them to users who should not have them.',
    recommendation: 'leave process.capabilities.inheritable empty, unless there are ambient ones',
    found: ({ spec }) => {
      const sets = spec.process?.capabilities;
      const ambient = new Set(sets?.ambient ?? []);
      return (sets?.inheritable ?? []).filter((name) => !ambient.has(name));
    },
  },
];
