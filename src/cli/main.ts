#!/usr/bin/env node
/**
 * The `tvmm` command line: finds the command's name, imports that one module, lets commander do the rest, and turns whatever fails
 * into one sentence and exit status 125. No logic of its own: the commands parse, call and print.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CommanderError } from 'commander';
import { packageRoot } from '../sys/package-root.js';
import { findCommand } from './commands.js';
import { addCommand, addStubs, createProgram, EXIT_FAILURE, type GlobalState } from './program.js';
import { failureText } from './report.js';

/** 128 + SIGPIPE, as any other program whose reader left. */
const EXIT_SIGPIPE = 141;

const state: GlobalState = { debug: false };

function fail(error: unknown): void {
  process.stderr.write(failureText(error, state.debug));
  process.exitCode = EXIT_FAILURE;
}

/** The first word that is not a global option: `tvmm --debug boot`, `tvmm help boot` and `tvmm boot` all name boot. */
function commandName(args: readonly string[]): string | undefined {
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === '--log-level') i++;
    else if (!arg?.startsWith('-') && arg !== 'help') return arg;
  }
  return undefined;
}

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}

async function main(args: readonly string[]): Promise<void> {
  const program = createProgram(version(), state);
  const entry = findCommand(commandName(args));
  if (entry === undefined) addStubs(program);
  else await addCommand(program, entry);
  await program.parseAsync(args.length === 0 ? ['--help'] : args, { from: 'user' });
}

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

main(process.argv.slice(2)).catch((error: unknown) => {
  // commander has already written its message; exit code 0 stands for --help and --version.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_FAILURE;
  else fail(error);
});
