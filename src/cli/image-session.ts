/** What the image commands share: the store, how to stop, tables and ages. */
import { Option } from 'commander';
import type * as Images from '../container/image/index.js';
import { escaped, escapedJson } from '../sys/errors.js';
import { UsageError } from './usage-error.js';

export interface StoreFlags {
  readonly root?: string;
}

/** What is under way, and how to stop it. */
export interface Session extends Disposable {
  readonly images: typeof Images;
  readonly store: Images.ImageStore;
  readonly signal: AbortSignal;
}

export async function openSession(flags: StoreFlags): Promise<Session> {
  const images = await import('../container/image/index.js');
  const store = images.ImageStore.open(flags.root);
  const controller = new AbortController();
  let received: NodeJS.Signals | undefined;
  // Stopped in order: nothing half made stays. A second signal ends the process as it always does.
  const stop = (signal: NodeJS.Signals): void => {
    received = signal;
    controller.abort(new UsageError(`stopped by ${signal}`));
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  return {
    images,
    store,
    signal: controller.signal,
    [Symbol.dispose]() {
      process.off('SIGINT', stop).off('SIGTERM', stop);
      // The end that the caller expects of a command that a signal stopped.
      if (received !== undefined) process.kill(process.pid, received);
    },
  };
}

export function print(value: unknown): void {
  process.stdout.write(`${escapedJson(JSON.stringify(value, undefined, 2))}\n`);
}

/** Columns under their titles; what an image says in them steers no terminal. */
export function table(cells: readonly (readonly string[])[]): string {
  const rows = cells.map((row) => row.map(escaped));
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ');
  return rows.map((row) => `${line(row).trimEnd()}\n`).join('');
}

export const shortId = (digest: string): string => digest.replace(/^sha\d+:/, '').slice(0, 12);

/** How long ago, in the largest unit. */
export function ago(milliseconds: number): string {
  const steps = [
    [86_400_000 * 365, 'year'],
    [86_400_000 * 30, 'month'],
    [86_400_000, 'day'],
    [3_600_000, 'hour'],
    [60_000, 'minute'],
  ] as const;
  for (const [size, name] of steps) {
    const count = Math.floor(milliseconds / size);
    if (count > 0) return `${count} ${name}${count === 1 ? '' : 's'} ago`;
  }
  return 'just now';
}

export function rootOption(): Option {
  return new Option('--root <dir>', 'the folder of images and containers');
}
