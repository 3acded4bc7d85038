/** `tvmm top`: the processes of a container. */
import type { Command } from 'commander';
import { formatSize } from '../units.js';
import { UsageError } from '../usage-error.js';
import { engine, printJson, table, wantsJson, withJson } from './common.js';
import { printOut } from './here.js';

const HELP = `
Pids and user ids are the host's; INNER is the pid that the container sees.

Example:
  tvmm top web
`;

export function register(program: Command): void {
  withJson(
    program
      .command('top')
      .description('List the processes of a container.')
      .argument('<container>', 'name or id')
      .argument('[ps-option...]', 'options of ps(1), which then prints the list: aux, -eo pid,comm')
      .allowUnknownOption(),
  )
    .addHelpText('after', HELP)
    .action(async (word: string, psOptions: string[], options: { json?: boolean; format?: string }) => {
      const context = await engine();
      const [{ current }, { describeProcesses }] = await Promise.all([
        import('../../container/engine/wait.js'),
        import('../../container/engine/top.js'),
      ]);
      const id = context.store.resolve(word);
      const record = await current(context, id);
      if (record?.state !== 'running' && record?.state !== 'paused')
        throw new UsageError(`container ${word} does not run`, `tvmm start ${word}`);
      if (psOptions.length > 0) {
        const { psLines } = await import('../../container/engine/ps-options.js');
        const shown = (line: string) => JSON.stringify(line).slice(1, -1);
        printOut(
          (await psLines(psOptions, await context.runtime.pids(id)))
            .map((line) => `${shown(line)}\n`)
            .join(''),
        );
        return;
      }
      const processes = describeProcesses(await context.runtime.pids(id));
      if (wantsJson(options)) return printJson(processes);
      const rows = processes.map((one) => [
        String(one.pid),
        String(one.parent),
        String(one.containerPid),
        String(one.uid),
        one.state,
        one.terminal,
        `${one.time.toFixed(2)} s`,
        formatSize(one.memory),
        // Control characters of a command must not reach the terminal.
        JSON.stringify(one.command).slice(1, -1),
      ]);
      printOut(
        table([['PID', 'PARENT', 'INNER', 'UID', 'STATE', 'TTY', 'TIME', 'MEMORY', 'COMMAND'], ...rows]),
      );
    });
}
