import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CgroupLayoutError } from './errors.js';
import { type CgroupLayout, parseLayout, readLayout } from './layout.js';

/** Recorded from running machines, shortened to the lines that matter and some that must not. */
const MACHINES = {
  'Debian 12': {
    mountinfo: `23 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
30 23 0:27 / /sys/fs/pstore rw,nosuid,nodev,noexec,relatime shared:10 - pstore pstore rw`,
    cgroup: '0::/user.slice/user-1000.slice/session-3.scope\n',
    controllers: 'cpuset cpu io memory hugetlb pids rdma misc\n',
  },
  'Ubuntu 20.04': {
    mountinfo: `34 24 0:29 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
35 34 0:30 / /sys/fs/cgroup/unified rw,nosuid,nodev,noexec,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate
36 34 0:31 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:11 - cgroup cgroup rw,xattr,name=systemd
40 34 0:35 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:16 - cgroup cgroup rw,cpu,cpuacct
41 34 0:36 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:17 - cgroup cgroup rw,memory`,
    cgroup: `5:memory:/user.slice/user-0.slice
3:cpu,cpuacct:/user.slice
1:name=systemd:/user.slice/user-0.slice/session-1.scope
0::/user.slice/user-0.slice/session-1.scope
`,
    controllers: '\n',
  },
  'CentOS 7': {
    mountinfo: `24 18 0:21 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:8 - tmpfs tmpfs ro,mode=755
25 24 0:22 / /sys/fs/cgroup/systemd rw,nosuid shared:9 - cgroup cgroup rw,xattr,release_agent=/usr/lib/systemd/systemd-cgroups-agent,name=systemd
27 24 0:24 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid shared:10 - cgroup cgroup rw,net_prio,net_cls
28 24 0:25 / /sys/fs/cgroup/pids rw,nosuid shared:11 - cgroup cgroup rw,pids`,
    cgroup: `11:pids:/
10:net_prio,net_cls:/
2:freezer:/
1:name=systemd:/system.slice/sshd.service
`,
    controllers: '',
  },
  'a Docker container on cgroup v1': {
    mountinfo: `901 896 0:55 / /sys/fs/cgroup rw,nosuid - tmpfs tmpfs rw,mode=755
903 901 0:31 /docker/4f53c /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime master:17 - cgroup cgroup rw,memory`,
    cgroup: '8:memory:/docker/4f53c\n0::/system.slice/containerd.service\n',
    controllers: '',
  },
  'a container in a cgroup namespace': {
    mountinfo:
      '1201 1200 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate',
    cgroup: '0::/\n',
    controllers: 'cpu memory pids',
  },
  'Alpine with OpenRC': {
    mountinfo: `25 16 0:20 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs cgroup_root rw,size=10240k
26 25 0:21 / /sys/fs/cgroup/openrc rw,nosuid - cgroup openrc rw,release_agent=/lib/rc/sh/cgroup-release-agent.sh,name=openrc
27 25 0:22 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 none rw,nsdelegate
28 25 0:23 / /sys/fs/cgroup/cpuset rw,nosuid - cgroup cpuset rw,cpuset`,
    cgroup: '2:cpuset:/\n1:name=openrc:/sshd\n0::/\n',
    controllers: 'hugetlb misc',
  },
} as const;

function layoutOf(name: keyof typeof MACHINES): CgroupLayout {
  const { mountinfo, cgroup, controllers } = MACHINES[name];
  return parseLayout({ mountinfo, cgroup, controllers: () => controllers });
}

