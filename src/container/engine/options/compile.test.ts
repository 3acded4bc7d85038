import { describe, expect, it } from 'vitest';
import { parseSpec } from '../../spec/parse.js';
import { specText } from '../spec-text.js';
import { compileSpec, type SpecFacts } from './compile.js';
import { planVolumes } from './mounts.js';
import { type ContainerOptions, NO_OPTIONS } from './options.js';
import { NO_IMAGE } from './process.js';

const ID = 'ab'.repeat(32);
const facts: SpecFacts = {
  id: ID,
  hostname: 'machine',
  rootPath: '/rootfs',
  image: NO_IMAGE,
  user: { uid: 0, gid: 0, additionalGids: [], home: '/root' },
  etc: { hosts: '/e/hosts', resolvConf: '/e/resolv.conf', hostname: '/e/hostname' },
  initPath: '/lib/init',
  firstId: undefined,
  seccompProfile: undefined,
  volumes: [],
  volumeData: (name) => `/volumes/${name}/_data`,
  kindOf: (path) => (path.startsWith('/host') ? 'directory' : undefined),
  device: (path) =>
    path === '/dev/fuse'
      ? { path, type: 'c', major: 10, minor: 229, mode: 0o666, uid: 0, gid: 0 }
      : undefined,
  allDevices: () => [],
  namespacePath: (container, type) => `/proc/${container}/ns/${type}`,
};

const compile = (options: Partial<ContainerOptions>, more: Partial<SpecFacts> = {}) =>
  compileSpec({ ...NO_OPTIONS, command: ['sh'], ...options }, { ...facts, ...more });

describe('a container without options', () => {
  const spec = compile({});

  it('is secure: few capabilities, no new privileges, seccomp, masked paths, a limit of processes', () => {
    expect(spec.process?.capabilities?.bounding).toEqual([
      'CAP_CHOWN',
      'CAP_DAC_OVERRIDE',
      'CAP_FOWNER',
      'CAP_FSETID',
      'CAP_KILL',
      'CAP_SETGID',
      'CAP_SETUID',
      'CAP_SETPCAP',
      'CAP_NET_BIND_SERVICE',
      'CAP_SYS_CHROOT',
      'CAP_SETFCAP',
    ]);
    expect(spec.process?.noNewPrivileges).toBe(true);
    expect(spec.linux?.seccomp?.defaultAction).toBe('SCMP_ACT_ERRNO');
    expect(spec.linux?.maskedPaths).toContain('/proc/kcore');
    expect(spec.linux?.readonlyPaths).toContain('/proc/sys');
    expect(spec.linux?.resources?.pids).toEqual({ limit: 4096 });
    expect(spec.linux?.resources?.devices?.[0]).toMatchObject({ allow: false });
  });

  it('has every namespace of its own but the user namespace', () => {
    expect(spec.linux?.namespaces).toEqual(
      ['cgroup', 'ipc', 'uts', 'network', 'pid', 'mount'].map((type) => ({ type })),
    );
  });

  it('may ping and listen at low ports as any user, in a network of its own alone', () => {
    const allowed = (options: Partial<ContainerOptions>, more?: Partial<SpecFacts>) =>
      compile(options, more).linux?.sysctl;
    expect(allowed({})).toEqual({
      'net.ipv4.ping_group_range': '0 2147483647',
      'net.ipv4.ip_unprivileged_port_start': '0',
    });
    expect(allowed({ userns: 'private' }, { firstId: 100_000 })).toMatchObject({
      'net.ipv4.ping_group_range': '0 0',
    });
    expect(allowed({ sysctl: ['net.ipv4.ip_unprivileged_port_start=1024'] })).toMatchObject({
      'net.ipv4.ip_unprivileged_port_start': '1024',
    });
    expect(allowed({ network: ['host'] })).toBeUndefined();
    expect(allowed({ network: ['container:other'] })).toBeUndefined();
  });

  it('sees the host’s cgroups and sysfs read-only', () => {
    for (const destination of ['/sys', '/sys/fs/cgroup'])
      expect(spec.mounts?.find((mount) => mount.destination === destination)?.options).toContain('ro');
  });

  it('is called by its short id and finds its programs and its home', () => {
    expect(spec.hostname).toBe(ID.slice(0, 12));
    expect(spec.process?.env).toEqual([
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      `HOSTNAME=${ID.slice(0, 12)}`,
      'HOME=/root',
    ]);
  });

  it('is a configuration that the runtime’s strict parser takes, whatever numbers are in it', () => {
    const limited = compile({ ulimit: ['nofile=1024:18446744073709', 'core=-1'] });
    expect(parseSpec(specText(limited)).process?.rlimits).toEqual(limited.process?.rlimits);
    expect(parseSpec(specText(spec)).linux?.namespaces).toEqual(spec.linux?.namespaces);
  });
});

