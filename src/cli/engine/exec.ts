/** `tvmm exec`: another command in a running container. */
import { type Command, Option } from 'commander';
import { parseEnvFile } from '../../container/engine/options/process.js';
import { UsageError } from '../usage-error.js';
import { collect, engine, readOptionFile, resolveEnvironment } from './common.js';
import { NOT_SUPPORTED } from './create-flags.js';
import { exitWith, here } from './here.js';

const HELP = `
The command runs with the container's user, environment and limits unless told otherwise; its exit status is ours (126 when it cannot be
run, 127 when it is not there).

Examples:
  tvmm exec web cat /etc/hostname
  tvmm exec -it web sh                 a shell with a terminal
  tvmm exec -u 0 -w /tmp -e DEBUG=1 web ./check
  tar c data | tvmm exec -i web tar x -C /srv
`;

interface ExecFlags {
  interactive?: boolean;
  tty?: boolean;
  detach?: boolean;
  env?: string[];
  envFile?: string[];
  user?: string;
  workdir?: string;
  privileged?: boolean;
}

export function register(program: Command): void {
  program
    .command('exec')
    .description('Run another command in a running container.')
    .usage('[options] CONTAINER COMMAND [ARGUMENT…]')
    .argument('<container>', 'name or id')
    .argument('<command...>', 'the command and its arguments')
    .option('-i, --interactive', 'join our stdin')
    .option('-t, --tty', 'give it a terminal')
    .option('-d, --detach', 'run it in the background')
    .option(
      '-e, --env <name=value>',
      'set an environment variable; NAME alone takes the caller’s value',
      collect,
    )
    .option('--env-file <file>', 'read environment variables from a file', collect)
    .option('-u, --user <user[:group]>', 'run as this user')
    .option('-w, --workdir <folder>', 'working directory')
    .option('--privileged', 'with all capabilities')
    .addOption(
      new Option('--detach-keys <keys>', NOT_SUPPORTED).hideHelp().argParser(() => {
        throw new UsageError('--detach-keys is not supported: an exec ends with its terminal', 'use exec -d');
      }),
    )
    .passThroughOptions()
    .addHelpText('after', HELP)
    .action(async (word: string, command: string[], flags: ExecFlags) => {
      if (flags.tty === true) here().needOwnProcess();
      const context = await engine();
      const [{ execInContainer }, { runExec }] = await Promise.all([
        import('../../container/engine/exec.js'),
        import('./exec-status.js'),
      ]);
      const files = (flags.envFile ?? []).flatMap((file) =>
        parseEnvFile(readOptionFile('--env-file', file), file, here().variables),
      );
      const status = await runExec(flags, (stdio) =>
        execInContainer(context, context.store.resolve(word), {
          command,
          env: [...files, ...resolveEnvironment(flags.env ?? [])],
          user: flags.user,
          workdir: flags.workdir,
          tty: flags.tty === true,
          privileged: flags.privileged === true,
          detach: flags.detach === true,
          stdio,
        }),
      );
      exitWith(status);
    });
}
