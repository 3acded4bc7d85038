/**
 * The lab as an object: one L1 that runs commands, one after another or several at once, until it is disposed of. Made for
 * tests and benchmarks; `runInLab` (run.ts) is the one-shot with live streams.
 *
 * The host's file system is L1's root: the same paths, read-only below a writable overlay that ends with L1. L1 trusts it not
 * to change (9p `cache=loose`): a file that the host changes while L1 runs may be seen stale. What changes belongs on the
 * exchange share, which both sides see at once: `lab.exchange` here is `lab.exchangeInLab` there.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LabTimeoutError } from './errors.js';
import { EXCHANGE_IN_LAB, JOBS_FOLDER, STREAM_JOB } from './layout.js';
import { jobScript, labEnvironment } from './shell.js';
import { type LabOptions, type StartedLab, startLab } from './start.js';

/** Options of {@link Lab.exec}. */
export interface LabExecOptions {
  /** Absolute; by default this process's working directory, which L1 sees under the same path. */
  cwd?: string;
  /** Added to the lab's environment (PATH, HOME, LANG, TERM and TVMM_* of this process). */
  env?: Readonly<Record<string, string>>;
  /** Empty by default. */
  stdin?: Uint8Array;
  /** After this the job's process group is killed and {@link Lab.exec} rejects; no limit by default. */
  timeoutMs?: number;
}

/** What a command in the lab did. */
export interface LabResult {
  /** Exit status; 128 + n after signal n. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How often a job that was told to die is told again, and after how many times L1 itself is taken for dead. */
const KILL_EVERY_MS = 1000;
const MAX_KILLS = 20;

/** A running L1. */
export class Lab implements AsyncDisposable {
  /** The exchange share's folder on this host. */
  readonly exchange: string;
  /** The exchange share as L1 sees it. */
  readonly exchangeInLab = EXCHANGE_IN_LAB;
  readonly #started: StartedLab;
  #lastJob = STREAM_JOB;

  private constructor(started: StartedLab) {
    this.#started = started;
    this.exchange = started.exchange;
  }

  /** Boots L1. Throws `LabStartError` (what is missing here), `LabOptionError`, `LabDiedError` (with L1's console). */
  static async start(options: LabOptions = {}): Promise<Lab> {
    return new Lab(await startLab(options));
  }

  /** Process id of the emulator. */
  get pid(): number | undefined {
    return this.#started.qemu.pid;
  }

  /** Resolves when L1 is gone, whatever ended it. */
  get ended(): Promise<void> {
    return this.#started.qemu.ended;
  }

  /**
   * Runs `argv` as root in L1 to its end. Its stdout and stderr are taken as UTF-8. Any status is a result; throws
   * `LabTimeoutError`, `LabDiedError` (also when L1 stands still: it is ended then), or `LabJobError` for a command that cannot be one.
   */
  async exec(argv: readonly string[], options: LabExecOptions = {}): Promise<LabResult> {
    const env = { ...labEnvironment(process.env), ...options.env };
    const script = jobScript({ argv, cwd: options.cwd ?? process.cwd(), env });
    const job = ++this.#lastJob;
    const folder = join(this.exchange, JOBS_FOLDER, `${job}`);
    mkdirSync(folder);
    try {
      writeFileSync(join(folder, 'script'), script);
      writeFileSync(join(folder, 'stdin'), options.stdin ?? '');
      const { status, timedOut } = await this.#run(job, options.timeoutMs);
      const stdout = readFileSync(join(folder, 'stdout'), 'utf8');
      const stderr = readFileSync(join(folder, 'stderr'), 'utf8');
      if (timedOut) {
        const hint = stderr === '' ? undefined : `its stderr ended with: ${stderr.trim().slice(-400)}`;
        const message = `${argv.join(' ')} ran in the lab for more than ${options.timeoutMs} ms and was killed`;
        throw new LabTimeoutError(message, { hint, stdout, stderr });
      }
      return { status, stdout, stderr };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  async #run(job: number, timeoutMs: number | undefined): Promise<{ status: number; timedOut: boolean }> {
    const { control } = this.#started;
    let timedOut = false;
    let timer: NodeJS.Timeout | undefined;
    let kills = 0;
    const kill = () => {
      timedOut = true;
      // An L1 that stands still answers nothing any more: its end ends every wait, and the next user starts another.
      if (++kills > MAX_KILLS) return this.#started.qemu.kill();
      control.kill(job);
      timer = setTimeout(kill, KILL_EVERY_MS);
    };
    if (timeoutMs !== undefined) timer = setTimeout(kill, timeoutMs);
    try {
      return { status: await control.run(job), timedOut };
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#started[Symbol.asyncDispose]();
  }
}
