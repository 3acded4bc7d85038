/** `tvmm system`: what everything takes of the disk, and cleaning up. */
import type { Command } from 'commander';
import { formatSize } from '../units.js';
import { engine, printJson, table, wantsJson, withJson } from './common.js';
import { type FormatFlags, printFormatted, withFormat } from './format.js';
import { printOut } from './here.js';

const HELP = `
prune removes containers that do not run, networks that no container wants, and what interrupted commands have left; with -a all images that no
container uses, with --volumes the volumes without a name. Nothing is asked.

Examples:
  tvmm system df
  tvmm system prune -a --volumes
`;

const INFO_FIELDS = [
  'ServerVersion',
  'Containers',
  'Images',
  'Driver',
  'CgroupVersion',
  'DockerRootDir',
] as const;

export function register(program: Command): void {
  const system = program
    .command('system')
    .description('What containers take of the disk, and cleaning up.')
    .usage('COMMAND [options]')
    .addHelpText('after', HELP);
  withJson(
    system.command('df').description('show what images, containers and volumes take of the disk'),
  ).action(async (options: { json?: boolean; format?: string }) => {
    const { diskUse } = await import('../../container/engine/disk-use.js');
    const found = await diskUse(await engine());
    if (wantsJson(options)) {
      printJson(found);
      return;
    }
    const rows = found.map((one) => [
      one.kind,
      String(one.count),
      String(one.active),
      formatSize(one.bytes),
      formatSize(one.reclaimable),
    ]);
    printOut(table([['KIND', 'TOTAL', 'ACTIVE', 'SIZE', 'RECLAIMABLE'], ...rows]));
  });
  withFormat(
    system.command('info').description('say what the engine has, and what it stands on'),
    INFO_FIELDS,
  ).action(async (options: FormatFlags) => {
    const { systemInfo } = await import('../../container/engine/system-info.js');
    const info = await systemInfo(await engine());
    if (
      printFormatted(
        options,
        () => info,
        () => [info],
      )
    )
      return;
    const rows = Object.entries(info).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(' ') : String(value),
    ]);
    printOut(table(rows));
  });
  system
    .command('prune')
    .description('remove what is not in use')
    .option('-a, --all', 'all images that no container uses as well')
    .option('--volumes', 'volumes without a name that no container uses as well')
    .option('-f, --force', 'as it is anyway: nothing is asked')
    .action(async (flags: { all?: boolean; volumes?: boolean }) => {
      const { pruneSystem } = await import('../../container/engine/disk-use.js');
      const options = { all: flags.all === true, volumes: flags.volumes === true };
      const removed = await pruneSystem(await engine(), options);
      printOut(removed.map((line) => `${line}\n`).join(''));
    });
}
