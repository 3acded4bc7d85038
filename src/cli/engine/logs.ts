/** `tvmm logs`: what a container has printed. */
import type { Command } from 'commander';
import { parseDuration } from '../units.js';
import { UsageError } from '../usage-error.js';
import { engine, integerOption } from './common.js';
import { here } from './here.js';

const HELP = `
What went to stdout comes to stdout, stderr to stderr. Times are RFC 3339, or durations before now such as 10m.

Examples:
  tvmm logs web
  tvmm logs -f --tail 20 web           the last lines, and those that come
  tvmm logs --since 1h -t web          of the last hour, with times
`;

interface LogsFlags {
  follow?: boolean;
  tail?: number;
  since?: string;
  until?: string;
  timestamps?: boolean;
}

function ago(text: string, now: number): number {
  try {
    return now - parseDuration(text, '');
  } catch {
    return Number.NaN;
  }
}

/** A moment as the log writes it. @throws UsageError */
export function moment(option: string, text: string, now = Date.now()): string {
  const time = /^\d{4}-/.test(text)
    ? Date.parse(text)
    : /^\d{9,}$/.test(text)
      ? Number(text) * 1000
      : ago(text, now);
  if (Number.isNaN(time))
    throw new UsageError(
      `${option} ${JSON.stringify(text)} is no time`,
      'for instance 2026-01-31T12:00:00Z, or 10m',
    );
  return new Date(time).toISOString();
}

export function register(program: Command): void {
  program
    .command('logs')
    .description('Show what a container has printed.')
    .argument('<container>', 'name or id')
    .option('-f, --follow', 'stay and show what comes')
    .option('-n, --tail <lines>', 'only the last lines', (text) =>
      text === 'all' ? undefined : Math.max(0, integerOption('--tail')(text)),
    )
    .option('--since <time>', 'only from that time on')
    .option('--until <time>', 'only before that time')
    .option('--details', 'as it is anyway: logs have no details')
    .option('-t, --timestamps', 'show when each line came')
    .addHelpText('after', HELP)
    .action(async (word: string, options: LogsFlags) => {
      if (options.follow === true) here().needOwnProcess();
      const context = await engine();
      const id = context.store.resolve(word);
      const [{ followLog, readLog }, { current }] = await Promise.all([
        import('../../container/engine/log-lines.js'),
        import('../../container/engine/wait.js'),
      ]);
      const record = context.store.read(id);
      if (record?.options.logDriver === 'none')
        throw new UsageError(`container ${word} keeps no log: it was created with --log-driver none`);
      const selection = {
        ...(options.tail === undefined ? {} : { tail: options.tail }),
        ...(options.since === undefined ? {} : { since: moment('--since', options.since) }),
        ...(options.until === undefined ? {} : { until: moment('--until', options.until) }),
      };
      const folder = context.store.folder(id);
      const ended = async () => {
        const now = await current(context, id);
        return now === undefined || (now.state !== 'running' && now.state !== 'paused');
      };
      const lines =
        options.follow === true ? followLog(folder, selection, ended) : readLog(folder, selection);
      for await (const { log, stream, time } of lines) {
        await here().print(stream, options.timestamps === true ? `${time} ${log}` : log);
      }
    });
}
