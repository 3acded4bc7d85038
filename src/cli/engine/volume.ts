/** `tvmm volume`: folders that outlive containers. */
import { type Command, Option } from 'commander';
import type { EngineContext } from '../../container/engine/context.js';
import type { Volume } from '../../container/engine/volumes/volume-store.js';
import { failureText } from '../report.js';
import { UsageError } from '../usage-error.js';
import { age, collect, engine, printJson, table } from './common.js';
import { NOT_SUPPORTED } from './create-flags.js';
import { addExists } from './exists.js';
import { type Filters, filterOf, hasLabel, isTrue, labelTable } from './filters.js';
import { type FormatFlags, printFormatted, withFormat } from './format.js';
import { exitWith, printError, printOut } from './here.js';
import { parseTemplate } from './template.js';

const HELP = `
A volume is a folder of tvmm's that containers mount by name (-v NAME:/path); it is made at its first use, gets what the image has at that
place, and stays when containers go. Folders that an image declares as volumes, and -v /path alone, get one without a name, which
goes with tvmm rm -v, tvmm run --rm or tvmm volume prune.

Examples:
  tvmm volume create data
  tvmm run -d --name db -v data:/var/lib/postgresql/data postgres
  tvmm volume inspect data
  tvmm volume prune                   those without a name that no container uses
`;

const FILTERS = 'name=PART, label=NAME[=VALUE], dangling=true|false, driver=local';

function filters(context: EngineContext): Filters<Volume> {
  const used = new Set(context.store.all().flatMap(({ volumes }) => volumes.map(({ name }) => name)));
  return {
    name: (one, value) => one.name.includes(value),
    label: (one, value) => hasLabel(one.labels, value),
    dangling: (one, value) => used.has(one.name) !== isTrue('dangling', value),
    driver: (_one, value) => value === 'local',
  };
}

async function load() {
  const context = await engine();
  const volumes = await import('../../container/engine/volumes/volumes.js');
  return { context, volumes, store: volumes.volumeStore(context) };
}

export function register(program: Command): void {
  const volume = program
    .command('volume')
    .description('Folders that outlive containers.')
    .usage('COMMAND [options]')
    .addHelpText('after', HELP);
  volume
    .command('create')
    .description('make a volume; prints its name')
    .argument('[name]', 'its name; without one it gets 64 digits')
    .option('-l, --label <name=value>', 'attach a label', collect)
    .option('-d, --driver <driver>', 'local is the only one')
    .addOption(
      new Option('-o, --opt <name=value>', NOT_SUPPORTED).hideHelp().argParser(() => {
        throw new UsageError(
          '--opt is not supported: a volume is a folder',
          'mount what is wanted on the host, and bind it with -v /path:/path; a tmpfs is --tmpfs',
        );
      }),
    )
    .action(async (name: string | undefined, flags: { label?: string[]; driver?: string }) => {
      if (flags.driver !== undefined && flags.driver !== 'local')
        throw new UsageError(`there is no volume driver ${flags.driver}`, 'local is the only one');
      const { context, volumes } = await load();
      const labels = labelTable('--label', flags.label ?? []);
      printOut(`${(await volumes.createVolume(context, name, labels)).name}\n`);
    });
  registerList(volume);
  volume
    .command('inspect')
    .description('show everything about volumes, as JSON')
    .argument('<volume...>', 'names')
    .option('-f, --format <format>', 'json, or a template such as {{.Mountpoint}}')
    .action(async (names: string[], { format = 'json' }: { format?: string }) => {
      const fill = format === 'json' ? undefined : parseTemplate(format);
      const { context, volumes, store } = await load();
      const found = names.map((name) => {
        const { copyUp: _state, ...one } = store.find(name);
        const users = volumes.usersOf(context, name).map((user) => user.name);
        return { ...one, driver: 'local', mountpoint: store.data(name), containers: users };
      });
      if (fill === undefined) return printJson(found);
      for (const one of found) {
        const { name: Name, mountpoint: Mountpoint, created: CreatedAt, containers: Containers } = one;
        const Labels = new Map(Object.entries(one.labels));
        printOut(
          `${fill({ Name, Driver: 'local', Scope: 'local', Mountpoint, Labels, CreatedAt, Containers })}\n`,
        );
      }
    });
  addExists(volume, 'volume', async (word) => (await load()).store.find(word));
  registerRemoval(volume);
}

function registerList(volume: Command): void {
  withFormat(
    volume
      .command('ls')
      .description('list volumes')
      .option('-q, --quiet', 'names only')
      .option('-f, --filter <name=value>', FILTERS, collect),
    ['Name', 'Driver', 'Mountpoint', 'Labels', 'CreatedAt'],
  ).action(async (flags: FormatFlags & { quiet?: boolean; filter?: string[] }) => {
    const { context, store } = await load();
    const damaged = (name: string) => context.warn(`the record of volume ${name} cannot be read`);
    const found = store.all(damaged).filter(filterOf(filters(context), flags.filter));
    const own = () =>
      found.map(({ copyUp: _state, ...one }) => ({
        ...one,
        driver: 'local',
        mountpoint: store.data(one.name),
      }));
    const rowsOf = () =>
      found.map((one) => ({
        Name: one.name,
        Driver: 'local',
        Mountpoint: store.data(one.name),
        Labels: new Map(Object.entries(one.labels)),
        CreatedAt: one.created,
      }));
    if (printFormatted(flags, own, rowsOf)) return;
    if (flags.quiet === true) {
      printOut(found.map(({ name }) => `${name}\n`).join(''));
    } else {
      const rows = found.map((one) => [
        one.name,
        `${age(one.created)} ago`,
        one.anonymous ? 'anonymous' : '',
      ]);
      printOut(table([['NAME', 'CREATED', ''], ...rows]));
    }
  });
}

function registerRemoval(volume: Command): void {
  volume
    .command('rm')
    .description('remove volumes with what is in them')
    .argument('<volume...>', 'names')
    .option('-f, --force', 'no error for those that are not there')
    .action(async (names: string[], flags: { force?: boolean }) => {
      const { context, volumes } = await load();
      for (const name of names) {
        try {
          await volumes.removeVolume(context, name);
          printOut(`${name}\n`);
        } catch (error) {
          const gone = error instanceof Error && 'code' in error && error.code === 'VOLUME_NOT_FOUND';
          if (flags.force === true && gone) continue;
          printError(failureText(error, false));
          exitWith(1);
        }
      }
    });
  volume
    .command('prune')
    .description('remove volumes without a name that no container uses')
    .option('-a, --all', 'those with a name as well')
    .option('-f, --force', 'as it is anyway: nothing is asked')
    .option('--filter <label=name>', 'only those with a label', collect)
    .action(async (flags: { all?: boolean; filter?: string[] }) => {
      const { context, volumes } = await load();
      const labels: Filters<Volume> = { label: (one, value) => hasLabel(one.labels, value) };
      const removed = await volumes.pruneVolumes(context, {
        all: flags.all === true,
        matches: filterOf(labels, flags.filter),
      });
      printOut(removed.map((name) => `${name}\n`).join(''));
    });
}
