/**
 * Where a benchmark of whole guests runs: on this machine where its KVM runs stock kernels, else in one lab. The contestants share it.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { kvmUsability } from 'tvmm';

import { LabDiedError, LabTimeoutError } from '../../src/lab/errors.js';
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
  /** How often the place had to be made anew: what was measured meanwhile does not count, and its caches are cold. */
  readonly restarts: number;
}

export interface PlaceOptions {
  memoryMiB: number;
  /** No command takes longer, unless the emulator stands still. */
  timeoutMs: number;
  progress: (message: string) => void;
}

/** Opens the place. */
export async function openBench(options: PlaceOptions): Promise<BenchPlace> {
  const usability = kvmUsability();
  if (usability.usable) return here();
  options.progress(`${usability.reason}: measuring in the lab`);
  return LabPlace.open(options);
}

/** As many attempts as a command has. */
const ATTEMPTS = 4;
/** A virtual machine monitor has threads: with one CPU the lab would measure how they wait for each other. */
const CPUS = 2;

/** A lab with two CPUs, which the emulator does not always survive (DEFAULT_LAB_MACHINE): then another takes its place. */
class LabPlace implements BenchPlace {
  restarts = 0;
  readonly #options: PlaceOptions;
  readonly #files = new Map<string, Uint8Array>();
  #lab: Lab;

  private constructor(options: PlaceOptions, lab: Lab) {
    this.#options = options;
    this.#lab = lab;
  }

  static async open(options: PlaceOptions): Promise<LabPlace> {
    return new LabPlace(options, await startLab(options));
  }

  put(name: string, data: Uint8Array): string {
    this.#files.set(name, data);
    writeFileSync(join(this.#lab.exchange, name), data);
    return join(this.#lab.exchangeInLab, name);
  }

  async run(argv: string[]): Promise<Output> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#lab.exec(argv, { timeoutMs: this.#options.timeoutMs });
      } catch (error) {
        const still = error instanceof LabDiedError || error instanceof LabTimeoutError;
        if (!still || attempt === ATTEMPTS) throw error;
        this.#options.progress('the emulator stood still: going on in a new lab');
        await this.#lab[Symbol.asyncDispose]();
        this.#lab = await startLab(this.#options);
        this.restarts++;
        for (const [name, data] of this.#files) writeFileSync(join(this.#lab.exchange, name), data);
      }
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#lab[Symbol.asyncDispose]();
  }
}

function startLab({ memoryMiB, progress }: PlaceOptions): Promise<Lab> {
  return Lab.start({ memoryMiB, cpus: CPUS, progress });
}

function here(): BenchPlace {
  const folder = mkdtempSync(join(tmpdir(), 'tvmm-bench-'));
  return {
    restarts: 0,
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
