/** `tvmm events`: what happens to containers. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import type { EngineEvent } from '../../container/engine/events.js';
import { UsageError } from '../usage-error.js';
import { collect, engine, wantsJson, withJson } from './common.js';
import { moment } from './logs.js';

const HELP = `
Actions: create, start, die, oom, kill, stop, pause, unpause, restart, update, exec, destroy. Filters: container=NAME, event=ACTION,
image=NAME. With --json each event is one line.

Examples:
  tvmm events                                     from now on
  tvmm events --since 1h --until 0s               what was in the last hour
  tvmm events --filter event=die --json | jq --unbuffered -r '.name + " " + .attributes.exitCode'
`;

const POLL_MS = 100;

function matches(event: EngineEvent, filter: string): boolean {
  const [key, value = ''] = filter.split(/=(.*)/s);
  if (key === 'container') return event.name === value || event.id.startsWith(value);
  if (key === 'event') return event.action === value;
  if (key === 'image') return event.image === value;
  throw new UsageError(`--filter ${filter} is not known`, 'container=, event=, image=');
}

function format(event: EngineEvent): string {
  const attributes = Object.entries(event.attributes ?? {}).map(
    ([name, value]) => ` ${name}=${JSON.stringify(value)}`,
  );
  return `${event.time} ${event.action} ${event.id.slice(0, 12)} ${event.name}${attributes.join('')}`;
}

interface EventsFlags {
  since?: string;
  until?: string;
  filter?: string[];
  json?: boolean;
  format?: string;
}

export function register(program: Command): void {
  withJson(
    program
      .command('events')
      .description('Show what happens to containers.')
      .option('--since <time>', 'what was since then as well')
      .option('--until <time>', 'stop there; 0s is now')
      .option('-f, --filter <name=value>', 'only those; several filters must all match', collect),
  )
    .addHelpText('after', HELP)
    .action(async (options: EventsFlags) => {
      const context = await engine();
      const { pastEvents } = await import('../../container/engine/events.js');
      const start = new Date().toISOString();
      const since = options.since === undefined ? start : moment('--since', options.since);
      const until = options.until === undefined ? undefined : moment('--until', options.until);
      const json = wantsJson(options);
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
          if ((options.filter ?? []).every((filter) => matches(event, filter)))
            process.stdout.write(`${json ? JSON.stringify(event) : format(event)}\n`);
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
