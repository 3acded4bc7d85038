/** Checks of what of the host's files is in the container: whole trees, engines' sockets, propagation of mounts. */
import { type Check, milder } from '../check.js';
import { type HostMount, isWithin, type Subject } from '../subject.js';
import type { Severity } from '../types.js';

/** A place of the host: what it means to have it writable and readable. */
interface Place {
  readonly path: string;
  readonly write: Severity;
  readonly read?: Severity;
  /** What lies below it is worth as much to who may write it. */
  readonly tree?: true;
}

/** Files of the host that decide what the host does. Where several fit, the longest path counts. */
const PLACES: readonly Place[] = [
  { path: '/', write: 'critical', read: 'high' },
  { path: '/bin', write: 'critical', tree: true },
  { path: '/boot', write: 'critical', tree: true },
  { path: '/dev', write: 'critical', read: 'critical' },
  { path: '/etc', write: 'critical', read: 'high', tree: true },
  { path: '/etc/kubernetes', write: 'critical', read: 'high', tree: true },
  { path: '/etc/shadow', write: 'critical', read: 'high' },
  { path: '/etc/ssh', write: 'critical', read: 'high', tree: true },
  { path: '/etc/ssl/private', write: 'high', read: 'high', tree: true },
  { path: '/home', write: 'high', read: 'medium' },
  { path: '/lib', write: 'critical', tree: true },
  { path: '/lib64', write: 'critical', tree: true },
  { path: '/opt', write: 'high' },
  { path: '/proc', write: 'critical', read: 'high', tree: true },
  { path: '/root', write: 'critical', read: 'high' },
  { path: '/root/.ssh', write: 'critical', read: 'high', tree: true },
  { path: '/run', write: 'critical', read: 'high' },
  { path: '/sbin', write: 'critical', tree: true },
  { path: '/sys', write: 'high', read: 'low', tree: true },
  { path: '/sys/fs/bpf', write: 'high', read: 'medium', tree: true },
  { path: '/sys/fs/cgroup', write: 'high', read: 'low', tree: true },
  { path: '/sys/kernel/debug', write: 'critical', read: 'high', tree: true },
  { path: '/sys/kernel/security', write: 'high', read: 'low', tree: true },
  { path: '/sys/kernel/tracing', write: 'high', read: 'medium', tree: true },
  { path: '/tmp', write: 'medium', read: 'low' },
  { path: '/usr', write: 'critical', tree: true },
  { path: '/var', write: 'critical', read: 'high' },
  { path: '/var/lib', write: 'critical', read: 'high' },
  { path: '/var/lib/containerd', write: 'critical', read: 'high', tree: true },
  { path: '/var/lib/containers', write: 'critical', read: 'high', tree: true },
  { path: '/var/lib/docker', write: 'critical', read: 'high' },
  { path: '/var/lib/kubelet', write: 'critical', read: 'high' },
  { path: '/var/log', write: 'medium', read: 'low' },
  { path: '/var/run', write: 'critical', read: 'high' },
  { path: '/var/spool/cron', write: 'critical', tree: true },
];

/** Nodes that every container has anyway. */
const HARMLESS_DEVICES = ['full', 'null', 'random', 'tty', 'urandom', 'zero'].map((name) => `/dev/${name}`);

/** Sockets whose other end does as it is told, with the rights of root; a read-only mount does not keep anybody from connecting. */
const SOCKETS = [
  /(^|\/)(docker|podman|crio|cri-dockerd|frakti|buildkitd)\.sock$/,
  /(^|\/)containerd(\/|-)?.*\.sock(\.ttrpc)?$/,
  /(^|\/)tvmm(\/|-|$).*\.sock$/,
  /^\/run\/(systemd\/private|dbus\/system_bus_socket|dbus|systemd|docker|containerd|crio|podman|tvmm)$/,
  /(^|\/)(libvirt-sock|lxd\/unix\.socket|incus\/unix\.socket|kubelet\.sock)$/,
];

/** `/var/run` has been a link to `/run` for long. */
function canonical(path: string): string {
  return isWithin(path, '/var/run') && path !== '/var/run' ? path.slice('/var'.length) : path;
}

