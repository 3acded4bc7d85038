/**
 * A containerd of a test's own, with our runtime: its configuration, folders and socket in the test's folder, its containers in a namespace
 * of the test's name, so that their cgroups bear it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ClientHost, IMAGE, type Outcome, output, type RunOptions, run } from './clients.js';

export class Containerd {
  readonly host = new ClientHost();
  readonly socket = join(this.host.folder, 'containerd.sock');
  readonly #options: readonly string[];
  #process: ChildProcess | undefined;

  constructor(readonly kind: 'cold' | 'resident') {
    this.#options = [
      ...['--runtime', 'io.containerd.runc.v2', '--runc-binary', this.host.runtime(kind)],
      ...['--runc-root', this.host.states, '--snapshotter', 'native'],
    ];
  }

  async start(): Promise<void> {
    const { folder } = this.host;
    if (this.kind === 'resident') await this.host.startEngine();
    const log = join(folder, 'log');
    const config = join(folder, 'config.toml');
    writeFileSync(config, this.#config());
    const file = openSync(log, 'a');
    this.#process = spawn('containerd', ['--config', config], { stdio: ['ignore', file, file] });
    this.#process.on('error', () => {});
    // Plain copies as layers: this works on every file system.
    const load = ['images', 'import', '--snapshotter', 'native', this.host.archive];
    for (let tries = 0; (await this.ctr(['version'])).status !== 0; tries++) {
      if (tries > 100) throw new Error(`containerd does not answer: ${readFileSync(log, 'utf8')}`);
      await delay(100);
    }
    await this.ok(...load);
    await output('ctr', ['--address', this.socket, '--namespace', 'k8s.io', ...load]);
  }

  #config(): string {
    const { folder, states } = this.host;
    const cri = '[plugins."io.containerd.grpc.v1.cri"';
    return `version = 2
root = "${folder}/root"
state = "${folder}/state"
[grpc]
address = "${this.socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "${folder}/opt"
${cri}]
sandbox_image = "${IMAGE}"
# Lowering it takes a capability that root may lack.
restrict_oom_score_adj = true
${cri}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "${this.host.cniNetwork('test')}"
${cri}.containerd]
snapshotter = "native"
${cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
${cri}.containerd.runtimes.runc.options]
BinaryName = "${this.host.runtime(this.kind)}"
Root = "${states}"
`;
  }

  ctr(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return run('ctr', ['--address', this.socket, '--namespace', this.host.name, ...args], options);
  }

  /** @returns what it prints @throws Error when it fails */
  ok(...args: string[]): Promise<string> {
    return output('ctr', ['--address', this.socket, '--namespace', this.host.name, ...args]);
  }

  /** `ctr run --rm`. */
  run(id: string, options: readonly string[], ...command: string[]): Promise<Outcome> {
    return this.ctr(['run', '--rm', ...this.#options, ...options, IMAGE, id, ...command]);
  }

  /** `ctr run --detach`. */
  detached(id: string, ...command: string[]): Promise<string> {
    return this.ok('run', '--detach', ...this.#options, IMAGE, id, ...command);
  }

  /** `ctr` below a terminal of 33 lines with 99 columns each. */
  onTerminal(...args: string[]): Promise<Outcome> {
    const words = ['ctr', '--address', this.socket, '--namespace', this.host.name, ...args];
    const line = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
    return run('script', ['-qec', `stty rows 33 cols 99; ${line}`, '/dev/null'], { stdin: { open: true } });
  }

  /** As {@link run}, on that terminal. */
  runOnTerminal(id: string, ...command: string[]): Promise<Outcome> {
    return this.onTerminal('run', '--rm', '--tty', ...this.#options, IMAGE, id, ...command);
  }

  /** What is left beside containerd itself. */
  async left(): Promise<string[]> {
    const own = `${this.#process?.pid} `;
    const rest = () => this.host.left().filter((line) => !line.startsWith(own));
    for (let tries = 0; tries < 100 && rest().length > 0; tries++) await delay(100);
    return rest();
  }

  async end(): Promise<void> {
    // Of tests that failed.
    for (const namespace of [this.host.name, 'k8s.io']) {
      const tasks = ['--address', this.socket, '--namespace', namespace, 'task'];
      for (const id of (await run('ctr', [...tasks, 'ls', '--quiet'])).stdout.split('\n').filter(Boolean))
        await run('ctr', [...tasks, 'rm', '--force', id]);
    }
    const process = this.#process;
    if (process?.pid !== undefined && process.exitCode === null) {
      const exit = once(process, 'exit');
      process.kill();
      await exit;
    }
    await this.host.end();
  }
}
