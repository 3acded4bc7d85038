/**
 * Checks of the doors to the kernel: system calls, set-user-ID programs, /proc and /sys, devices, mandatory access control, and programs
 * that a bundle has run outside of the container.
 */
import type { OciDeviceRule } from '../../cgroup/resources.js';
import { type Check, milder } from '../check.js';
import { isReadonlyMount, type Subject } from '../subject.js';

/** What runtimes hide (runtime-spec, "Masked Paths"): the kernel's memory, keys, timers of others, firmware. */
export const TO_MASK = [
  '/proc/acpi',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/scsi',
  '/proc/timer_list',
  '/sys/firmware',
];
/** What they write-protect: settings of the whole machine. */
export const TO_PROTECT = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

/** Calls that an unprivileged program can use against the kernel, and that few programs miss. */
const RISKY_CALLS = ['add_key', 'io_uring_setup', 'keyctl', 'request_key', 'userfaultfd'];

/** Character devices by number (admin-guide/devices.txt): memory, kernel memory, ports. */
const MEMORY_DEVICES = ['1:1', '1:2', '1:4'];

/** `allow-list`: what is not named is refused. */
export function seccompKind({ spec }: Subject): 'none' | 'deny-list' | 'allow-list' {
  const action = spec.linux?.seccomp?.defaultAction;
  if (action === undefined) return 'none';
  return ['SCMP_ACT_ALLOW', 'SCMP_ACT_LOG', 'SCMP_ACT_TRACE'].includes(action) ? 'deny-list' : 'allow-list';
}

/** Whether a mandatory access control module of this kernel confines the container. */
export function isConfined({ spec, facts }: Subject): boolean {
  const profile = spec.process?.apparmorProfile;
  const label = spec.process?.selinuxLabel;
  const apparmor = profile !== undefined && profile !== '' && profile !== 'unconfined';
  const selinux = label !== undefined && label !== '' && !/:(spc_t|unconfined_t)(:|$)/.test(label);
  return (
    (apparmor && facts.securityModules.includes('apparmor')) ||
    (selinux && facts.securityModules.includes('selinux'))
  );
}

/** Whether a file system of that type is mounted and can be written. */
export function mountsWritable({ spec }: Subject, ...types: string[]): string[] {
  const mounts = (spec.mounts ?? []).filter((mount) => types.includes(mount.type ?? ''));
  return mounts.filter((mount) => !isReadonlyMount(mount)).map((mount) => mount.destination);
}

function isEverything(rule: OciDeviceRule): boolean {
  const all = (number: number | undefined) => number === undefined || number === -1;
  return (rule.type ?? 'a') === 'a' && all(rule.major) && all(rule.minor);
}

/** Whether the list of device rules, the last one winning, leaves all devices open. */
function allowsAllDevices({ spec }: Subject): boolean {
  const rule = spec.linux?.resources?.devices?.findLast(isEverything);
  return rule?.allow === true && /[rw]/.test(rule.access ?? 'rwm');
}

/** Device nodes in the container, those bound from the host without their numbers. */
function devices({ spec, hostMounts }: Subject): { dangerous: string[]; others: string[] } {
  const dangerous: string[] = [];
  const others: string[] = [];
  for (const device of spec.linux?.devices ?? []) {
    const number = `${device.major}:${device.minor}`;
    if (device.type === 'b' || MEMORY_DEVICES.includes(number)) dangerous.push(device.path);
    else if (device.type !== 'p') others.push(device.path);
  }
  for (const { source } of hostMounts) {
    if (/^\/dev\/(mem|kmem|port|sd|vd|xvd|nvme|loop|dm-|mapper\/|md\d|disk\/)/.test(source))
      dangerous.push(source);
    else if (
      /^\/dev\/./.test(source) &&
      !/^\/dev\/(full|null|random|tty|urandom|zero|shm|mqueue)$/.test(source)
    )
      others.push(source);
  }
  return { dangerous, others };
}

