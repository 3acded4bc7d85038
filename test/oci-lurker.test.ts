/**
 * Root in a container that may trace (CAP_SYS_PTRACE) and shares no user namespace with the host can look into every process that shows in its pid
 * namespace, whatever that says of being dumped. So nothing of the host's may be in there by then: no descriptor that leads out of the
 * container, no capability that the container has not, no program that could be written to (CVE-2016-9962, CVE-2019-5736,
 * CVE-2024-21626). Through the cold command and through the resident engine.
 */
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, copyFileSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from 'tvmm';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { runResident } from '../src/cli/resident.js';
import { defaultProfile } from '../src/container/seccomp/default-profile.js';
import { Server } from '../src/container/serve/server.js';
import { needs } from './support/needs.js';
import { type Config, OciTest } from './support/oci.js';

const CAPABILITIES = ['CAP_SYS_PTRACE', 'CAP_KILL', 'CAP_DAC_OVERRIDE', 'CAP_SETUID', 'CAP_SETGID'];
const CAPABILITY_BITS = (1 << 19) | (1 << 5) | (1 << 1) | (1 << 7) | (1 << 6);
const ENTERINGS = 8;

let folder: string;
let lurker: string;
let server: Server;
let t: OciTest;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-lurker-'));
  lurker = join(folder, 'lurker');
  execFileSync('gcc', ['-O2', '-static', '-o', lurker, join(import.meta.dirname, 'support/lurker.c')]);
  server = await Server.start(join(folder, 'engine/engine.sock'), runResident);
});
afterAll(async () => {
  await server.close(0);
  rmSync(folder, { recursive: true });
});
beforeEach((context) => {
  needs(context, 'root');
  t = new OciTest();
});
afterEach(() => t.end());

async function bundle(args: readonly string[], change: (config: Config) => void): Promise<string> {
  const made = await t.bundle('', (config) => {
    config.process.args = args;
    config.process.capabilities = {
      bounding: CAPABILITIES,
      effective: CAPABILITIES,
      permitted: CAPABILITIES,
    };
    change(config);
  });
  copyFileSync(lurker, join(made, 'rootfs/bin/lurker'));
  return made;
}

/** Runs the native client, whose resident engine this process is. */
function resident(...args: string[]): Promise<number | null> {
  const client = spawn(join(packageRoot(), 'dist/firmware/client'), ['--root', t.state, ...args], {
    env: { ...process.env, TVMM_ENGINE: join(folder, 'engine/engine.sock') },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return new Promise((done) => client.once('exit', (status) => done(status)));
}

/** What was seen of the processes that entered, each finding once. */
function findings(output: string): {
  readonly entered: number;
  readonly links: readonly string[];
  readonly rest: readonly string[];
} {
  const lines = output.split('\n').filter((line) => line !== '');
  const unlike = (line: string) => line.replace(/\d+/g, 'N');
  return {
    entered: lines.filter((line) => line.startsWith('entered')).length,
    links: [...new Set(lines.filter((line) => line.startsWith('fd ')).map(unlike))],
    rest: [...new Set(lines.filter((line) => !/^(fd|entered|waits|stays)/.test(line)))],
  };
}

function expectNothing(output: string): void {
  const { links, rest } = findings(output);
  for (const link of links) expect(link).toMatch(/^fd (socket:|pipe:|\/dev\/(null|pts\/N)$)/);
  const capabilities = rest.filter((line) => line.startsWith('Cap'));
  for (const line of capabilities)
    expect(Number.parseInt(line.slice(7), 16) & ~CAPABILITY_BITS, line).toBe(0);
  expect(rest.filter((line) => !line.startsWith('Cap'))).toEqual(
    expect.arrayContaining(['root /', 'cwd /', 'exe-writable no']),
  );
  expect(rest.filter((line) => /^(leads|exe-writable yes|closed)/.test(line))).toEqual([]);
}

async function waitFor(path: string, text: string): Promise<void> {
  for (let tries = 0; tries < 1000; tries++) {
    if (readFileSync(path, 'utf8').includes(text)) return;
    await new Promise((done) => setTimeout(done, 10));
  }
  throw new Error(`${path} never says ${text}: ${readFileSync(path, 'utf8')}`);
}

const noNewPrivileges = (config: Config) => {
  config.process.noNewPrivileges = true;
};
const docker = (config: Config) => {
  config.process.noNewPrivileges = false;
  config.linux.seccomp = defaultProfile(CAPABILITIES);
};

for (const [how, enter] of [
  ['the command', (...args: string[]) => t.oci(args).then(({ status }) => status)],
  ['the resident engine', resident],
] as const)
  for (const [what, change] of [
    ['without new privileges', noNewPrivileges],
    ['under the default profile of system calls', docker],
  ] as const)
    test(`a tracer in a container ${what} finds nothing of the host's in what enters through ${how}`, async () => {
      const path = join(t.folder, 'seen');
      const out = openSync(path, 'a');
      const made = await bundle(['/bin/lurker'], change);
      const running = spawn(
        process.execPath,
        [join(packageRoot(), 'dist/oci.cjs'), '--root', t.state, 'run', '-b', made, 'one'],
        { stdio: ['ignore', out, 'inherit'] },
      );
      closeSync(out);
      const ended = new Promise((done) => running.once('exit', done));
      await waitFor(path, 'waits');
      for (let i = 0; i < ENTERINGS; i++) expect(await enter('exec', 'one', 'true')).toBe(0);
      await t.ok('kill', 'one', 'KILL');
      await ended;
      const seen = readFileSync(path, 'utf8');
      expect(findings(seen).entered, seen).toBeGreaterThan(0);
      expectNothing(seen);
    });

test("a tracer that is let in before start finds nothing of the host's in the process that waits for it", async () => {
  await t.ok('create', '-b', await bundle(['sleep', '1000'], noNewPrivileges), 'one');
  const seen = await t.ok('exec', 'one', 'lurker', '1');
  expect(findings(seen).entered, seen).toBe(1);
  expect(findings(seen).links.filter((link) => !/^fd (socket:|pipe:|\/dev\/null)/.test(link))).toEqual([
    'fd /proc/N/fd',
    expect.stringMatching(/exec\.fifo$/),
  ]);
  expect(findings(seen).rest.filter((line) => /^(leads|exe-writable yes|closed)/.test(line))).toEqual([]);
});
