/** `tvmm inspect`: everything that is known about containers. */
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import type { EngineContext } from '../../container/engine/context.js';
import { readHealth } from '../../container/engine/health/health.js';
import type { ContainerRecord } from '../../container/engine/record.js';
import { engine, printJson } from './common.js';
import { printOut } from './here.js';
import { inspectView } from './inspect-view.js';
import { parseTemplate } from './template.js';

const HELP = `
Prints a JSON list with one object a container: id, name, state, exitCode, init.pid, interfaces (addresses and gateways), ports, options
(as they were given), volumes, logPath, health (status, failingStreak and the log of the last checks). Templates of --format see the members of docker's inspect as well: .State.Status, .State.Pid,
.Config.Labels, .HostConfig.Memory, .NetworkSettings.IPAddress, .Mounts and so on.

Examples:
  tvmm inspect web
  tvmm inspect --format '{{.State.Status}} {{.NetworkSettings.IPAddress}}' web
  tvmm inspect -f '{{range $p, $b := .NetworkSettings.Ports}}{{$p}} {{(index $b 0).HostPort}}{{end}}' web
  tvmm inspect web | jq -r '.[0].interfaces[0].addresses[0]'
`;

async function sizesOf(context: EngineContext, record: ContainerRecord) {
  const { rootBytes } = await import('../../container/engine/disk-use.js');
  const { written, all } = await rootBytes(context, record);
  return { SizeRw: written, SizeRootFs: all };
}

export function register(program: Command): void {
  program
    .command('inspect')
    .description('Show everything that is known about containers, as JSON.')
    .argument('<container...>', 'names or ids')
    .option('--json', 'as it is anyway')
    .addOption(new Option('--type <type>', 'container is the only one here').choices(['container']))
    .option('-s, --size', 'with .SizeRw and .SizeRootFs: what it has written, and all of its root')
    .option('-f, --format <format>', 'json, or a template such as {{.State.Status}}')
    .addHelpText('after', HELP)
    .action(async (words: string[], { format = 'json', size }: { format?: string; size?: boolean }) => {
      const fill = format === 'json' ? undefined : parseTemplate(format);
      const context = await engine();
      const { current } = await import('../../container/engine/wait.js');
      const found = [];
      for (const word of words) {
        const id = context.store.resolve(word);
        const record = await current(context, id);
        if (record === undefined) continue;
        const folder = context.store.folder(id);
        const health = readHealth(folder, record);
        const sizes = size === true ? await sizesOf(context, record) : {};
        if (fill === undefined) found.push({ ...record, health, logPath: `${folder}/log`, ...sizes });
        else {
          const data = (name: string) => join(context.paths.volumes, name, '_data');
          printOut(`${fill({ ...inspectView(record, folder, data, health), ...sizes })}\n`);
        }
      }
      if (fill === undefined) printJson(found);
    });
}
