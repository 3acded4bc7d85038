/**
 * A Docker daemon of a test's own, with its containerd and our runtime as the default one: its folders and its socket are in the test's
 * folder, it makes no bridge and no firewall rules, and its containers' cgroups are below one of the test's name.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ClientHost, IMAGE, type Outcome, output, type RunOptions, run } from './clients.js';

/** The daemon's own: a newer client from elsewhere may not speak with it any more. */
const CLIENT = existsSync('/usr/bin/docker') ? '/usr/bin/docker' : 'docker';

export class Docker {
  readonly host = new ClientHost();
  readonly #environment: NodeJS.ProcessEnv;
  #process: ChildProcess | undefined;

  constructor(readonly kind: 'cold' | 'resident') {
    const { folder } = this.host;
    this.#environment = {
      ...process.env,
      DOCKER_HOST: `unix://${folder}/docker.sock`,
      DOCKER_CONFIG: join(folder, 'client'),
      // The builder that is part of the daemon, which builds by the default runtime.
      DOCKER_BUILDKIT: '0',
    };
  }

  /** @param options of the daemon */
  async start(...options: string[]): Promise<void> {
    const { folder, name } = this.host;
    if (this.kind === 'resident') await this.host.startEngine();
    const settings = {
      runtimes: { tvmm: { path: this.host.runtime(this.kind) } },
      'default-runtime': 'tvmm',
      'data-root': join(folder, 'data'),
      'exec-root': join(folder, 'run'),
      pidfile: join(folder, 'pid'),
      hosts: [`unix://${folder}/docker.sock`],
      // Plain copies: this works on every file system.
      'storage-driver': 'vfs',
      'exec-opts': ['native.cgroupdriver=cgroupfs'],
      'cgroup-parent': `/${name}`,
      bridge: 'none',
      iptables: false,
      'ip-forward': false,
      'ip-masq': false,
      'shutdown-timeout': 1,
    };
    const file = join(folder, 'daemon.json');
    writeFileSync(file, JSON.stringify(settings));
    const log = openSync(this.#log, 'a');
    this.#process = spawn('dockerd', ['--config-file', file, ...options], {
      stdio: ['ignore', log, log],
      env: this.#environment,
    });
    this.#process.on('error', () => {});
    for (let tries = 0; (await this.run(['version'])).status !== 0; tries++) {
      if (tries > 150) throw new Error(`dockerd does not answer: ${readFileSync(this.#log, 'utf8')}`);
      await delay(100);
    }
    await this.ok('load', '--quiet', '--input', this.host.archive);
  }

  get #log(): string {
    return join(this.host.folder, 'log');
  }

  run(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return run(CLIENT, args, { env: this.#environment, ...options });
  }

  /** @returns what it prints, without the last newline */
  async ok(...args: string[]): Promise<string> {
    return (await output(CLIENT, args, { env: this.#environment })).replace(/\n$/, '');
  }

  /** Runs it below a terminal of 33 lines with 99 columns each. */
  onTerminal(...args: string[]): Promise<Outcome> {
    const words = [CLIENT, ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
    return run('script', ['-qec', `stty rows 33 cols 99; ${words.join(' ')}`, '/dev/null'], {
      env: this.#environment,
      // At the end of input `script` would type into the terminal.
      stdin: { open: true },
    });
  }

  /** `docker run --rm` without a network. */
  container(options: readonly string[], ...command: string[]): Promise<Outcome> {
    return this.run(['run', '--rm', '--network', 'none', ...options, IMAGE, ...command]);
  }

  /** In the background. @throws Error when it does not start */
  async detached(name: string, options: readonly string[], ...command: string[]): Promise<void> {
    await this.ok('run', '-d', '--name', name, '--network', 'none', ...options, IMAGE, ...command);
  }

  inspect(name: string, format: string): Promise<string> {
    return this.ok('inspect', '--format', format, name);
  }

  /** What containers have left: states of ours and of the shim's, processes, cgroups. */
  #left(): string[] {
    const { folder } = this.host;
    const states = join(folder, 'run/runtime-tvmm/moby');
    const own = ['dockerd ', 'containerd.toml', `${folder}/run/netns`, ` ${folder}/data `];
    return [
      ...(existsSync(states) ? readdirSync(states) : []),
      ...this.host.left().filter((line) => !own.some((part) => line.includes(part))),
    ];
  }

  /** Waits for clients' own clean-up, which goes on behind their answers. */
  async settled(): Promise<string[]> {
    for (let tries = 0; tries < 100 && this.#left().length > 0; tries++) await delay(100);
    return this.#left();
  }

  async end(): Promise<void> {
    const names = (await this.run(['ps', '--all', '--quiet'])).stdout.split('\n').filter(Boolean);
    if (names.length > 0) await this.run(['rm', '--force', ...names]);
    const process = this.#process;
    if (process?.pid !== undefined && process.exitCode === null) {
      const exit = once(process, 'exit');
      process.kill();
      // Its containerd goes with it where it can take leave; one that cannot is ended for sure.
      const timer = setTimeout(() => this.#kill(), 15_000);
      await exit;
      clearTimeout(timer);
    }
    await this.#unmount();
    await this.host.end();
  }

  #kill(): void {
    const containerd = join(this.host.folder, 'run/containerd/containerd.pid');
    if (existsSync(containerd)) process.kill(Number(readFileSync(containerd, 'utf8')), 'SIGKILL');
    this.#process?.kill('SIGKILL');
  }

  /** Names of network namespaces, which the daemon keeps. */
  async #unmount(): Promise<void> {
    for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
      const place = line.split(' ')[4] ?? '';
      if (place.startsWith(`${this.host.folder}/`)) await run('umount', ['--lazy', place]);
    }
  }
}
