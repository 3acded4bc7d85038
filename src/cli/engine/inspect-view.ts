/**
 * A container as docker's inspect shows it, for templates: scripts ask for {{.State.Status}}, {{.NetworkSettings.IPAddress}} and the like. Beside
 * docker's members stand ours, as inspect prints them.
 */
import type { HealthCheck } from '../../container/engine/health/check.js';
import type { Health } from '../../container/engine/health/health.js';
import type { ContainerRecord } from '../../container/engine/record.js';
import { labelsOf, networksOf } from './container-row.js';

const NEVER = '0001-01-01T00:00:00Z';

function healthView({ status, failingStreak, log }: Health) {
  return {
    Status: status,
    FailingStreak: failingStreak,
    Log: log.map(({ start, end, exitCode, output }) => ({
      Start: start,
      End: end,
      ExitCode: exitCode,
      Output: output,
    })),
  };
}

/** As an image's configuration has it: nanoseconds. */
function checkView(check: HealthCheck) {
  return {
    Test: ['CMD', ...check.command],
    Interval: check.interval * 1e6,
    Timeout: check.timeout * 1e6,
    StartPeriod: check.startPeriod * 1e6,
    StartInterval: check.startInterval * 1e6,
    Retries: check.retries,
  };
}

function state(record: ContainerRecord, health: Health | undefined) {
  const paused = record.state === 'paused';
  return {
    Status: record.state === 'stopped' ? 'exited' : record.state,
    Running: paused || record.state === 'running',
    Paused: paused,
    Restarting: false,
    OOMKilled: record.oomKilled,
    Dead: false,
    Pid: record.init?.pid ?? 0,
    ExitCode: record.exitCode ?? 0,
    Error: record.problem ?? '',
    StartedAt: record.started ?? NEVER,
    FinishedAt: record.finished ?? NEVER,
    Health: health === undefined ? undefined : healthView(health),
  };
}

/** An address with its prefix length in two. */
function address(text: string | undefined) {
  const [ip = '', prefix = '0'] = (text ?? '').split('/');
  return { ip, prefix: Number(prefix) };
}

function networkSettings(record: ContainerRecord) {
  const networks = record.interfaces.map((one) => {
    const v4 = address(one.addresses.find((text) => !text.includes(':')));
    const v6 = address(one.addresses.find((text) => text.includes(':')));
    const gateway = one.gateways.find((text) => !text.includes(':')) ?? '';
    const view = {
      IPAddress: v4.ip,
      IPPrefixLen: v4.prefix,
      Gateway: gateway,
      MacAddress: one.mac ?? '',
      GlobalIPv6Address: v6.ip,
      GlobalIPv6PrefixLen: v6.prefix,
      IPv6Gateway: one.gateways.find((text) => text.includes(':')) ?? '',
    };
    return [one.network, view] as const;
  });
  const ports = new Map<string, { HostIp: string; HostPort: string }[]>();
  for (const { containerPort, protocol, hostIp, hostPort } of record.ports) {
    const name = `${containerPort}/${protocol}`;
    ports.set(name, [
      ...(ports.get(name) ?? []),
      { HostIp: hostIp ?? '0.0.0.0', HostPort: String(hostPort) },
    ]);
  }
  const [first] = networks;
  return {
    IPAddress: first?.[1].IPAddress ?? '',
    IPPrefixLen: first?.[1].IPPrefixLen ?? 0,
    Gateway: first?.[1].Gateway ?? '',
    MacAddress: first?.[1].MacAddress ?? '',
    GlobalIPv6Address: first?.[1].GlobalIPv6Address ?? '',
    SandboxKey: record.init === undefined ? '' : `/proc/${record.init.pid}/ns/net`,
    Ports: ports,
    Networks: new Map(networks),
  };
}

