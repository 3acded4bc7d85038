/** `exists` of containers, images, volumes, networks and pods, podman's: an exit status for scripts, and not a word. */
import type { Command } from 'commander';
import { UsageError } from '../usage-error.js';
import { exitWith } from './here.js';

const GONE = /_(NOT_FOUND|AMBIGUOUS)$/;

/** @param find throws when there is none */
export function addExists(parent: Command, noun: string, find: (word: string) => Promise<unknown>): void {
  parent
    .command('exists')
    .description(`exit status 0 when the ${noun} is there, 1 when it is not`)
    .argument(`<${noun}>`, 'name or id')
    .action(async (word: string) => {
      try {
        await find(word);
      } catch (error) {
        const isGone = error instanceof Error && 'code' in error && GONE.test(String(error.code));
        if (!isGone && !(error instanceof UsageError)) throw error;
        exitWith(1);
      }
    });
}