describe('options', () => {
  it('take image defaults, and override them as docker does', () => {
    const image = {
      ...NO_IMAGE,
      entrypoint: ['/entry'],
      cmd: ['serve'],
      env: ['A=1', 'B=2'],
      workingDir: '/srv',
    };
    const args = (options: Partial<ContainerOptions>) => compile(options, { image }).process?.args;
    expect(args({ command: [] })).toEqual(['/entry', 'serve']);
    expect(args({ command: ['x'] })).toEqual(['/entry', 'x']);
    expect(args({ command: ['x'], entrypoint: ['/other'] })).toEqual(['/other', 'x']);
    expect(args({ command: ['x'], entrypoint: [''] })).toEqual(['x']);
    const { process } = compile({ env: ['B=3'] }, { image });
    expect(process?.env?.filter((entry) => /^[AB]=/.test(entry))).toEqual(['A=1', 'B=3']);
    expect(process?.cwd).toBe('/srv');
  });

  it('give another user than root no capabilities to start with', () => {
    const { capabilities } = compile({}, { user: { ...facts.user, uid: 1000 } }).process ?? {};
    expect(capabilities?.effective).toEqual([]);
    expect(capabilities?.bounding).not.toEqual([]);
  });

  it('open what --privileged is for', () => {
    const spec = compile({ privileged: true });
    expect(spec.process?.capabilities?.bounding).toHaveLength(41);
    expect(spec.process?.noNewPrivileges).toBe(false);
    expect(spec.linux?.seccomp).toBeUndefined();
    expect(spec.linux?.maskedPaths).toBeUndefined();
    expect(spec.linux?.resources?.devices?.[0]).toEqual({ allow: true, access: 'rwm' });
  });

  it('bind volumes without devices and set-uid programs, shallow ones first', () => {
    const mounts = compile({ volume: ['/host/b:/data/deep:ro', '/host/a:/data'] }).mounts ?? [];
    expect(mounts.slice(-2)).toEqual([
      {
        destination: '/data',
        type: 'bind',
        source: '/host/a',
        options: ['rbind', 'rw', 'nosuid', 'nodev', 'rprivate'],
      },
      {
        destination: '/data/deep',
        type: 'bind',
        source: '/host/b',
        options: ['rbind', 'ro', 'rro', 'nosuid', 'nodev', 'rprivate'],
      },
    ]);
  });

  it('let a volume take the place of a mount that every container has', () => {
    const found = compile({ volume: ['/host/hosts:/etc/hosts'] }).mounts?.filter(
      ({ destination }) => destination === '/etc/hosts',
    );
    expect(found?.map(({ source }) => source)).toEqual(['/host/hosts']);
  });

  it('map a private user namespace to the container’s own range of ids', () => {
    const spec = compile({ userns: 'private' }, { firstId: 700_000_000 });
    expect(spec.linux?.uidMappings).toEqual([{ containerID: 0, hostID: 700_000_000, size: 65_536 }]);
    expect(spec.linux?.namespaces?.[0]).toEqual({ type: 'user' });
  });

  it('join other containers’ namespaces and the host’s', () => {
    expect(
      compile({ network: ['container:web'], pid: 'host', ipc: 'container:db' }).linux?.namespaces,
    ).toEqual([
      { type: 'cgroup' },
      { type: 'ipc', path: '/proc/db/ns/ipc' },
      { type: 'uts' },
      { type: 'network', path: '/proc/web/ns/network' },
      { type: 'mount' },
    ]);
  });

  it('call a container in the host’s network as the host, unless it is given a name', () => {
    expect(compile({ network: ['host'] }).hostname).toBe('machine');
    expect(compile({ network: ['host'], hostname: 'own' }).hostname).toBe('own');
  });

  it('allow a device and nothing more', () => {
    const spec = compile({ device: ['/dev/fuse:/dev/f:rw'] });
    expect(spec.linux?.devices).toMatchObject([{ path: '/dev/f', major: 10, minor: 229 }]);
    expect(spec.linux?.resources?.devices?.[1]).toEqual({
      allow: true,
      type: 'c',
      major: 10,
      minor: 229,
      access: 'rw',
    });
  });
});

