/** `tvmm ps`: the containers. */
import type { Command } from 'commander';
import type { EngineContext } from '../../container/engine/context.js';
import { type HealthStatus, readHealth } from '../../container/engine/health/health.js';
import { shortId } from '../../container/engine/names.js';
import type { ContainerRecord } from '../../container/engine/record.js';
import { formatSize } from '../units.js';
import { UsageError } from '../usage-error.js';
import { age, collect, engine, integerOption, table } from './common.js';
import {
  CONTAINER_FIELDS,
  containerRow,
  labelsOf,
  networksOf,
  portsText,
  statusOf,
} from './container-row.js';
import { type Filters, filterOf, hasLabel } from './filters.js';
import { type FormatFlags, printFormatted, withFormat } from './format.js';
import { printOut } from './here.js';

const HELP = `
Filters: name=PATTERN, id=DIGITS, status=created|running|paused|exited, label=NAME[=VALUE], image=NAME, pod=NAME, exited=STATUS, volume=NAME,
network=NAME, publish=PORT, health=starting|healthy|unhealthy|none, before=NAME, since=NAME. Of several with one name one must match, of labels all.

Examples:
  tvmm ps                              what runs
  tvmm ps -a                           everything
  tvmm ps -aq --filter status=stopped | xargs tvmm rm
  tvmm ps --format 'table {{.Names}}\\t{{.Status}}\\t{{.Ports}}'
  tvmm ps --json | jq -r '.[].name'
`;

/** Of a container that runs; undefined without a check. */
function healthOf(context: EngineContext, record: ContainerRecord): HealthStatus | undefined {
  return record.state === 'running' ? readHealth(context.store.folder(record.id), record)?.status : undefined;
}

function filters(context: EngineContext): Filters<ContainerRecord> {
  const other = (word: string) => context.store.read(context.store.resolve(word));
  return {
    name: (record, value) => pattern(value).test(record.name),
    id: (record, value) => record.id.startsWith(value),
    status: (record, value) => record.state === value || (value === 'exited' && record.state === 'stopped'),
    label: (record, value) => hasLabel(Object.fromEntries(labelsOf(record)), value),
    image: (record, value) => isImage(record, value),
    ancestor: (record, value) => isImage(record, value),
    pod: (record, value) =>
      record.options.pod !== undefined && context.store.resolve(value) === record.options.pod,
    exited: (record, value) => record.state === 'stopped' && record.exitCode === Number(value),
    volume: (record, value) =>
      record.volumes.some(({ name, destination }) => name === value || destination === value) ||
      record.options.volume.some((one) => one.split(':').slice(0, 2).includes(value)),
    network: (record, value) => networksOf(record).includes(value),
    publish: (record, value) => record.ports.some(({ hostPort }) => String(hostPort) === value.split('/')[0]),
    expose: (record, value) =>
      record.ports.some(({ containerPort }) => String(containerPort) === value.split('/')[0]),
    health: (record, value) => (healthOf(context, record) ?? 'none') === value,
    before: (record, value) => record.created < (other(value)?.created ?? ''),
    since: (record, value) => record.created > (other(value)?.created ?? ''),
  };
}

/** @throws UsageError */
function pattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw new UsageError(`--filter name=${text} is no pattern`);
  }
}

function isImage({ options, imageId }: ContainerRecord, value: string): boolean {
  return (
    options.image === value ||
    (/^(sha256:)?[0-9a-f]{3,64}$/.test(value) &&
      imageId?.replace('sha256:', '').startsWith(value.replace('sha256:', '')) === true)
  );
}

interface PsOptions extends FormatFlags {
  all?: boolean;
  quiet?: boolean;
  trunc?: boolean;
  filter?: string[];
  last?: number;
  latest?: boolean;
  size?: boolean;
}

