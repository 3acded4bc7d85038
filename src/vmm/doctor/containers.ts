/**
 * Checks of what containers stand on: cgroups(7), namespaces(7), user_namespaces(7), seccomp(2), getrlimit(2).
 */
import { type Check, degraded, missing, ok } from './check.js';
import type { Host } from './host.js';

/** The cgroup mounts of this process, from /proc/self/mountinfo (proc(5)). */
export interface CgroupMounts {
  /** Mount point of the v2 hierarchy. */
  readonly v2: string | undefined;
  /** Controller to mount point of the v1 hierarchies. */
  readonly v1: ReadonlyMap<string, string>;
}

const V1_CONTROLLERS = ['cpu', 'cpuset', 'memory', 'devices', 'freezer', 'blkio', 'pids'];
const V2_CONTROLLERS = ['cpu', 'cpuset', 'memory', 'io', 'pids'];
const NAMESPACES = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'user', 'uts'];
const SECCOMP_ACTIONS = ['kill_process', 'errno', 'allow', 'user_notif', 'log'];
/** What a bridge network is made by, and where it is looked for (src/container/network). */
const CNI_PLUGINS = ['bridge', 'host-local', 'portmap', 'firewall'];
const CNI_FOLDERS = ['/opt/cni/bin', '/usr/lib/cni', '/usr/libexec/cni'];
const NETWORK_TOOLS = ['iptables', 'nft'];
/** The first version that mounts overlayfs in user namespaces. */
const OVERLAY_USERNS = [5, 11] as const;
const MIN_OPEN_FILES = 4096;

export function cgroupMounts(mountinfo: string): CgroupMounts {
  const v1 = new Map<string, string>();
  let v2: string | undefined;
  for (const line of mountinfo.split('\n')) {
    const [left = '', right = ''] = line.split(' - ');
    const mountPoint = left.split(' ')[4];
    const [type, , options = ''] = right.split(' ');
    if (mountPoint === undefined) continue;
    if (type === 'cgroup2') v2 ??= mountPoint;
    if (type === 'cgroup') for (const option of options.split(',')) v1.set(option, mountPoint);
  }
  return { v2, v1 };
}

const mountsOf = (host: Host) => cgroupMounts(host.text('/proc/self/mountinfo') ?? '');

