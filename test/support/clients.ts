/**
 * What tests of foreign container clients share: a folder whose name is in all that they make, the OCI runtime that they call (the native
 * client, with and without a resident engine), an image, and what is
 * left on the machine.
 */
import { execFile } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { packageRoot } from 'tvmm';
import { runResident } from '../../src/cli/resident.js';
import { Server } from '../../src/container/serve/server.js';
import { busyboxArchive } from './engine-image.js';
import { cgroups, mounts, processes } from './left.js';

/** Of <linux/magic.h>. */
const TMPFS_MAGIC = 0x01021994;
const CGROUPS = '/sys/fs/cgroup';

/** The namespace of containerd's CRI plugin. */
const KUBERNETES = 'k8s.io';

export const IMAGE = 'localhost/busybox:latest';

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** `open`: nothing comes, and no end of input either. */
  readonly stdin?: string | { readonly open: true };
}

/** Runs a command to its end; never blocks, since the resident engine lives in this process. */
export function run(
  command: string,
  args: readonly string[],
  { env = process.env, stdin = '' }: RunOptions = {},
): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(
      command,
      args,
      { env, timeout: 120_000, killSignal: 'SIGKILL', maxBuffer: 2 ** 24 },
      (error, stdout, stderr) =>
        resolve({
          status: error === null ? 0 : (child.exitCode ?? -1),
          stdout,
          stderr: stderr || String(error ?? ''),
        }),
    );
    child.stdin?.on('error', () => {});
    if (typeof stdin === 'string') child.stdin?.end(stdin);
  });
}

/** @returns what it prints @throws Error when it fails */
export async function output(
  command: string,
  args: readonly string[],
  options?: RunOptions,
): Promise<string> {
  const { status, stdout, stderr } = await run(command, args, options);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: status ${status}: ${stderr}${stdout}`);
  return stdout;
}

export class ClientHost {
  /** Short enough for a network link's name. */
  readonly folder = mkdtempSync(join(tmpdir(), 'tvmm-c-'));
  readonly name = basename(this.folder);
  readonly archive = join(this.folder, 'image.tar');
  readonly states = join(this.folder, 'runtime');
  readonly #subnet = `10.${200 + Math.floor(Math.random() * 50)}.${Math.floor(Math.random() * 256)}`;
  #engine: Server | undefined;
  /** Commands that the resident engine has executed. */
  served = 0;

  constructor() {
    // Roots of user namespaces must be able to pass.
    chmodSync(this.folder, 0o711);
    // The command is for the sandbox of a pod, which only holds its namespaces.
    writeFileSync(this.archive, busyboxArchive(IMAGE, { Cmd: ['sleep', '100000'] }));
  }

  /** The runtime's path: a script, since clients pass neither our variables nor our options on. */
  runtime(kind: 'cold' | 'resident'): string {
    const path = join(this.folder, `tvmm-oci-${kind}`);
    const client = join(packageRoot(), 'dist/firmware/client');
    const socket = join(this.folder, kind === 'resident' ? 'engine/engine.sock' : 'nobody.sock');
    // Node is found as the tests' is, whatever path a client gives.
    const script = `#!/bin/sh
unset NODE_EXTRA_CA_CERTS
export TVMM_ENGINE='${socket}' PATH='${process.env.PATH}'
exec '${client}' --root '${this.states}' "$@"
`;
    writeFileSync(path, script, { mode: 0o755 });
    return path;
  }

  /** Makes somebody listen for the runtime of kind `resident`. */
  async startEngine(): Promise<void> {
    this.#engine = await Server.start(join(this.folder, 'engine/engine.sock'), async (request, client) => {
      const outcome = await runResident(request, client);
      if (outcome !== 'cold') this.served++;
      return outcome;
    });
  }

  /** Writes a CNI network with a bridge of our name. @returns the folder of configurations */
  cniNetwork(name: string): string {
    const folder = join(this.folder, 'net.d');
    mkdirSync(folder);
    const ipam = {
      type: 'host-local',
      dataDir: join(this.folder, 'addresses'),
      routes: [{ dst: '0.0.0.0/0' }],
      ranges: [[{ subnet: `${this.#subnet}.0/24`, gateway: `${this.#subnet}.1` }]],
    };
    const bridge = {
      type: 'bridge',
      bridge: this.name,
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam,
    };
    const plugins = [bridge, { type: 'portmap', capabilities: { portMappings: true } }];
    writeFileSync(join(folder, '10-test.conflist'), JSON.stringify({ cniVersion: '0.4.0', name, plugins }));
    return folder;
  }

  /** What bears our name on this machine and is the runtime's to remove: the cgroups' parent is the clients'. */
  left(): string[] {
    return [
      ...this.#known(),
      ...listed(`/sys/class/net/${this.name}/brif`),
      ...mounts(this.name),
      ...processes(this.name),
      ...cgroups(this.name).flatMap(containerCgroups),
    ];
  }

  /** State folders; containerd has them by namespace. */
  #known(): string[] {
    return listed(this.states).flatMap((name) =>
      [this.name, KUBERNETES].includes(name) ? listed(join(this.states, name)) : [name],
    );
  }

  /** Waits for clients' own clean-up, which goes on behind their answers. @returns what is left after all */
  async settled(): Promise<string[]> {
    for (let tries = 0; tries < 100 && this.left().length > 0; tries++) await delay(100);
    return this.left();
  }

  async end(): Promise<void> {
    await this.#engine?.close(1000);
    if (existsSync(join('/sys/class/net', this.name))) await run('ip', ['link', 'delete', this.name]);
    // Of controllers that are not mounted, clients make plain folders in the tmpfs there.
    const plain = readdirSync(CGROUPS).map((controller) => join(CGROUPS, controller, this.name));
    for (const folder of new Set([...plain, ...cgroups(this.name)]))
      if (existsSync(folder)) removeCgroup(folder);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function listed(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** Cgroups below a parent. */
function containerCgroups(parent: string): string[] {
  const entries = readdirSync(parent, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(parent, name));
}

function removeCgroup(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true }))
    if (entry.isDirectory()) removeCgroup(join(folder, entry.name));
  if (statfsSync(folder).type === TMPFS_MAGIC) rmSync(folder, { recursive: true });
  else rmdirSync(folder);
}

/** Waits for the size that clients send after the start. */
export const SHOW_TERMINAL =
  'until busybox stty size 2>&1 | grep -q "33 99"; do sleep 0.05; done; busybox tty; busybox stty size';

/** Looks every 100 ms, for 10 s. */
export async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if (await condition()) return;
    await delay(100);
  }
  throw new Error(`it did not happen: ${what}`);
}