describe('the cgroup layout', () => {
  it('is v2 where one hierarchy has all controllers', () => {
    expect(layoutOf('Debian 12')).toEqual({
      version: 'v2',
      v1: new Map(),
      v2: {
        mountPoint: '/sys/fs/cgroup',
        own: '/user.slice/user-1000.slice/session-3.scope',
        controllers: ['cpuset', 'cpu', 'io', 'memory', 'hugetlb', 'pids', 'rdma', 'misc'],
      },
    });
  });

  it('is hybrid where v1 has controllers and v2 is mounted as well', () => {
    const layout = layoutOf('Ubuntu 20.04');
    expect(layout.version).toBe('hybrid');
    expect(layout.v2?.mountPoint).toBe('/sys/fs/cgroup/unified');
    expect(layout.v2?.controllers).toEqual([]);
  });

  it('gives controllers that are mounted together the same place, and each hierarchy its own path', () => {
    const { v1 } = layoutOf('Ubuntu 20.04');
    expect(v1.get('cpu')).toEqual({ mountPoint: '/sys/fs/cgroup/cpu,cpuacct', own: '/user.slice' });
    expect(v1.get('cpuacct')).toEqual(v1.get('cpu'));
    expect(v1.get('memory')?.own).toBe('/user.slice/user-0.slice');
  });

  it('is v1 without cgroup2, and leaves out controllers that are nowhere mounted', () => {
    const { version, v1 } = layoutOf('CentOS 7');
    expect(version).toBe('v1');
    expect([...v1.keys()].sort()).toEqual(['name=systemd', 'net_cls', 'net_prio', 'pids']);
    expect(v1.get('net_cls')?.mountPoint).toBe('/sys/fs/cgroup/net_cls,net_prio');
  });

  it('tells the own cgroup as it lies below a bind mount of a part of the hierarchy', () => {
    const layout = layoutOf('a Docker container on cgroup v1');
    expect(layout.version).toBe('v1');
    expect(layout.v1.get('memory')).toEqual({ mountPoint: '/sys/fs/cgroup/memory', own: '/' });
  });

  it('knows the root of a cgroup namespace', () => {
    expect(layoutOf('a container in a cgroup namespace').v2?.own).toBe('/');
  });

  it('keeps named hierarchies under their names', () => {
    const { version, v1 } = layoutOf('Alpine with OpenRC');
    expect(version).toBe('hybrid');
    expect(v1.get('name=openrc')).toEqual({ mountPoint: '/sys/fs/cgroup/openrc', own: '/sshd' });
  });

  it('takes a path outside of the cgroup namespace for its root', () => {
    const { mountinfo } = MACHINES['Debian 12'];
    const layout = parseLayout({ mountinfo, cgroup: '0::/../other\n', controllers: () => '' });
    expect(layout.v2?.own).toBe('/');
  });

  it('reads mount points with spaces, and own paths with colons', () => {
    const layout = parseLayout({
      mountinfo: '1 0 0:1 / /my\\040cgroups rw - cgroup2 none rw',
      cgroup: '0::/a:b:c\n',
      controllers: () => '',
    });
    expect(layout.v2).toMatchObject({ mountPoint: '/my cgroups', own: '/a:b:c' });
  });

  it('is an error on a machine without cgroups', () => {
    const sources = { mountinfo: '1 0 0:1 / / rw - ext4 /dev/sda rw', cgroup: '', controllers: () => '' };
    expect(() => parseLayout(sources)).toThrow(CgroupLayoutError);
    expect(() => parseLayout(sources)).toThrow('no cgroup file system is mounted');
  });

  it('bears any text', () => {
    const line = fc.oneof(
      fc.string(),
      fc.constantFrom(
        '1 0 0:1 / /x rw - cgroup2',
        '- cgroup',
        ' - cgroup cgroup rw,cpu',
        '0::',
        '3:cpu',
        '3:cpu:/',
      ),
    );
    const text = fc.array(line).map((lines) => lines.join('\n'));
    fc.assert(
      fc.property(text, text, text, (mountinfo, cgroup, controllers) => {
        try {
          parseLayout({ mountinfo, cgroup, controllers: () => controllers });
        } catch (error) {
          expect(error).toBeInstanceOf(CgroupLayoutError);
        }
      }),
    );
  });

  it('of a process that does not exist names the file', () => {
    expect(() => readLayout(2 ** 22 + 1)).toThrow('/proc/4194305/mountinfo: ENOENT');
  });
});
