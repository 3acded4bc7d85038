/** `tvmm events`: what happens to containers. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import type { EngineContext } from '../../container/engine/context.js';
import type { EngineEvent } from '../../container/engine/events.js';
import { collect, engine } from './common.js';
import { labelsOf } from './container-row.js';
import { type Filters, filterOf, hasLabel } from './filters.js';
import { type FormatFlags, withFormat } from './format.js';
import { moment } from './logs.js';
import { parseTemplate } from './template.js';

const HELP = `
Actions: create, start, die, oom, kill, stop, pause, unpause, restart, update, exec, health_status, destroy. Filters: container=NAME, event=ACTION,
image=NAME, label=NAME[=VALUE]. With --json each event is one line.

Examples:
  tvmm events                                     from now on
  tvmm events --since 1h --until 0s               what was in the last hour
  tvmm events --filter event=die --json | jq --unbuffered -r '.name + " " + .attributes.exitCode'
`;

const POLL_MS = 100;

const filters = (context: EngineContext): Filters<EngineEvent> => ({
  container: (event, value) => event.name === value || event.id.startsWith(value),
  event: (event, value) => event.action === value || actionOf(event) === value,
  image: (event, value) => event.image === value,
  type: (_event, value) => value === 'container',
  // Of a container that is still there.
  label: (event, value) => {
    const record = context.store.read(event.id);
    return record !== undefined && hasLabel(Object.fromEntries(labelsOf(record)), value);
  },
});
const EVENT_FIELDS = ['Time', 'Type', 'Action', 'Status', 'ID', 'Name', 'Image', 'Attributes'] as const;

/** Docker writes `health_status: healthy`. */
function actionOf({ action, attributes }: EngineEvent): string {
  const health = attributes?.health_status;
  return health === undefined ? action : `${action}: ${health}`;
}

/** As templates see it. */
function row(event: EngineEvent): Record<(typeof EVENT_FIELDS)[number], unknown> {
  return {
    Time: event.time,
    Type: 'container',
    Action: event.action,
    Status: actionOf(event),
    ID: event.id,
    Name: event.name,
    Image: event.image ?? '',
    Attributes: new Map(Object.entries(event.attributes ?? {})),
  };
}

function format(event: EngineEvent): string {
  const attributes = Object.entries(event.attributes ?? {}).map(
    ([name, value]) => ` ${name}=${JSON.stringify(value)}`,
  );
  return `${event.time} ${event.action} ${event.id.slice(0, 12)} ${event.name}${attributes.join('')}`;
}

interface EventsFlags extends FormatFlags {
  since?: string;
  until?: string;
  filter?: string[];
}

export function register(program: Command): void {
  withFormat(
    program
      .command('events')
      .description('Show what happens to containers.')
      .option('--since <time>', 'what was since then as well')
      .option('--until <time>', 'stop there; 0s is now')
      .option('-f, --filter <name=value>', 'only those; several filters must all match', collect),
    EVENT_FIELDS,
  )
    .addHelpText('after', HELP)
    .action(async (options: EventsFlags) => {
      const context = await engine();
      const { pastEvents } = await import('../../container/engine/events.js');
      const start = new Date().toISOString();
      const since = options.since === undefined ? start : moment('--since', options.since);
      const until = options.until === undefined ? undefined : moment('--until', options.until);
      const { format: template } = options;
      const json = options.json === true || template === 'json';
      const fill = json || template === undefined ? undefined : parseTemplate(template);
      const wanted = filterOf(filters(context), options.filter);
      let seen = 0;
      let last = since;
      for (;;) {
        // Read before the clock: what is noted while we look belongs to the next look.
        const over = until !== undefined && new Date().toISOString() >= until;
        const found = pastEvents(context.paths).filter(
          ({ time }) => time >= last && (until === undefined || time < until),
        );
        // Those of the last moment were shown already.
        const fresh = found.slice(seen);
        for (const event of fresh) {
          if (!wanted(event)) continue;
          const line = fill !== undefined ? fill(row(event)) : json ? JSON.stringify(event) : format(event);
          process.stdout.write(`${line}\n`);
        }
        const newest = found.at(-1)?.time;
        if (newest !== undefined) {
          last = newest;
          seen = found.filter(({ time }) => time === newest).length;
        }
        if (over) return;
        await delay(POLL_MS);
      }
    });
}
