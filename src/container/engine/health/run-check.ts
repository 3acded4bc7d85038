/**
 * Runs a container's health check once: by the minder when it is due, or for `tvmm healthcheck run`. The check is untrusted like all that runs
 * in the container: it is killed with its session when its time is up, and only the first bytes of its output are kept, while the rest is
 * read and dropped so that printing does not hold it up.
 */
import { constants, openSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { FileDescriptor } from '../../../sys/fd.js';
import { createPipe } from '../../../sys/pipe.js';
import { LaunchError } from '../../launch/errors.js';
import type { EngineContext } from '../context.js';
import { note } from '../events.js';
import { execInRunning } from '../exec.js';
import { readIfThere } from '../files.js';
import { identify, isAlive } from '../process.js';
import type { ContainerRecord } from '../record.js';
import { programStatus } from '../start.js';
import { stopContainer } from '../stop.js';
import type { HealthCheck } from './check.js';
import { advance, type Health, type Probe, readHealth, writeHealth } from './health.js';

/** Docker keeps as much. */
const MAX_OUTPUT = 4096;
const KILL_AGAIN_MS = 20;

/**
 * @returns the health afterwards, and what the check said; undefined when nothing was checked: no check, or the container does not run (any
 *   more) or is paused
 */
export async function runHealthCheck(
  context: EngineContext,
  id: string,
): Promise<{ health: Health; probe: Probe } | undefined> {
  const before = context.store.read(id);
  if (before?.healthCheck === undefined || before.state !== 'running' || before.starting) return undefined;
  const { healthCheck: check } = before;
  const probe = await probeOnce(context, before, check);
  const record = context.store.read(id);
  // A check that the container's end or a pause has cut off says nothing about its health.
  if (record?.state !== 'running' || record.init?.pid !== before.init?.pid || !isAlive(record.init))
    return undefined;
  const folder = context.store.folder(id);
  const last = readHealth(folder, record);
  if (last === undefined) return undefined;
  const health = advance(last, probe, check, record.started);
  writeHealth(folder, health);
  if (health.status !== last.status) {
    note(context.paths, 'health_status', record, { health_status: health.status });
    if (health.status === 'unhealthy') await answerFailure(context, record, check);
  }
  return { health, probe };
}

/** `--health-on-failure` */
async function answerFailure(
  context: EngineContext,
  { id }: ContainerRecord,
  check: HealthCheck,
): Promise<void> {
  // Not as if the user had done it: the restart policy has its say.
  if (check.onFailure === 'kill') await context.runtime.kill(id, os.signals.SIGKILL);
  if (check.onFailure === 'stop') await stopContainer(context, id);
}

async function probeOnce(
  context: EngineContext,
  record: ContainerRecord,
  check: HealthCheck,
): Promise<Probe> {
  const pidFile = join(context.store.folder(record.id), `check.${process.pid}`);
  const start = new Date().toISOString();
  const pipe = createPipe('the check’s output');
  using reader = pipe.reader;
  using writer = pipe.writer;
  using output = new CheckOutput(reader.fd);
  using none = FileDescriptor.open('/dev/null', constants.O_RDONLY);
  using deadline = new Deadline(check.timeout, pidFile);
  let exitCode: number;
  let problem = '';
  try {
    exitCode = await execInRunning(context, record, {
      command: check.command,
      env: [],
      tty: false,
      privileged: false,
      detach: false,
      stdio: [none.fd, writer.fd, writer.fd],
      pidFile,
    });
  } catch (error) {
    exitCode = error instanceof LaunchError ? programStatus(error) : 125;
    problem = error instanceof Error ? error.message : String(error);
  } finally {
    rmSync(pidFile, { force: true });
  }
  const text = `${await output.text()}${problem}`;
  const probe = { start, end: new Date().toISOString(), exitCode, output: text };
  if (!deadline.isOver) return probe;
  return { ...probe, exitCode: -1, output: `the check took longer than ${check.timeout} ms: ${text}` };
}

/** Kills the check's session when the time is up, however far its start is then. */
class Deadline implements Disposable {
  #timer: NodeJS.Timeout;
  isOver = false;

  constructor(
    timeoutMs: number,
    readonly pidFile: string,
  ) {
    this.#timer = setTimeout(() => this.#kill(), timeoutMs);
  }

  #kill(): void {
    this.isOver = true;
    const pid = Number(readIfThere(this.pidFile) ?? '0');
    try {
      if (pid > 1 && identify(pid) !== undefined) process.kill(-pid, 'SIGKILL');
    } catch {
      // It ended by itself meanwhile.
    }
    this.#timer = setTimeout(() => this.#kill(), KILL_AGAIN_MS);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

/** What comes out of a pipe: the first {@link MAX_OUTPUT} bytes. */
class CheckOutput implements Disposable {
  readonly #socket: Socket;
  readonly #chunks: Buffer[] = [];
  #size = 0;

  constructor(reader: number) {
    // A description of its own: Node makes what it reads from non-blocking, and closes it.
    const fd = openSync(`/proc/self/fd/${reader}`, constants.O_RDONLY | constants.O_NONBLOCK);
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#socket.on('error', () => {});
    this.#socket.on('data', (bytes) => {
      const part = bytes.subarray(0, MAX_OUTPUT - this.#size);
      this.#size += part.length;
      if (part.length > 0) this.#chunks.push(part);
    });
  }

  /** After the check's end: what it has written is in the pipe, and is read in the next rounds. Others may hold its other end and go on. */
  async text(): Promise<string> {
    for (let round = 0; round < 3; round++) await setImmediate();
    return Buffer.concat(this.#chunks).toString('utf8');
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