export const KERNEL_CHECKS: readonly Check[] = [
  {
    id: 'no-seccomp',
    severity: 'high',
    title: 'no filter of system calls',
    why: 'All of the kernel can be called, the parts with the holes of tomorrow included.',
    recommendation: "set linux.seccomp to an allow-list: tvmm run's default profile is one",
    option: 'no --security-opt seccomp=unconfined',
    found: (subject) => seccompKind(subject) === 'none',
  },
  {
    id: 'seccomp-deny-list',
    severity: 'medium',
    title: 'the filter of system calls refuses only what it names',
    why: 'Calls that its author did not think of, and every new one, go through.',
    recommendation: 'use a profile whose default action is SCMP_ACT_ERRNO',
    option: '--security-opt seccomp=FILE',
    found: (subject) => seccompKind(subject) === 'deny-list',
  },
  {
    id: 'risky-system-calls',
    severity: 'low',
    title: 'the filter lets through calls that attacks on the kernel like to use',
    why: "They reach much kernel code, or hold it still at the right moment, and keyrings are not the container's own.",
    recommendation: 'take them out of the profile, unless the program needs them',
    option: '--security-opt seccomp=FILE',
    found: (subject) => {
      if (seccompKind(subject) !== 'allow-list') return [];
      const rules = (subject.spec.linux?.seccomp?.syscalls ?? []).filter(
        (rule) => rule.action === 'SCMP_ACT_ALLOW',
      );
      return RISKY_CALLS.filter((name) => rules.some((rule) => rule.names.includes(name)));
    },
  },
  {
    id: 'new-privileges',
    severity: 'medium',
    title: 'programs can gain privileges',
    why: 'A set-user-ID program, or one with file capabilities, gives what the process did not have.',
    recommendation: 'set process.noNewPrivileges',
    option: 'no --security-opt no-new-privileges=false',
    found: ({ noNewPrivileges }) => !noNewPrivileges,
  },
  {
    id: 'writable-kernel-settings',
    severity: ({ hostRoot }) => (hostRoot ? 'critical' : 'low'),
    title: "the host's kernel settings are writable",
    why: "The host's root, even without capabilities, may write /proc/sys/kernel/core_pattern, and the kernel runs what it names.",
    recommendation: 'put /proc/sys among linux.readonlyPaths',
    found: (subject) =>
      mountsWritable(subject, 'proc').length > 0 && !subject.isReadonly('/proc/sys') && ['/proc/sys'],
  },
  {
    id: 'writable-proc',
    severity: ({ hostRoot }) => (hostRoot ? 'high' : 'low'),
    title: 'parts of /proc that act on the whole machine are writable',
    why: 'They restart the machine, and steer interrupts, file systems and buses.',
    recommendation: 'put them among linux.readonlyPaths',
    found: (subject) => {
      if (mountsWritable(subject, 'proc').length === 0) return [];
      return TO_PROTECT.filter((path) => path !== '/proc/sys' && !subject.isReadonly(path));
    },
  },
  {
    id: 'unmasked-paths',
    severity: ({ hostRoot }) => (hostRoot ? 'medium' : 'low'),
    title: 'files that tell of the host are not masked',
    why: 'They hold keys, addresses of the kernel and timers of other containers, which make attacks easier.',
    recommendation: 'put them among linux.maskedPaths',
    found: (subject) => {
      const types = (subject.spec.mounts ?? []).map((mount) => mount.type);
      return TO_MASK.filter(
        (path) => types.includes(path.startsWith('/proc') ? 'proc' : 'sysfs') && !subject.isMasked(path),
      );
    },
  },
  {
    id: 'writable-sysfs',
    severity: ({ hostRoot }) => (hostRoot ? 'high' : 'low'),
    title: 'sysfs is writable',
    why: "The host's root may set /sys/kernel/uevent_helper, which the kernel runs, and switch devices.",
    recommendation: 'mount it with the option ro',
    found: (subject) => mountsWritable(subject, 'sysfs'),
  },
  {
    id: 'writable-cgroup',
    severity: ({ ownIds }) => (ownIds ? 'low' : 'medium'),
    title: 'the cgroup file system is writable',
    why: 'The container can make cgroups without bound and, where it owns its own, lift its limits.',
    recommendation: 'mount it with the option ro, unless the container runs an init system of its own',
    found: (subject) => mountsWritable(subject, 'cgroup', 'cgroup2'),
  },
  {
    id: 'all-devices',
    severity: (subject) =>
      subject.ownIds ? 'medium' : subject.capabilities.has('CAP_MKNOD') ? 'critical' : 'high',
    title: 'the container may use all devices',
    why: "With a node for it, the host's disk can be read and written past every permission.",
    recommendation: 'begin linux.resources.devices with a rule that denies all',
    option: 'no --privileged; --device for each one',
    found: allowsAllDevices,
  },
  {
    id: 'dangerous-devices',
    severity: ({ ownIds }) => (ownIds ? milder('critical') : 'critical'),
    title: "the host's disks or memory are in the container",
    why: 'What is on the disk can be read and written past every permission.',
    recommendation: 'mount what is on them instead',
    option: '-v FOLDER:PATH instead of --device',
    found: (subject) => devices(subject).dangerous,
  },
  {
    id: 'devices',
    severity: 'low',
    title: 'device nodes are in the container',
    why: 'Their drivers are kernel code that takes its input from the container.',
    recommendation: 'leave out those that the program does not use',
    option: 'no --device',
    found: (subject) => devices(subject).others,
  },
  {
    id: 'no-mandatory-access-control',
    severity: ({ facts }) =>
      facts.securityModules.some((name) => name === 'apparmor' || name === 'selinux') ? 'medium' : 'low',
    title: 'no AppArmor or SELinux rules confine the container',
    why: 'They are the wall that still stands when a file or a capability was given by mistake.',
    recommendation:
      'set process.apparmorProfile or process.selinuxLabel, on a kernel that has one of them switched on',
    found: (subject) => !isConfined(subject),
  },
  {
    id: 'hooks',
    severity: 'medium',
    title: 'the bundle has programs run outside of the container',
    why: "Hooks run with the engine's rights: a bundle from elsewhere owns the host before its container exists.",
    recommendation: 'run only bundles whose hooks you have read',
    found: ({ spec }) =>
      Object.values(spec.hooks ?? {}).flatMap((list) => (list ?? []).map((hook) => hook.path)),
  },
];