describe('limits of less usual kinds', () => {
  it('go where config.json has them', () => {
    const spec = compile(
      {
        blkioWeight: 500,
        cpuPeriod: 50_000,
        cpuQuota: 25_000,
        memory: 64 * 2 ** 20,
        memorySwappiness: 0,
        oomKillDisable: true,
        umask: '0027',
        cgroupParent: 'tenants/one',
        annotation: ['a=b=c'],
        deviceCgroupRule: ['c 10:* rm'],
        deviceReadBps: ['/dev/disk:10m'],
      },
      { device: (path) => ({ path, type: 'b', major: 8, minor: 1, mode: 0o660, uid: 0, gid: 0 }) },
    );
    const resources = spec.linux?.resources;
    expect(resources?.blockIO).toEqual({
      weight: 500,
      throttleReadBpsDevice: [{ major: 8, minor: 1, rate: 10 * 2 ** 20 }],
    });
    expect(resources?.cpu).toEqual({ quota: 25_000, period: 50_000 });
    expect(resources?.memory).toEqual({ limit: 64 * 2 ** 20, swappiness: 0, disableOOMKiller: true });
    expect(resources?.devices?.at(-1)).toEqual({ allow: true, type: 'c', access: 'rm', major: 10 });
    expect(spec.process?.user.umask).toBe(0o027);
    expect(spec.linux?.cgroupsPath).toBe(`/tenants/one/tvmm-${ID}`);
    expect(spec.annotations).toEqual({ a: 'b=c' });
  });

  it.each<[Partial<ContainerOptions>, RegExp]>([
    [{ cpus: 1, cpuQuota: 5000 }, /give either/],
    [{ cpuPeriod: 10 }, /--cpu-period: 10 is not within/],
    [{ blkioWeight: 5000 }, /--blkio-weight/],
    [{ umask: '999' }, /no umask/],
    [{ cgroupParent: '../x' }, /no path of a cgroup/],
    [{ cgroupParent: '/a.slice' }, /slices belong to systemd/],
    [{ deviceReadIops: ['/dev/disk:1m'] }, /not DEVICE:RATE/],
    [{ deviceReadBps: ['/dev/fuse:1m'] }, /no block device/],
    [{ deviceCgroupRule: ['x 1:1 r'] }, /is no rule/],
    [{ uts: 'container:a', hostname: 'h' }, /whose --uts is joined/],
    [{ securityOpt: ['label=type:x'] }, /no SELinux labels/],
  ])('are refused where they mean nothing: %j', (options, message) => {
    expect(() => compile(options)).toThrow(message);
  });
});

