/** `tvmm ps`: the containers. */
import type { Command } from 'commander';
import type { EngineContext } from '../../container/engine/context.js';
import { shortId } from '../../container/engine/names.js';
import type { ContainerRecord } from '../../container/engine/record.js';
import { formatPort } from '../../container/network/ports.js';
import { UsageError } from '../usage-error.js';
import { age, collect, engine, printJson, table, wantsJson, withJson } from './common.js';

const HELP = `
Filters: name=PART, id=DIGITS, status=created|running|paused|stopped, label=NAME[=VALUE], image=NAME, pod=NAME, exited=STATUS.

Examples:
  tvmm ps                              what runs
  tvmm ps -a                           everything
  tvmm ps -aq --filter status=stopped | xargs tvmm rm
  tvmm ps --json | jq -r '.[].name'
`;

function status(record: ContainerRecord): string {
  if (record.state === 'running') return `Up ${age(record.started)}`;
  if (record.state === 'paused') return `Up ${age(record.started)} (paused)`;
  if (record.state === 'stopped') return `Exited (${record.exitCode ?? '?'}) ${age(record.finished)} ago`;
  return record.problem === undefined ? 'Created' : 'Created (start failed)';
}

function matches(context: EngineContext, record: ContainerRecord, filter: string): boolean {
  const [key = '', value = ''] = filter.split(/=(.*)/s);
  switch (key) {
    case 'name':
      return record.name.includes(value);
    case 'id':
      return record.id.startsWith(value);
    case 'status':
      return record.state === value || (value === 'exited' && record.state === 'stopped');
    case 'label':
      return record.options.label.some((label) => label === value || label.startsWith(`${value}=`));
    case 'image':
    case 'ancestor':
      return record.options.image === value;
    case 'exited':
      return record.state === 'stopped' && record.exitCode === Number(value);
    case 'pod':
      return record.options.pod !== undefined && context.store.resolve(value) === record.options.pod;
    default:
      throw new UsageError(
        `--filter ${filter} is not known`,
        'name=, id=, status=, label=, image=, pod=, exited=',
      );
  }
}

interface PsOptions {
  all?: boolean;
  quiet?: boolean;
  noTrunc?: boolean;
  filter?: string[];
  last?: string;
  json?: boolean;
  format?: string;
}

export function register(program: Command): void {
  withJson(
    program
      .command('ps')
      .description('List containers.')
      .option('-a, --all', 'those that do not run as well')
      .option('-q, --quiet', 'ids only')
      .option('--no-trunc', 'whole ids and commands')
      .option('-f, --filter <name=value>', 'only those; several filters must all match', collect),
  )
    .addHelpText('after', HELP)
    .action(async (options: PsOptions & { trunc?: boolean }) => {
      const context = await engine();
      const { current } = await import('../../container/engine/wait.js');
      const found: ContainerRecord[] = [];
      const damaged = (id: string) => context.warn(`the record of container ${shortId(id)} cannot be read`);
      for (const one of context.store.all(damaged)) {
        const record = await current(context, one.id);
        if (record === undefined || record.options.pause) continue;
        const filters = options.filter ?? [];
        const everything = options.all === true || filters.some((filter) => /^(status|exited)=/.test(filter));
        if (!everything && record.state !== 'running' && record.state !== 'paused') continue;
        if (filters.every((filter) => matches(context, record, filter))) found.push(record);
      }
      if (wantsJson(options)) return printJson(found.map(summary));
      const whole = options.trunc === false;
      const id = (record: ContainerRecord) => (whole ? record.id : shortId(record.id));
      if (options.quiet === true) {
        process.stdout.write(found.map((record) => `${id(record)}\n`).join(''));
        return;
      }
      const rows = found.map((record) => [
        id(record),
        record.options.image ?? record.options.rootfs ?? '',
        shown(record.argv.join(' '), whole),
        `${age(record.created)} ago`,
        status(record),
        record.ports.map(formatPortOf).join(', '),
        record.name,
      ]);
      process.stdout.write(
        table([['ID', 'IMAGE', 'COMMAND', 'CREATED', 'STATUS', 'PORTS', 'NAME'], ...rows]),
      );
    });
}

function formatPortOf(port: ContainerRecord['ports'][number]): string {
  return formatPort({ ...port, hostIp: port.hostIp });
}

/** Control characters of a command must not reach the terminal. */
function shown(command: string, whole: boolean): string {
  const plain = JSON.stringify(command).slice(1, -1);
  return whole || plain.length <= 30 ? plain : `${plain.slice(0, 29)}…`;
}

function summary(record: ContainerRecord) {
  const { id, name, state, created, started, finished, exitCode, argv, ports, options } = record;
  return {
    id,
    name,
    image: options.image,
    rootfs: options.rootfs,
    command: argv,
    state,
    status: status(record),
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