function hostConfig({ options }: ContainerRecord) {
  const [policy = 'no', retries = '0'] = options.restart.split(':');
  return {
    Binds: options.volume,
    NetworkMode: options.network[0] ?? 'default',
    PortBindings: options.publish,
    RestartPolicy: { Name: policy, MaximumRetryCount: Number(retries) },
    AutoRemove: options.remove,
    Privileged: options.privileged,
    ReadonlyRootfs: options.readOnly,
    CapAdd: options.capAdd,
    CapDrop: options.capDrop,
    SecurityOpt: options.securityOpt,
    Dns: options.dns,
    DnsSearch: options.dnsSearch,
    DnsOptions: options.dnsOption,
    ExtraHosts: options.addHost,
    GroupAdd: options.groupAdd,
    Memory: options.memory ?? 0,
    MemorySwap: options.memorySwap ?? 0,
    MemoryReservation: options.memoryReservation ?? 0,
    NanoCpus: Math.round((options.cpus ?? 0) * 1e9),
    CpuShares: options.cpuShares ?? 0,
    CpuPeriod: options.cpuPeriod ?? 0,
    CpuQuota: options.cpuQuota ?? 0,
    CpusetCpus: options.cpusetCpus ?? '',
    CpusetMems: options.cpusetMems ?? '',
    PidsLimit: options.pidsLimit ?? 4096,
    BlkioWeight: options.blkioWeight ?? 0,
    OomScoreAdj: options.oomScoreAdj ?? 0,
    OomKillDisable: options.oomKillDisable,
    ShmSize: options.shmSize ?? 64 * 2 ** 20,
    PidMode: options.pid ?? '',
    IpcMode: options.ipc ?? 'private',
    UTSMode: options.uts ?? '',
    UsernsMode: options.userns ?? '',
    CgroupnsMode: options.cgroupns ?? 'private',
    CgroupParent: options.cgroupParent ?? '',
    Init: options.init,
    Ulimits: options.ulimit,
    Tmpfs: options.tmpfs,
    VolumesFrom: options.volumesFrom,
    LogConfig: { Type: options.logDriver, Config: options.logOpt },
  };
}

function mounts(record: ContainerRecord, volumeData: (name: string) => string) {
  const volumes = record.volumes.map(({ name, destination, options }) => ({
    Type: 'volume',
    Name: name,
    Source: volumeData(name),
    Destination: destination,
    Mode: options.join(','),
    RW: !options.includes('ro'),
  }));
  const binds = record.options.volume.flatMap((one) => {
    const [source = '', destination = '', mode = ''] = one.split(':');
    if (!source.startsWith('/') || destination === '') return [];
    const readOnly = mode.split(',').includes('ro');
    return [{ Type: 'bind', Name: '', Source: source, Destination: destination, Mode: mode, RW: !readOnly }];
  });
  return [...volumes, ...binds];
}

/** @param folder of the container @param volumeData where a volume's contents are */
export function inspectView(
  record: ContainerRecord,
  folder: string,
  volumeData: (name: string) => string,
  health?: Health,
) {
  const { options } = record;
  return {
    Id: record.id,
    ID: record.id,
    Name: record.name,
    Created: record.created,
    Path: record.argv[0] ?? '',
    Args: record.argv.slice(1),
    State: state(record, health),
    Image: record.imageId ?? '',
    ImageName: options.image ?? '',
    Rootfs: options.rootfs ?? '',
    RestartCount: record.restarts,
    Platform: 'linux',
    Driver: 'overlay',
    LogPath: `${folder}/log`,
    ResolvConfPath: `${folder}/etc/resolv.conf`,
    HostnamePath: `${folder}/etc/hostname`,
    HostsPath: `${folder}/etc/hosts`,
    Pod: options.pod ?? '',
    HostConfig: hostConfig(record),
    Mounts: mounts(record, volumeData),
    Config: {
      Hostname: options.hostname ?? record.id.slice(0, 12),
      Domainname: options.domainname ?? '',
      User: options.user ?? '',
      Tty: options.tty,
      OpenStdin: options.interactive,
      Env: options.env,
      Cmd: options.command,
      Entrypoint: options.entrypoint ?? [],
      Image: options.image ?? '',
      WorkingDir: options.workdir ?? '',
      Labels: labelsOf(record),
      StopSignal: record.stopSignal,
      StopTimeout: record.stopTimeout,
      Healthcheck: record.healthCheck === undefined ? undefined : checkView(record.healthCheck),
    },
    NetworkSettings: { ...networkSettings(record), NetworkNames: networksOf(record) },
    ...record,
  };
}