export function register(program: Command): void {
  withFormat(
    program
      .command('ps')
      .description('List containers.')
      .option('-a, --all', 'those that do not run as well')
      .option('-q, --quiet', 'ids only')
      .option('--no-trunc', 'whole ids and commands')
      .option('-f, --filter <name=value>', 'only those; several names must all match', collect)
      .option('-n, --last <n>', 'the last ones that were made, running or not', integerOption('--last'))
      .option('-l, --latest', 'the last one that was made')
      .option('-s, --size', 'what each has written, and with the image that it shares'),
    [...CONTAINER_FIELDS, 'Size'],
  )
    .addHelpText('after', HELP)
    .action(async (options: PsOptions) => {
      const context = await engine();
      const { current } = await import('../../container/engine/wait.js');
      const found: ContainerRecord[] = [];
      const matches = filterOf(filters(context), options.filter);
      const last = options.latest === true ? 1 : options.last;
      const everything =
        options.all === true ||
        last !== undefined ||
        (options.filter ?? []).some((filter) => /^(status|exited)=/.test(filter));
      const damaged = (id: string) => context.warn(`the record of container ${shortId(id)} cannot be read`);
      for (const one of context.store.all(damaged)) {
        const record = await current(context, one.id);
        if (record === undefined || record.options.pause) continue;
        if (!everything && record.state !== 'running' && record.state !== 'paused') continue;
        if (matches(record)) found.push(record);
        if (found.length === last) break;
      }
      const whole = options.trunc === false;
      const wantsSize = options.size === true || options.format?.includes('.Size') === true;
      const sizes = wantsSize ? await sizesOf(context, found) : undefined;
      const sizeText = ({ id }: ContainerRecord) => {
        const size = sizes?.get(id);
        return size === undefined ? '' : `${formatSize(size.written)} (virtual ${formatSize(size.all)})`;
      };
      const own = () =>
        found.map((record) => ({
          ...summary(record, healthOf(context, record)),
          size: sizes?.get(record.id),
        }));
      const rowsOf = () =>
        found.map((record) => ({
          ...containerRow(record, whole, healthOf(context, record)),
          Size: sizeText(record),
        }));
      if (printFormatted(options, own, rowsOf)) return;
      const id = (record: ContainerRecord) => (whole ? record.id : shortId(record.id));
      if (options.quiet === true) {
        printOut(found.map((record) => `${id(record)}\n`).join(''));
        return;
      }
      const rows = found.map((record) => [
        id(record),
        record.options.image ?? record.options.rootfs ?? '',
        shown(record.argv.join(' '), whole),
        `${age(record.created)} ago`,
        statusOf(record, healthOf(context, record)),
        portsText(record),
        record.name,
        ...(sizes === undefined ? [] : [sizeText(record)]),
      ]);
      const titles = ['ID', 'IMAGE', 'COMMAND', 'CREATED', 'STATUS', 'PORTS', 'NAME'];
      printOut(table([[...titles, ...(sizes === undefined ? [] : ['SIZE'])], ...rows]));
    });
}

/** Bytes by id. */
async function sizesOf(context: EngineContext, records: readonly ContainerRecord[]) {
  const { rootBytes } = await import('../../container/engine/disk-use.js');
  const sizes = new Map<string, { readonly written: number; readonly all: number }>();
  for (const record of records) sizes.set(record.id, await rootBytes(context, record));
  return sizes;
}

/** Control characters of a command must not reach the terminal. */
function shown(command: string, whole: boolean): string {
  const plain = JSON.stringify(command).slice(1, -1);
  return whole || plain.length <= 30 ? plain : `${plain.slice(0, 29)}…`;
}

function summary(record: ContainerRecord, health: HealthStatus | undefined) {
  const { id, name, state, created, started, finished, exitCode, argv, ports, options } = record;
  return {
    id,
    name,
    image: options.image,
    rootfs: options.rootfs,
    command: argv,
    state,
    status: statusOf(record, health),
    health,
    pid: record.init?.pid,
    created,
    started,
    finished,
    exitCode,
    ports,
    labels: options.label,
    pod: options.pod,
  };
}