function isSocket(mount: HostMount): boolean {
  return SOCKETS.some((pattern) => pattern.test(canonical(mount.source)));
}

function worth(mount: HostMount): Severity | undefined {
  if (isSocket(mount) || HARMLESS_DEVICES.includes(mount.source)) return undefined;
  let best: Place | undefined;
  for (const place of PLACES) {
    const fits = mount.source === place.path || (place.tree === true && isWithin(mount.source, place.path));
    if (fits && place.path.length > (best?.path.length ?? -1)) best = place;
  }
  if (best === undefined) return undefined;
  if (mount.writable) return best.write;
  // Below a tree only what is named is a secret: /etc/localtime is none.
  return mount.source === best.path || best.path !== '/etc' ? best.read : undefined;
}

function mountsWorth(subject: Subject, severity: Severity): string[] {
  return subject.hostMounts
    .filter((mount) => worth(mount) === severity)
    .map((mount) => `${mount.source} at ${mount.destination}${mount.writable ? '' : ' (read-only)'}`);
}

/** One check for each severity of place: own ids make each one milder, for the host's permissions then stand in the way. */
function placesCheck(severity: Severity, title: string, why: string): Check {
  return {
    id: `host-files-${severity}`,
    severity: ({ ownIds }) => (ownIds ? milder(severity) : severity),
    title,
    why,
    recommendation: 'mount the one folder that is needed, read-only where that will do, or a volume',
    found: (subject) => mountsWorth(subject, severity),
  };
}

export const MOUNT_CHECKS: readonly Check[] = [
  {
    id: 'engine-socket',
    severity: ({ ownIds }) => (ownIds ? 'high' : 'critical'),
    title: 'the socket of an engine or a system service is in the container',
    why: 'Who may talk to it has it start a privileged container, or a service, and is root on the host.',
    recommendation: 'take it out; where a program must start containers, put a filtering proxy between',
    option: 'no -v of the socket',
    found: ({ hostMounts }) => hostMounts.filter(isSocket).map((mount) => mount.source),
  },
  placesCheck(
    'critical',
    'files that decide what the host does are writable, or its devices in reach',
    'A line in the right file, or a write to the right device, runs as root on the host.',
  ),
  placesCheck(
    'high',
    "the host's secrets can be read, or files that lead to root written",
    'Keys and password hashes, credentials of other containers, programs that others will execute.',
  ),
  placesCheck(
    'medium',
    'folders that programs of the host share are in the container',
    'Links placed there make careless programs of the host read or write elsewhere.',
  ),
  placesCheck(
    'low',
    'folders of the host show the container more than it needs',
    'They tell what runs on the host and how it is configured.',
  ),
  {
    id: 'readonly-not-recursive',
    severity: 'low',
    title: 'a tree is mounted read-only, but what is mounted below it is not',
    why: 'The option ro applies to the topmost mount alone.',
    recommendation: 'use rro, which Linux has since 5.12',
    found: ({ hostMounts }) =>
      hostMounts
        // Nothing can be mounted below a socket.
        .filter(
          (mount) =>
            mount.recursive &&
            !mount.writable &&
            !mount.options.includes('rro') &&
            !mount.source.endsWith('.sock'),
        )
        .map((mount) => mount.source),
  },
  {
    id: 'shared-propagation',
    severity: 'medium',
    title: 'mounts made in the container appear on the host',
    why: 'With the right to mount, the container can cover files of the host.',
    recommendation: 'use rslave or rprivate',
    option: '-v SOURCE:PATH:rslave',
    found: ({ spec, hostMounts }) => {
      const shared = hostMounts.filter(
        ({ options }) => options.includes('shared') || options.includes('rshared'),
      );
      const root = spec.linux?.rootfsPropagation;
      return [
        ...shared.map((mount) => mount.destination),
        ...(root === 'shared' || root === 'rshared' ? ['/'] : []),
      ];
    },
  },
  {
    id: 'writable-root',
    severity: 'low',
    title: 'the root file system is writable',
    why: 'An intruder can leave programs behind that run at the next start.',
    recommendation: 'set root.readonly and mount volumes or tmpfs where the program writes',
    option: '--read-only --tmpfs /tmp -v NAME:PATH',
    found: ({ spec }) => spec.root.readonly !== true,
  },
];
