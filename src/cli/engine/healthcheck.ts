/** `tvmm healthcheck run`: a container's health check, now. */
import type { Command } from 'commander';
import { UsageError } from '../usage-error.js';
import { engine } from './common.js';
import { exitWith, printOut } from './here.js';

const HELP = `
Checks are set with --health-cmd and its siblings at tvmm run, or by the image, and run by themselves while the container does. What came of
them: tvmm ps, tvmm inspect -f '{{json .State.Health}}', tvmm events --filter event=health_status.

Example:
  tvmm healthcheck run web && echo well
`;

export function register(program: Command): void {
  const healthcheck = program
    .command('healthcheck')
    .description('Check the health of a container now.')
    .usage('run CONTAINER')
    .addHelpText('after', HELP);
  healthcheck
    .command('run')
    .description('run the check once; exit status 1 when it fails. It counts like any other')
    .argument('<container>', 'name or id')
    .action(async (word: string) => {
      const context = await engine();
      const id = context.store.resolve(word);
      const { current } = await import('../../container/engine/wait.js');
      const record = await current(context, id);
      if (record?.state !== 'running')
        throw new UsageError(`container ${word} does not run`, `tvmm start ${word}`);
      if (record.healthCheck === undefined)
        throw new UsageError(
          `container ${word} has no health check`,
          'it is set with --health-cmd at tvmm run',
        );
      const { runHealthCheck } = await import('../../container/engine/health/run-check.js');
      const checked = await runHealthCheck(context, id);
      if (checked === undefined) throw new UsageError(`container ${word} ended or was paused meanwhile`);
      printOut(`${checked.health.status}\n`);
      if (checked.probe.exitCode !== 0) exitWith(1);
    });
}
