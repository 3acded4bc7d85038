/**
 * `tvmm-oci`: reads the command line, runs the one command, and ends as runc does: with the container's exit status where it stayed with it,
 * else 0, or 1 (255 for exec) and a line in the log.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { hostFacts } from '../container/runtime/host.js';
import { Runtime } from '../container/runtime/runtime.js';
import { OCI_VERSION } from '../container/spec/types.js';
import { TvmmError } from '../sys/errors.js';
import { exitNow } from '../sys/libc.js';
import { packageRoot } from '../sys/package-root.js';
import { type FlagValues, parseFlags } from './oci-flags.js';
import { OciLog } from './oci-log.js';
import { print, printError } from './oci-print.js';
import { findCommand, GLOBAL_FLAGS, type OciCommand } from './oci-table.js';
import { UsageError } from './usage-error.js';

/** What is a process's own, and another's where the resident engine runs a command for its caller. */
export interface OciSurroundings {
  /** The working directory. */
  readonly cwd: string;
  readonly variables: Readonly<Record<string, string | undefined>>;
  /** The process that asks, where that is not this one. */
  readonly caller?: number;
  /** Standard output. @returns the exit status of a command that has only this to do */
  print(text: string): number;
  /** Standard error. */
  tell(text: string): void;
  /** What is done otherwise here. */
  readonly actions?: Readonly<Record<string, OciAction>>;
}

/** What a command gets. */
export interface OciCall {
  readonly surroundings: OciSurroundings;
  readonly runtime: Runtime;
  readonly global: FlagValues;
  readonly values: FlagValues;
  readonly args: readonly string[];
  readonly log: OciLog;
  /** The container's id: the first argument. */
  readonly id: string;
}

/** @returns the exit status */
export type OciAction = (call: OciCall) => Promise<number> | number;

const EXIT_FAILURE = 1;
const EXIT_EXEC_FAILURE = 255;

/**
 * Runs one command line.
 *
 * @param program its name in messages and help
 * @param surroundings whose they are: this process's by default
 * @returns the exit status
 */
export async function runOci(
  program: string,
  line: readonly string[],
  surroundings: OciSurroundings = OWN,
): Promise<number> {
  const { print, tell } = surroundings;
  let log = new OciLog({ format: 'text', debug: false, tell });
  let command: OciCommand | undefined;
  try {
    const { values: global, args } = parseFlags(GLOBAL_FLAGS, line, { stopAfterArguments: 1 });
    log = openLog(global, surroundings);
    const [name, ...rest] = args;
    if (global.flag('version')) return print(versionText(program));
    if (name === undefined || name === 'help' || name === 'h' || global.flag('help'))
      return print(await help(program, name === 'help' || name === 'h' ? rest[0] : name));
    command = findCommand(name);
    if (command === undefined) {
      log.fatal(`No help topic for '${name}'`);
      return 3;
    }
    return await runCommand(program, command, { global, line: rest, log, surroundings });
  } catch (error) {
    log.fatal(describe(error, command));
    if (log.options.debug) tell(`${error instanceof Error ? error.stack : String(error)}\n`);
    return command?.name === 'exec' ? EXIT_EXEC_FAILURE : EXIT_FAILURE;
  } finally {
    log[Symbol.dispose]();
  }
}

/** This process's own. */
const OWN: OciSurroundings = {
  get cwd() {
    return process.cwd();
  },
  variables: process.env,
  print,
  tell: printError,
};

interface CommandLine {
  readonly global: FlagValues;
  /** Behind the command's name. */
  readonly line: readonly string[];
  readonly log: OciLog;
  readonly surroundings: OciSurroundings;
}