describe('volumes', () => {
  const plan = (options: Partial<ContainerOptions>, declared: string[] = []) =>
    planVolumes({ ...NO_OPTIONS, ...options }, declared, () => 'new', facts);

  it('are named by the options, or new for what the image declares and nothing else is mounted at', () => {
    expect(
      plan({ volume: ['data:/d:ro', '/own'], mount: ['source=m,target=/m,volume-nocopy'] }, ['/d', '/v/']),
    ).toEqual([
      expect.objectContaining({ name: 'data', destination: '/d', anonymous: false }),
      expect.objectContaining({ name: 'new', destination: '/own', anonymous: true }),
      expect.objectContaining({ name: 'm', destination: '/m', copyUp: false }),
      expect.objectContaining({ name: 'new', destination: '/v', anonymous: true }),
    ]);
  });

  it('are mounted from their folders, without devices and set-uid programs', () => {
    const [use] = plan({ volume: ['data:/d:ro'] });
    const spec = compile({ volume: ['data:/d:ro'] }, { volumes: use === undefined ? [] : [use] });
    expect(spec.mounts?.find(({ destination }) => destination === '/d')).toEqual({
      destination: '/d',
      type: 'bind',
      source: '/volumes/data/_data',
      options: ['rbind', 'ro', 'rro', 'nosuid', 'nodev', 'rprivate'],
    });
  });

  it.each([['../up:/x'], ['a b:/x'], ['data:relative'], ['/host:/x:nocopy'], ['data:/'], ['a:b:c:d']])(
    'are refused as %j',
    (volume) => {
      expect(() => plan({ volume: [volume] })).toThrow(/-v:/);
    },
  );
});

describe('options that cannot be', () => {
  const cases: readonly [Partial<ContainerOptions>, RegExp][] = [
    [{ command: [] }, /COMMAND: there is none/],
    [{ volume: ['/nowhere:/x'] }, /-v: \/nowhere does not exist/],
    [{ volume: ['da ta:/x'] }, /neither an absolute path of the host nor a name/],
    [{ volume: ['/host:/'] }, /cannot be mounted over/],
    [{ volume: ['/host:/a/../../etc'] }, /may not hold/],
    [{ volume: ['/host/a:/x', '/host/b:/x/'] }, /\/x is mounted twice/],
    [{ tmpfs: ['/x:size=1m,evil=1'] }, /"evil=1" is no option of a tmpfs/],
    [{ mount: ['type=bind,source=/host,target=/x,what=1'] }, /"what" is no field/],
    [{ capAdd: ['NET_ADMIN'], capDrop: ['cap_net_admin'] }, /also in --cap-drop/],
    [{ capAdd: ['everything'] }, /is no capability/],
    [{ securityOpt: ['seccomp'] }, /means nothing/],
    [{ memory: 1024 }, /smallest limit of 6 MiB/],
    [{ memory: 2 ** 26, memorySwap: 2 ** 25 }, /less than --memory/],
    [{ cpus: 0 }, /not a number of processors/],
    [{ cpusetCpus: '0-' }, /no list of numbers/],
    [{ ulimit: ['nofile=2:1'] }, /above the hard one/],
    [{ ulimit: ['files=1'] }, /is no resource limit/],
    [{ env: ['=x'] }, /is not NAME=VALUE/],
    [{ workdir: 'tmp' }, /no absolute path/],
    [{ device: ['/dev/none'] }, /is no device/],
    [{ device: ['/dev/fuse:/dev/../x'] }, /is not HOST/],
    [{ pid: 'mine' }, /is not private, host or container/],
    [{ userns: 'private', privileged: true }, /cannot be combined/],
    [{ uts: 'host', hostname: 'x' }, /cannot be combined/],
    [{ hostname: 'a b' }, /--hostname "a b" is no host name/],
    [{ sysctl: ['kernel.x'] }, /is not NAME=VALUE/],
    [{ pod: ID, network: ['none'] }, /belongs to the pod/],
  ];
  it.each(cases)('are refused by name: %j', (options, message) => {
    expect(() => compile(options)).toThrow(message);
  });
});
