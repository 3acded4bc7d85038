/**
 * Where a benchmark of whole guests runs: on this machine where its KVM runs stock kernels, else in one lab. The contestants share it.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { kvmUsability } from 'tvmm';

import { Lab } from '../../src/lab/lab.js';

export interface Output {
  status: number;
  stdout: string;
  stderr: string;
}

export interface BenchPlace extends AsyncDisposable {
  /** Puts a file where the commands find it; returns its path there. */
  put(name: string, data: Uint8Array): string;
  run(argv: string[]): Promise<Output>;
}

export interface PlaceOptions {
  memoryMiB: number;
  progress: (message: string) => void;
}

/** Opens the place. */
export async function openBench(options: PlaceOptions): Promise<BenchPlace> {
  const usability = kvmUsability();
  if (usability.usable) return here();
  options.progress(`${usability.reason}: measuring in the lab`);
  const lab = await Lab.start({ memoryMiB: options.memoryMiB, progress: options.progress });
  return {
    put(name, data) {
      writeFileSync(join(lab.exchange, name), data);
      return join(lab.exchangeInLab, name);
    },
    run: (argv) => lab.exec(argv),
    [Symbol.asyncDispose]: () => lab[Symbol.asyncDispose](),
  };
}

function here(): BenchPlace {
  const folder = mkdtempSync(join(tmpdir(), 'tvmm-bench-'));
  return {
    put(name, data) {
      writeFileSync(join(folder, name), data);
      return join(folder, name);
    },
    run: ([command, ...args]) =>
      new Promise((resolve) => {
        execFile(command, args, { encoding: 'utf8' }, (error, stdout, stderr) => {
          resolve({ status: error === null ? 0 : 1, stdout, stderr });
        });
      }),
    async [Symbol.asyncDispose]() {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
