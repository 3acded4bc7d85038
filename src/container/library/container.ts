/**
 * One container of the engine, by its id: a handle without state of its own, so that it stays right whoever else works with the container.
 * Each method says what is now; each throws ContainerNotFoundError once the container is removed.
 */
import type { CgroupStats } from '../cgroup/stats.js';
import type { LimitOptions } from '../engine/change.js';
import type { EngineContext } from '../engine/context.js';
import { ContainerNotFoundError } from '../engine/errors.js';
import type { ExecRequest } from '../engine/exec.js';
import type { LogLine, LogSelection } from '../engine/log-lines.js';
import type { ContainerRecord } from '../engine/record.js';
import type { StopOptions } from '../engine/stop.js';
import type { ContainerProcess } from '../engine/top.js';
import { ScratchFile } from './scratch-file.js';

/** Another process in a container. What is absent is as the container's own program has it. */
export type ExecOptions = Partial<
  Pick<ExecRequest, 'env' | 'user' | 'workdir' | 'privileged' | 'detach' | 'stdio'>
>;

export interface OutputOptions extends Omit<ExecOptions, 'detach' | 'stdio'> {
  /** Bytes of each stream that are kept, from its beginning. Default 16 MiB. */
  readonly limit?: number;
}

export interface Output {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const OUTPUT_LIMIT = 16 * 2 ** 20;

/** Made by {@link Engine.create} and {@link Engine.container}. Disposing removes the container, even while it runs. */
export class Container implements AsyncDisposable {
  readonly #context: EngineContext;

  constructor(
    context: EngineContext,
    /** 64 hexadecimal digits. */
    readonly id: string,
  ) {
    this.#context = context;
  }

  /** State, options, times, ports and addresses as they are now. */
  async inspect(): Promise<ContainerRecord> {
    const { current } = await import('../engine/wait.js');
    const record = await current(this.#context, this.id);
    if (record !== undefined) return record;
    throw new ContainerNotFoundError(`there is no container ${this.id.slice(0, 12)} any more`, {
      code: 'CONTAINER_NOT_FOUND',
    });
  }

  /** Starts it in the background; its output goes to its log. @throws ContainerStateError, StartError */
  async start(): Promise<void> {
    const { startContainer } = await import('../engine/start.js');
    await this.#context.store.locked(this.id, (record) => startContainer(this.#context, record));
  }

  /** Waits until it does not run. @returns its exit status; undefined when it was removed meanwhile and nobody saw it */
  async wait(): Promise<number | undefined> {
    const { waitForEnd } = await import('../engine/wait.js');
    return waitForEnd(this.#context, this.id);
  }

  /**
   * Runs another process in it, with our own streams unless `stdio` names descriptors.
   *
   * @returns its exit status; 0 when detached @throws ContainerStateError, OptionError, LaunchError when it cannot be run
   */
  async exec(command: readonly string[], options: ExecOptions = {}): Promise<number> {
    const { execInContainer } = await import('../engine/exec.js');
    const { env = [], privileged = false, detach = false, ...rest } = options;
    return execInContainer(this.#context, this.id, {
      command,
      env,
      privileged,
      detach,
      tty: false,
      ...rest,
    });
  }

  /** Runs another process in it without input, and gives what it printed. @throws as {@link Container.exec} does */
  async output(command: readonly string[], options: OutputOptions = {}): Promise<Output> {
    const { limit = OUTPUT_LIMIT, ...rest } = options;
    using none = ScratchFile.make('stdin');
    using stdout = ScratchFile.make('stdout');
    using stderr = ScratchFile.make('stderr');
    const status = await this.exec(command, { ...rest, stdio: [none.fd, stdout.fd, stderr.fd] });
    return { status, stdout: stdout.text(limit), stderr: stderr.text(limit) };
  }

  /** What it has printed since it was created; with `follow` also what comes, until it ends. */
  async *logs({
    follow = false,
    ...selection
  }: LogSelection & { readonly follow?: boolean } = {}): AsyncGenerator<LogLine> {
    const [{ followLog, readLog }, { current }] = await Promise.all([
      import('../engine/log-lines.js'),
      import('../engine/wait.js'),
    ]);
    const folder = this.#context.store.folder(this.id);
    if (!follow) return yield* readLog(folder, selection);
    yield* followLog(folder, selection, async () => {
      const state = (await current(this.#context, this.id))?.state;
      return state !== 'running' && state !== 'paused';
    });
  }

  /** The counters of its cgroup. @throws ContainerStateError when it does not run */
  stats(): Promise<CgroupStats> {
    return this.#context.runtime.stats(this.id);
  }

  /** Its processes, as the host sees them. @throws ContainerStateError when it does not run */
  async processes(): Promise<ContainerProcess[]> {
    const { describeProcesses } = await import('../engine/top.js');
    return describeProcesses(await this.#context.runtime.pids(this.id));
  }

  /** Asks it to end, and ends it when it does not in time. Harmless when it does not run. */
  async stop(options?: StopOptions): Promise<void> {
    const { stopContainer } = await import('../engine/stop.js');
    await stopContainer(this.#context, this.id, options);
  }

  /** @throws ContainerStateError when it does not run, OptionError for a signal that is none */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const { killContainer } = await import('../engine/stop.js');
    await killContainer(this.#context, this.id, signal);
  }

  /** Stops it where it runs, and starts it. @throws ContainerStateError, StartError */
  async restart(options?: { readonly timeout?: number }): Promise<void> {
    const { restartContainer } = await import('../engine/change.js');
    await restartContainer(this.#context, this.id, options);
  }

  async pause(): Promise<void> {
    const { pauseContainer } = await import('../engine/change.js');
    await pauseContainer(this.#context, this.id, true);
  }

  async unpause(): Promise<void> {
    const { pauseContainer } = await import('../engine/change.js');
    await pauseContainer(this.#context, this.id, false);
  }

  /** Changes limits, while it runs at once. @throws OptionError, CgroupLimitError */
  async update(limits: LimitOptions): Promise<void> {
    const { updateContainer } = await import('../engine/change.js');
    await updateContainer(this.#context, this.id, limits);
  }

  /** Removes everything of it: its layer, log, networks, cgroup. @throws ContainerStateError when it runs and `force` is not set */
  async remove(options: { readonly force?: boolean } = {}): Promise<void> {
    const { removeContainer } = await import('../engine/stop.js');
    await removeContainer(this.#context, this.id, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Removed before, by us or somebody else.
    if (this.#context.store.read(this.id) === undefined) return;
    await this.remove({ force: true });
  }
}