export const containerChecks: readonly Check[] = [
  {
    id: 'cgroup.version',
    title: 'cgroups',
    look(host) {
      const { v1, v2 } = mountsOf(host);
      const old = V1_CONTROLLERS.filter((name) => v1.has(name));
      const unified =
        (v2 === undefined ? undefined : host.text(`${v2}/cgroup.controllers`))?.split(/\s+/) ?? [];
      if (old.length === 0 && v2 !== undefined) {
        const lacking = V2_CONTROLLERS.filter((name) => !unified.includes(name));
        if (lacking.length === 0) return ok(`v2 with ${unified.join(', ')}`);
        return degraded(
          `v2 without ${lacking.join(', ')}: those limits cannot be set`,
          'enable them in cgroup.subtree_control above',
        );
      }
      if (old.length === 0)
        return missing('no hierarchy is mounted', 'mount -t cgroup2 none /sys/fs/cgroup, as root');
      const lacking = V1_CONTROLLERS.filter((name) => !v1.has(name));
      const kind = v2 === undefined ? 'v1' : 'hybrid: v1 controllers beside a v2 hierarchy';
      if (lacking.length === 0) return ok(`${kind} (${old.join(', ')})`);
      return degraded(
        `${kind}, without ${lacking.join(', ')}`,
        'boot with systemd.unified_cgroup_hierarchy=1, or mount them',
      );
    },
  },
  {
    id: 'cgroup.delegation',
    title: 'cgroup delegation',
    look(host) {
      const { v1, v2 } = mountsOf(host);
      const own = /^0::(\/.*)$/m.exec(host.text('/proc/self/cgroup') ?? '')?.[1];
      const legacy = v1.get('memory') ?? v1.get('pids');
      const place =
        legacy ?? (v2 === undefined || own === undefined ? undefined : `${v2}${own === '/' ? '' : own}`);
      if (place === undefined) return missing('no cgroup of our own was found', 'see cgroups');
      // access(2) lets root write to everything but a read-only mount, which is what matters for root too.
      if (host.writable(place) && host.writable(`${place}/cgroup.procs`)) return ok(`${place} is writable`);
      return missing(
        `${place} is not writable by ${host.facts.user}: limits cannot be set`,
        host.isRoot
          ? 'remount the cgroup file system read-write'
          : 'run inside systemd-run --user --scope -p Delegate=yes, or as root',
      );
    },
  },
  {
    id: 'namespaces',
    title: 'namespaces',
    look(host) {
      const there = host.list('/proc/self/ns');
      const lacking = NAMESPACES.filter((name) => !there.includes(name));
      const zero = NAMESPACES.filter((name) => host.number(`/proc/sys/user/max_${name}_namespaces`) === 0);
      if (lacking.length > 0)
        return missing(
          `the kernel has no ${lacking.join(', ')} namespaces`,
          'use a kernel with CONFIG_NAMESPACES and all below it',
        );
      if (zero.length > 0) {
        return missing(
          `switched off: ${zero.join(', ')}`,
          `sysctl user.max_${zero[0]}_namespaces=10000, as root`,
        );
      }
      const time = there.includes('time') ? ', time' : '';
      return ok(`${NAMESPACES.join(', ')}${time}`);
    },
  },
  {
    id: 'namespaces.unprivileged',
    title: 'unprivileged user namespaces',
    look(host) {
      if (host.number('/proc/sys/user/max_user_namespaces') === 0) {
        return missing('user.max_user_namespaces is 0', 'sysctl user.max_user_namespaces=10000, as root');
      }
      if (host.number('/proc/sys/kernel/unprivileged_userns_clone') === 0) {
        return missing(
          'switched off by kernel.unprivileged_userns_clone',
          'sysctl kernel.unprivileged_userns_clone=1, as root',
        );
      }
      if (host.number('/proc/sys/kernel/apparmor_restrict_unprivileged_userns') === 1) {
        return degraded(
          'AppArmor takes capabilities away in them',
          'give tvmm a profile that allows userns, or sysctl kernel.apparmor_restrict_unprivileged_userns=0',
        );
      }
      const ranges = ['subuid', 'subgid'].filter((name) =>
        (host.text(`/etc/${name}`) ?? '')
          .split('\n')
          .some((line) => line.startsWith(`${host.facts.user}:`) || line.startsWith(`${host.facts.uid}:`)),
      );
      if (host.isRoot || (ranges.length === 2 && host.tool('newuidmap') !== undefined)) return ok('allowed');
      return degraded(
        `allowed, but ${host.facts.user} has no range of ids in /etc/subuid and /etc/subgid, or newuidmap is missing: one id only`,
        `apt-get install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${host.facts.user}, as root`,
      );
    },
  },
  {
    id: 'seccomp',
    title: 'seccomp',
    look(host) {
      const actions = host.text('/proc/sys/kernel/seccomp/actions_avail')?.split(/\s+/);
      if (actions === undefined)
        return missing('the kernel has no seccomp filters', 'use a kernel with CONFIG_SECCOMP_FILTER');
      const lacking = SECCOMP_ACTIONS.filter((name) => !actions.includes(name));
      if (lacking.length === 0) return ok(actions.join(', '));
      return degraded(`without the actions ${lacking.join(', ')}`, 'a newer kernel has them (5.0 and later)');
    },
  },
  {
    id: 'networks',
    title: 'networks',
    look(host) {
      const plugins = new Set(CNI_FOLDERS.flatMap((folder) => host.list(folder)));
      const lacking = [
        ...CNI_PLUGINS.filter((name) => !plugins.has(name)).map((name) => `the CNI plugin ${name}`),
        ...NETWORK_TOOLS.filter((name) => host.tool(name) === undefined),
      ];
      if (lacking.length === 0) return ok('bridges and published ports, by CNI plugins, iptables and nft');
      return missing(
        `there is no ${lacking.join(', no ')}: containers have --network none and host alone`,
        'apt-get install containernetworking-plugins iptables nftables, as root',
      );
    },
  },
  {
    id: 'network.user',
    title: 'networks without root',
    look(host) {
      const tool = ['pasta', 'slirp4netns'].find((name) => host.tool(name) !== undefined);
      if (tool === undefined)
        return host.isRoot
          ? ok('neither pasta nor slirp4netns is installed; root needs none')
          : missing(
              'neither pasta nor slirp4netns is installed: containers of users have no network but none and host',
              'apt-get install passt, as root',
            );
      const device = '/dev/net/tun';
      const why = host.exists(device) ? host.openError(device) : 'ENOENT';
      if (why === undefined) return ok(`by ${tool}`);
      return degraded(
        `${tool} is there, but ${device} cannot be opened (${why})`,
        `modprobe tun; chmod 666 ${device}, as root`,
      );
    },
  },
  {
    id: 'overlay.user',
    title: 'overlays without root',
    look(host) {
      const release = host.text('/proc/sys/kernel/osrelease') ?? '';
      const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10));
      const isNew = major > OVERLAY_USERNS[0] || (major === OVERLAY_USERNS[0] && minor >= OVERLAY_USERNS[1]);
      if (isNew) return ok(`Linux ${release} mounts them in user namespaces`);
      return degraded(
        `Linux ${release} lets only root mount them: users' containers get copies of their images`,
        'Linux 5.11 and later can',
      );
    },
  },
  {
    id: 'rlimits',
    title: 'resource limits',
    look(host) {
      const limits = host.text('/proc/self/limits') ?? '';
      const [, soft = '', hard = ''] = /^Max open files\s+(\S+)\s+(\S+)/m.exec(limits) ?? [];
      const [, locked = ''] = /^Max locked memory\s+(\S+)/m.exec(limits) ?? [];
      const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(host.text('/proc/self/status') ?? '')?.[1] ?? '0';
      // CAP_SYS_RESOURCE is bit 24, capabilities(7).
      const mayRaise = ((BigInt(`0x${effective}`) >> 24n) & 1n) === 1n;
      const seen = `open files ${soft} of ${hard}, locked memory ${locked} bytes; ${mayRaise ? 'limits can be raised' : 'hard limits cannot be raised (no CAP_SYS_RESOURCE)'}`;
      if (soft !== 'unlimited' && Number(soft) < MIN_OPEN_FILES) {
        return degraded(seen, `ulimit -n ${hard}: each container and device needs some descriptors`);
      }
      if (host.isRoot && !mayRaise)
        return degraded(
          seen,
          'containers that ask for more than the hard limits are refused; give tvmm CAP_SYS_RESOURCE',
        );
      return ok(seen);
    },
  },
];
