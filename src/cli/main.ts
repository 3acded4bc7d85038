#!/usr/bin/env node
/**
 * The `tvmm` command: finds the command's name and hands over. Booting has a bundle of its own with a code cache: on the way to the
 * guest's first instruction every file that must be found and opened, and every function compiled, counts, most of all under emulation.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadBundle, recordCodeCaches } from '../sys/code-cache.js';
import { startThread } from '../vmm/start-thread.js';
import { withoutAliases } from './aliases.js';
import type * as BootMain from './boot-main.js';
import { commandName } from './command-name.js';
import type * as EngineMain from './engine-main.js';
import { startOci } from './oci-start.js';
import { isEngineCommand, needsNamespaces } from './rootless.js';
import type * as RootlessMain from './rootless-main.js';

const EXIT_FAILURE = 125;

/** Whether a machine of this process is likely: a guess that only costs a thread when it is wrong. */
function startsMachine(args: readonly string[]): boolean {
  if (args.some((arg) => arg === '--help' || arg === '-h')) return false;
  const accel = args.indexOf('--accel');
  return accel === -1
    ? existsSync('/sys/module/kvm_amd') || existsSync('/sys/module/kvm_intel')
    : args[accel + 1] === 'kvm';
}

async function main(args: readonly string[]): Promise<void> {
  const name = commandName(args);
  if (name === 'boot') {
    const dist = import.meta.dirname;
    const spare = startsMachine(args) ? startThread(dist, 'vcpu-thread') : undefined;
    // The bundle is our own build's: its exports are what its source says.
    const { runBoot } = loadBundle(join(dist, 'boot-main.cjs')) as typeof BootMain;
    await runBoot(args, spare);
  } else if (name === 'oci') {
    await startOci(import.meta.dirname, args.slice(args.indexOf('oci') + 1));
  } else if (needsNamespaces(name, args)) {
    const folder = import.meta.dirname;
    const { becomeRoot } = loadBundle(join(folder, 'rootless-main.cjs'), 'rootless') as typeof RootlessMain;
    process.exitCode = await becomeRoot();
  } else if (!isEngineCommand(name) || !(await runInEngine(args, name))) {
    const { runCommands } = await import('./commands-main.js');
    await runCommands(args, name);
  }
}

async function runInEngine(args: readonly string[], name: string): Promise<boolean> {
  const folder = import.meta.dirname;
  const { runEngineCommand } = loadBundle(join(folder, 'engine-main.cjs'), name) as typeof EngineMain;
  const isOurs = await runEngineCommand(args, name);
  if (isOurs && process.exitCode !== EXIT_FAILURE) recordCodeCaches();
  return isOurs;
}

// Failures are reported where the commands run; this promise does not reject.
const words = process.argv.slice(2);
// `tvmm help run` is `tvmm run --help`.
void main(withoutAliases(words[0] === 'help' ? [...words.slice(1), '--help'] : words));