async function runCommand(
  program: string,
  command: OciCommand,
  { global, line, log, surroundings }: CommandLine,
): Promise<number> {
  const { print } = surroundings;
  const usage = async (message: string): Promise<never> => {
    // Where runc tells it: its clients show what stands on stdout.
    print(`Incorrect Usage: ${message}\n\n${await help(program, command.name)}`);
    throw new UsageError(message);
  };
  let parsed: ReturnType<typeof parseFlags>;
  try {
    parsed = parseFlags(
      command.flags,
      line,
      command.stopAfterArguments === undefined ? {} : { stopAfterArguments: command.stopAfterArguments },
    );
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
  const { values, args } = parsed;
  if (values.flag('help')) return print(await help(program, command.name));
  if (args.length < command.min || args.length > command.max) {
    const count =
      command.min === command.max
        ? `exactly ${command.min}`
        : args.length < command.min
          ? `a minimum of ${command.min}`
          : `a maximum of ${command.max}`;
    return usage(`${program}: "${command.name}" requires ${count} argument(s)`);
  }
  const runtime = new Runtime({
    root: rootFolder(global, surroundings),
    cgroupManager: global.flag('systemd-cgroup') ? 'systemd' : 'cgroupfs',
    rootless: isRootless(global),
    log,
    ...(surroundings.caller === undefined ? {} : { caller: surroundings.caller }),
  });
  const action = surroundings.actions?.[command.name] ?? (await loadAction(command.name));
  return await action({ surroundings, runtime, global, values, args, log, id: args[0] ?? '' });
}

/** What is not on the way of every container is looked at when it is asked for. */
async function loadAction(name: string): Promise<OciAction> {
  switch (name) {
    case 'create':
    case 'run':
    case 'start':
    case 'kill':
    case 'delete':
    case 'pause':
    case 'resume':
      return (await import('./oci-lifecycle.js')).LIFECYCLE[name];
    case 'state':
    case 'list':
    case 'ps':
    case 'events':
    case 'features':
    case 'spec':
      return (await import('./oci-show.js')).SHOW[name];
    case 'exec':
      return (await import('./oci-exec.js')).exec;
    case 'update':
      return (await import('./oci-update.js')).update;
    default:
      return (await import('./oci-checkpoint.js')).checkpointOrRestore(name);
  }
}

function openLog(global: FlagValues, { cwd, tell }: OciSurroundings): OciLog {
  const format = global.text('log-format') ?? 'text';
  if (format !== 'text' && format !== 'json' && format !== '')
    throw new UsageError(`invalid log-format: ${format}`);
  const file = global.words('log');
  return new OciLog({
    format: format === 'json' ? 'json' : 'text',
    debug: global.flag('debug'),
    tell,
    ...(file === undefined ? {} : { file: resolve(cwd, file) }),
  });
}

/** As runc: /run for root, the user's own folder for everybody else. */
function rootFolder(global: FlagValues, { cwd, variables }: OciSurroundings): string {
  const given = global.text('root');
  if (given !== undefined) {
    const root = resolve(cwd, given);
    if (given === '' || root === '/') throw new UsageError('Option --root argument should not be set to /');
    return root;
  }
  const own = variables.XDG_RUNTIME_DIR ?? '';
  const mayUseRun = process.geteuid?.() === 0 && (!hostFacts().userNamespace || variables.USER === 'root');
  return own === '' || mayUseRun ? '/run/tvmm-oci' : join(own, 'tvmm-oci');
}

function isRootless(global: FlagValues): boolean {
  const given = global.text('rootless') ?? 'auto';
  if (['true', '1', 't', 'T', 'TRUE', 'True'].includes(given)) return true;
  if (['false', '0', 'f', 'F', 'FALSE', 'False'].includes(given)) return false;
  if (given !== '' && given.toLowerCase() !== 'auto')
    throw new UsageError(
      `invalid value ${JSON.stringify(given)} for flag -rootless: true, false or auto is expected`,
    );
  return process.geteuid?.() !== 0 || hostFacts().userNamespace === true;
}

async function help(program: string, name: string | undefined): Promise<string> {
  const { commandHelp, programHelp } = await import('./oci-help.js');
  const command = name === undefined ? undefined : findCommand(name);
  return command === undefined ? programHelp(program) : commandHelp(program, command);
}

/** Ends at once: nothing that this process still holds is worth the time of an orderly end. */
export function endProcess(status: number): never {
  return exitNow(status);
}

export function tvmmVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}

/** containerd reads these lines. */
function versionText(program: string): string {
  return `${program} version ${tvmmVersion()}\nspec: ${OCI_VERSION}\n`;
}

/** What an errno means, in the words that podman and docker look for. */
const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or directory',
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
};

function describe(error: unknown, command: OciCommand | undefined): string {
  const before =
    command === undefined || error instanceof UsageError
      ? ''
      : command.name === 'exec'
        ? 'exec failed: '
        : ['create', 'run'].includes(command.name)
          ? `tvmm-oci ${command.name} failed: `
          : '';
  if (!(error instanceof TvmmError))
    return `${before}${error instanceof Error ? error.message : String(error)}`;
  const words = WORDS[error.code];
  const meaning = words === undefined || error.message.includes(words) ? '' : ` (${words})`;
  const hint = error.hint === undefined || error.hint === '' ? '' : `. ${error.hint}`;
  return `${before}${error.message}${meaning}${hint}`;
}
