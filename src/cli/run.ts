/**
 * Runs the `tvmm` command line: imports the one command that is named, lets commander do the rest, and turns whatever fails into one
 * sentence and exit status 125. No logic of its own: the commands parse, call and print.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CommanderError } from 'commander';
import { packageRoot } from '../sys/package-root.js';
import { withSwitches } from './boolean-flags.js';
import type { CommandEntry } from './commands.js';
import { exitWith, printError } from './engine/here.js';
import { addCommand, addStubs, createProgram, EXIT_FAILURE, type GlobalState } from './program.js';
import { failureText } from './report.js';
import { UsageError } from './usage-error.js';

/** 128 + SIGPIPE, as any other program whose reader left. */
const EXIT_SIGPIPE = 141;

/** Docker's and podman's commands that are not here. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    ['build', 'buildx', 'builder'].map((name) => [
      name,
      'build with buildah, then: buildah push NAME docker-archive:/dev/stdout | tvmm load',
    ]),
  ),
  ...Object.fromEntries(
    ['compose', 'swarm', 'service', 'stack', 'node', 'secret', 'config', 'kube', 'play', 'generate'].map(
      (name) => [name, 'tvmm pod keeps containers together; what starts them is a script, or systemd'],
    ),
  ),
  search: 'look at the registry’s own pages; tvmm pull NAME fetches by name',
  context: 'TVMM_ROOT chooses an engine; ssh HOST tvmm … uses another machine’s',
  checkpoint: 'tvmm oci checkpoint dumps containers of tvmm oci',
  machine: 'tvmm boot boots machines',
};

const state: GlobalState = { debug: false };

function fail(error: unknown): void {
  printError(failureText(error, state.debug));
  exitWith(EXIT_FAILURE);
}

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}

async function run(args: readonly string[], commands: readonly CommandEntry[], name?: string): Promise<void> {
  const program = createProgram(version(), state);
  const entry = commands.find((one) => one.name === name);
  const why =
    entry === undefined && name !== undefined && Object.hasOwn(ELSEWHERE, name) ? ELSEWHERE[name] : undefined;
  if (why !== undefined) throw new UsageError(`there is no tvmm ${name}`, why);
  if (entry === undefined) addStubs(program, commands);
  else await addCommand(program, entry);
  const words = withSwitches(program, args);
  await program.parseAsync(words.length === 0 ? ['--help'] : words, { from: 'user' });
}

/**
 * The whole life of the process. The exit status is in `process.exitCode` when this resolves.
 *
 * @param commands the commands that there are
 * @param name the first word of `args`: of a command only that one is loaded; anything else gets the help or commander's complaint
 */
export async function runProgram(
  args: readonly string[],
  commands: readonly CommandEntry[],
  name?: string,
): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // The reader of a pipe left; nobody is there to be told.
      process.exit(error.code === 'EPIPE' ? EXIT_SIGPIPE : EXIT_FAILURE);
    });
  }
  process.on('uncaughtException', (error) => {
    fail(error);
    process.exit();
  });

  await runOne(args, commands, name);
}

/** One command line, whoever gave it (engine/here.ts). Does not throw: what fails is told there. */
export async function runOne(
  args: readonly string[],
  commands: readonly CommandEntry[],
  name?: string,
): Promise<void> {
  await run(args, commands, name).catch((error: unknown) => {
    // commander has already written its message; exit code 0 stands for --help and --version.
    if (error instanceof CommanderError) exitWith(error.exitCode === 0 ? 0 : EXIT_FAILURE);
    else fail(error);
  });
}
