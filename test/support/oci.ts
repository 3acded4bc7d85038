/**
 * `tvmm-oci` as clients start it, on bundles made of a static busybox. Each test has a root folder, a state folder and cgroups of its own, so
 * that what is left behind can be told from what others leave.
 */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { packageRoot } from 'tvmm';
import { makeBusyboxRoot } from './busybox-root.js';
import { onHost } from './left.js';

/** Another program that stands in for `tvmm-oci`: the resident engine's client. */
export const OCI_STAND_IN = 'TVMM_TEST_OCI';
const PROGRAM: readonly [string, ...string[]] =
  process.env[OCI_STAND_IN] === undefined
    ? [process.execPath, join(packageRoot(), 'dist/oci.cjs')]
    : [process.env[OCI_STAND_IN]];

export interface OciOutcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** config.json, as loosely typed as tests need it: they change any member, and to wrong types, too. */
export type Config = ReturnType<typeof JSON.parse>;

export class OciTest {
  readonly folder: string;
  readonly state: string;
  /** Distinguishes this test's cgroups. */
  readonly name: string;
  #bundles = 0;

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'tvmm-oci-'));
    this.state = join(this.folder, 'state');
    this.name = basename(this.folder);
    // Users of user namespaces must reach the root file systems.
    chmodSync(this.folder, 0o711);
  }

  /** A bundle whose program is `sh -c script`. */
  async bundle(script: string, change: (config: Config) => void = () => {}): Promise<string> {
    this.#bundles++;
    const bundle = join(this.folder, `bundle-${this.#bundles}`);
    await makeBusyboxRoot(join(bundle, 'rootfs'));
    const { status, stderr } = await this.oci(['spec', '--bundle', bundle]);
    if (status !== 0) throw new Error(stderr);
    const config: Config = JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8'));
    config.process.terminal = false;
    config.process.args = ['/bin/sh', '-c', script];
    config.linux.cgroupsPath = `/${this.name}/c${this.#bundles}`;
    change(config);
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
    return bundle;
  }

  /** Runs `tvmm-oci`; `signal` ends it as a crash would. */
  async oci(
    args: readonly string[],
    options: {
      stdin?: string;
      killAfterMs?: number;
      cwd?: string;
      env?: Record<string, string>;
      stdio?: number[];
      /** A program that runs it. */
      under?: readonly string[];
    } = {},
  ): Promise<OciOutcome> {
    const env = { ...process.env, ...options.env };
    delete env.NODE_EXTRA_CA_CERTS;
    const [program = '', ...words] = [...(options.under ?? []), ...PROGRAM];
    const child = spawn(program, [...words, '--root', this.state, ...args], {
      cwd: options.cwd ?? this.folder,
      env,
      stdio: ['pipe', 'pipe', 'pipe', ...(options.stdio ?? [])],
    });
    const { stdin, stdout, stderr } = child;
    if (stdin === null || stdout === null || stderr === null) throw new Error('no pipes');
    const text = { stdout: '', stderr: '' };
    stdout.on('data', (chunk) => {
      text.stdout += String(chunk);
    });
    stderr.on('data', (chunk) => {
      text.stderr += String(chunk);
    });
    stdin.on('error', () => {});
    stdin.end(options.stdin ?? '');
    const timer =
      options.killAfterMs === undefined
        ? undefined
        : setTimeout(() => child.kill('SIGKILL'), options.killAfterMs);
    const status = await new Promise<number | null>((done) => child.once('exit', (code) => done(code)));
    clearTimeout(timer);
    // A container that lives on holds our pipes: what is there now is all that is waited for.
    await new Promise((done) => setTimeout(done, 20));
    for (const stream of [stdout, stderr]) stream.destroy();
    return { status, ...text };
  }

  /** Runs `tvmm-oci`, which must succeed. @returns what it printed */
  async ok(...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.oci(args);
    if (status !== 0) throw new Error(`tvmm-oci ${args.join(' ')}: status ${status}: ${stderr}${stdout}`);
    return stdout;
  }

  async status(id: string): Promise<string> {
    return JSON.parse(await this.ok('state', id)).status;
  }

  /** Waits until a container has stopped. */
  async stopped(id: string): Promise<void> {
    for (let tries = 0; tries < 200; tries++) {
      if ((await this.status(id)) === 'stopped') return;
      await new Promise((done) => setTimeout(done, 50));
    }
    throw new Error(`${id} does not stop`);
  }

  /** What this test's containers have left: state folders, cgroups, mounts, processes. */
  left(): string[] {
    return [...(existsSync(this.state) ? readdirSync(this.state) : []), ...onHost(this.name)];
  }

  async end(): Promise<void> {
    for (const id of existsSync(this.state) ? readdirSync(this.state) : [])
      await this.oci(['delete', '--force', id]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
