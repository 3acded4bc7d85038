/** A container as templates of `ps` see it, with docker's names. */
import type { HealthStatus } from '../../container/engine/health/health.js';
import { shortId } from '../../container/engine/names.js';
import type { ContainerRecord } from '../../container/engine/record.js';
import { formatPort } from '../../container/network/ports.js';
import { age } from './common.js';

export const CONTAINER_FIELDS = [
  'ID',
  'Names',
  'Image',
  'Command',
  'CreatedAt',
  'RunningFor',
  'State',
  'Status',
  'Health',
  'Ports',
  'Labels',
  'Networks',
  'Mounts',
  'Pod',
  'Pid',
  'ExitCode',
] as const;

/** `Up 3 minutes (healthy)`, `Exited (1) 2 hours ago`. */
export function statusOf(record: ContainerRecord, health?: HealthStatus): string {
  const how = health === undefined ? '' : health === 'starting' ? ' (health: starting)' : ` (${health})`;
  if (record.state === 'running') return `Up ${age(record.started)}${how}`;
  if (record.state === 'paused') return `Up ${age(record.started)} (paused)`;
  if (record.state === 'stopped') return `Exited (${record.exitCode ?? '?'}) ${age(record.finished)} ago`;
  return record.problem === undefined ? 'Created' : 'Created (start failed)';
}

export function portsText(record: ContainerRecord): string {
  return record.ports.map((port) => formatPort({ ...port, hostIp: port.hostIp })).join(', ');
}

/** Labels as a table; the last one of a name counts. */
export function labelsOf({ options }: ContainerRecord): Map<string, string> {
  return new Map(
    options.label.map((label) => {
      const [name = '', value = ''] = label.split(/=(.*)/s);
      return [name, value];
    }),
  );
}

/** Names of the networks that it joins. */
export function networksOf({ options }: ContainerRecord): string[] {
  if (options.network.length === 0) return options.pod === undefined ? ['tvmm'] : [];
  return options.network.map((one) => (/^(container|ns):/.test(one) ? one : (one.split(':')[0] ?? one)));
}

/** @param whole ids that are not shortened */
export function containerRow(
  record: ContainerRecord,
  whole: boolean,
  health?: HealthStatus,
): Record<(typeof CONTAINER_FIELDS)[number], unknown> {
  const { options } = record;
  const volumes = record.volumes.map(({ name }) => (whole ? name : name.slice(0, 15)));
  const binds = options.volume.filter((one) => one.startsWith('/') && one.includes(':'));
  return {
    ID: whole ? record.id : shortId(record.id),
    Names: record.name,
    Image: options.image ?? options.rootfs ?? '',
    Command: JSON.stringify(record.argv.join(' ')),
    CreatedAt: record.created,
    RunningFor: `${age(record.created)} ago`,
    State: record.state === 'stopped' ? 'exited' : record.state,
    Status: statusOf(record, health),
    Health: health ?? 'none',
    Ports: portsText(record),
    Labels: [...labelsOf(record)].map(([name, value]) => `${name}=${value}`).join(','),
    Networks: networksOf(record).join(','),
    Mounts: [...volumes, ...binds.map((one) => one.split(':')[0])].join(','),
    Pod: options.pod ?? '',
    Pid: record.init?.pid ?? 0,
    ExitCode: record.exitCode ?? 0,
  };
}
