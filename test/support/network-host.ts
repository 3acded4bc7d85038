/**
 * A machine's networks for one test: state, bridges, a subnet and a firewall table of its own, and namespaces with processes put into them
 * that stand for containers. It knows what the test's networks have left on the host.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NetworkDefinition } from '../../src/container/network/definition.js';
import { collectGarbage } from '../../src/container/network/gc.js';
import { parseCidr } from '../../src/container/network/ip.js';
import { parseNetworkMode } from '../../src/container/network/mode.js';
import type { NetworkOptions } from '../../src/container/network/network-store.js';
import { type NetworkResult, Networks } from '../../src/container/network/networks.js';
import { parsePortSpecs } from '../../src/container/network/ports.js';
import { createNetns, releaseNetns } from '../../src/sys/netns.js';

/** A namespace that stands for a container. */
export interface StandIn {
  readonly id: string;
  readonly file: string;
}

const ULA = 'fd74:766d:6d00::';

/** What a command prints. */
export function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

export class NetworkHost implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'tvmm-net-'));
  /** Part of every container's id: chains of the firewall are named for those. */
  readonly suffix = this.folder.slice(-6);
  /** Beginning of the bridges' names, and the firewall's table. */
  readonly prefix: string;
  readonly #subnet: string;
  readonly #containers: StandIn[] = [];
  readonly #processes: ChildProcess[] = [];
  networks: Networks;

  constructor() {
    const random = Math.floor(Math.random() * 2 ** 16);
    this.prefix = `tv${random.toString(16)}x`;
    this.#subnet = `10.${100 + (random & 127)}.${random >> 8}.`;
    this.networks = this.open();
  }

  /** Another engine over the same state. */
  open(): Networks {
    return new Networks({
      stateFolder: join(this.folder, 'state'),
      netnsFolder: join(this.folder, 'netns'),
      definitionFolder: join(this.folder, 'definitions'),
      configFolder: join(this.folder, 'net.d'),
      table: this.prefix,
      bridgePrefix: this.prefix,
      cniPath: ['/opt/cni/bin', '/usr/lib/cni', join(this.folder, 'bin')],
      describe: (id) => `container ${id.replace(this.suffix, '')}`,
    });
  }

  container(name: string): StandIn {
    const one = { id: `${name}${this.suffix}`, file: join(this.folder, `ns-${name}`) };
    createNetns(one.file);
    this.#containers.push(one);
    return one;
  }

  /** Makes a network where no other test's is; the n-th of this test. */
  create(name: string, n: number, options: Omit<NetworkOptions, 'name'> = {}): Promise<NetworkDefinition> {
    const texts = [`${this.#subnet}${n * 32}/27`, ...(options.ipv6 === true ? [`${ULA}/64`] : [])];
    const subnets = texts.flatMap((text) => parseCidr(text) ?? []);
    return this.networks.store.create({ ...options, name, subnets });
  }

  setUp(
    one: StandIn,
    network: readonly string[] = [],
    ports: readonly string[] = [],
  ): Promise<NetworkResult> {
    return this.networks.setUp({
      containerId: one.id,
      netns: one.file,
      mode: parseNetworkMode(network),
      ports: parsePortSpecs(ports),
    });
  }

  /** Bridges and their ports, rules with a container's id or address, and the table. */
  footprint(): string[] {
    const find = (text: string, words: readonly string[]) =>
      text.split('\n').filter((line) => words.some((word) => line.includes(word)));
    const rules = ['iptables-save', 'ip6tables-save'].flatMap((command) =>
      find(run(command), [this.suffix, ` ${this.#subnet}`, ULA]),
    );
    const links = find(run('ip', '-o', 'link'), [this.prefix]).map(
      (line) => line.split(':')[1]?.trim() ?? '',
    );
    return [...links, ...rules, ...find(run('nft', 'list', 'tables'), [this.prefix])];
  }

  /** Files that stand for an attachment, an address or a namespace. */
  records(): string[] {
    return ['state/attachments', 'state/ipam/tvmm', 'netns'].flatMap((path) => {
      try {
        return readdirSync(join(this.folder, path)).filter(
          (name) => !/^(lock|last_reserved_ip\..*)$/.test(name),
        );
      } catch {
        return [];
      }
    });
  }

  /** Starts a server in a container that answers every connection with `word`. */
  async serve(one: StandIn, word: string): Promise<void> {
    const script = `require('net').createServer((s) => s.end('${word}')).listen(80, '::', () => console.log('up'))`;
    const server = spawn('nsenter', [`--net=${one.file}`, process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { PATH: process.env.PATH },
    });
    this.#processes.push(server);
    await new Promise((resolve) => server.stdout.once('data', resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.#processes) one.kill('SIGKILL');
    for (const { id, file } of this.#containers) {
      await this.networks.tearDown(id).catch(() => undefined);
      releaseNetns(file);
    }
    await collectGarbage(this.networks, () => new Set());
    rmSync(this.folder, { recursive: true });
  }
}

/** What a connection answers, made in a container or on the host; `nothing` where there is none. */
export async function ask(from: StandIn | undefined, ip: string, port: number): Promise<string> {
  const script = `const s = require('net').connect({host:'${ip}',port:${port},timeout:1500});
    s.on('data', (d) => { process.stdout.write(d); s.destroy() });
    s.on('error', () => process.exit(1)); s.on('timeout', () => process.exit(1));`;
  const words = [process.execPath, '-e', script];
  const [command = '', ...args] = from === undefined ? words : ['nsenter', `--net=${from.file}`, ...words];
  const client = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: process.env.PATH },
  });
  let text = '';
  client.stdout.on('data', (data: Buffer) => {
    text += data.toString();
  });
  await new Promise((resolve) => client.once('close', resolve));
  return text === '' ? 'nothing' : text;
}
