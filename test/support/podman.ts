/**
 * Podman with folders, a network and settings of a test's own, and our runtime. Of the machine it uses nothing but its programs.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClientHost, IMAGE, type Outcome, output, type RunOptions, run } from './clients.js';

export class Podman {
  readonly host = new ClientHost();
  readonly #environment: NodeJS.ProcessEnv;

  constructor(readonly kind: 'cold' | 'resident') {
    const { folder } = this.host;
    const settings = join(folder, 'containers.conf');
    const storage = join(folder, 'storage.conf');
    const network = 'test';
    // Without limits of its own: raising them takes a capability that root may lack.
    writeFileSync(
      settings,
      `[containers]
default_ulimits = []
log_driver = "k8s-file"
cgroups = "no-conmon"
[network]
network_backend = "cni"
network_config_dir = "${this.host.cniNetwork(network)}"
default_network = "${network}"
cni_plugin_dirs = ["/opt/cni/bin", "/usr/lib/cni"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "${folder}/tmp"
volume_path = "${folder}/volumes"
`,
    );
    // Plain copies: this works on every file system.
    writeFileSync(
      storage,
      `[storage]\ndriver = "vfs"\ngraphroot = "${folder}/storage"\nrunroot = "${folder}/run"\n`,
    );
    this.#environment = { ...process.env, CONTAINERS_CONF: settings, CONTAINERS_STORAGE_CONF: storage };
    mkdirSync(join(folder, 'tmp'));
  }

  async start(): Promise<void> {
    if (this.kind === 'resident') await this.host.startEngine();
    await this.ok('load', '--quiet', '--input', this.host.archive);
  }

  #words(args: readonly string[]): string[] {
    return ['--runtime', this.host.runtime(this.kind), ...args];
  }

  run(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return run('podman', this.#words(args), { env: this.#environment, ...options });
  }

  /** @returns what it prints, without the last newline */
  async ok(...args: string[]): Promise<string> {
    return (await output('podman', this.#words(args), { env: this.#environment })).replace(/\n$/, '');
  }

  /** Runs it below a terminal of 33 lines with 99 columns each. */
  onTerminal(...args: string[]): Promise<Outcome> {
    const words = ['podman', ...this.#words(args)].map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
    return run('script', ['-qec', `stty rows 33 cols 99; ${words.join(' ')}`, '/dev/null'], {
      env: this.#environment,
      // At the end of input `script` would type into the terminal.
      stdin: { open: true },
    });
  }

  /** `podman run` in a cgroup that bears our name. */
  container(options: readonly string[], ...command: string[]): Promise<Outcome> {
    return this.run(['run', ...this.#parts(options), IMAGE, ...command]);
  }

  /** As {@link container}, in the background. @throws Error when it does not start */
  async detached(name: string, options: readonly string[], ...command: string[]): Promise<void> {
    await this.ok('run', '-d', '--name', name, ...this.#parts(options), IMAGE, ...command);
  }

  #parts(options: readonly string[]): string[] {
    const has = (flag: string) => options.some((option) => option.startsWith(flag));
    // A pod has both already.
    if (has('--pod=')) return [...options];
    const network = has('--network') || has('-p') ? [] : ['--network', 'none'];
    return ['--cgroup-parent', `/${this.host.name}`, ...network, ...options];
  }

  async end(): Promise<void> {
    await this.run(['pod', 'rm', '--all', '--force', '--time', '0']);
    await this.run(['rm', '--all', '--force', '--time', '0']);
    await this.host.end();
  }
}
