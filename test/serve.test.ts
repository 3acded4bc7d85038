/** The resident engine and its native client: who executes what, who is served, and what hostile clients can do (nothing). */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { packageRoot } from 'tvmm';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runResident } from '../src/cli/resident.js';
import { Server } from '../src/container/serve/server.js';
import type { Command } from '../src/container/serve/session.js';
import { needs } from './support/needs.js';
import { OciTest } from './support/oci.js';

const CLIENT = join(packageRoot(), 'dist/firmware/client');

let t: OciTest;
let folder: string;
let socket: string;
let server: Server;
/** Requests that the engine did itself, and those that it sent the cold way. */
let served: number;
let cold: number;

const counting: Command = async (request, client) => {
  const outcome = await runResident(request, client);
  if (outcome === 'cold') cold++;
  else served++;
  return outcome;
};

beforeEach(async () => {
  t = new OciTest();
  folder = mkdtempSync(join(tmpdir(), 'tvmm-serve-'));
  socket = join(folder, 'engine/engine.sock');
  served = cold = 0;
  server = await Server.start(socket, counting);
});
afterEach(async () => {
  await server.close(1000);
  await t.end();
  rmSync(folder, { recursive: true });
});

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function client(
  args: readonly string[],
  cwd = t.folder,
  variables: Record<string, string> = {},
): Promise<Outcome> {
  const env = { PATH: process.env.PATH, TVMM_ENGINE: socket, ...variables };
  return new Promise((resolve) => {
    const child = execFile(CLIENT, ['--root', t.state, ...args], { env, cwd }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : child.exitCode, stdout, stderr });
    });
  });
}

async function settled(): Promise<void> {
  for (let tries = 0; tries < 500 && server.sessions > 0; tries++)
    await new Promise((done) => setTimeout(done, 10));
}

async function connected(): Promise<Socket> {
  const connection = createConnection(socket);
  connection.on('error', () => {});
  await new Promise((done) => connection.once('connect', done));
  return connection;
}

/** All that comes until the engine closes. */
function hear(connection: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  connection.on('data', (piece) => pieces.push(piece));
  return new Promise((done) => connection.once('close', () => done(Buffer.concat(pieces))));
}

function request(args: readonly string[], version = 2): Buffer {
  const texts = Buffer.from(['/', ...args].map((text) => `${text}\0`).join(''));
  const header = Buffer.alloc(32);
  header.write('tvmm-oci');
  header.writeUInt32LE(version, 8);
  header.writeUInt32LE(32 + texts.length, 12);
  header.writeUInt32LE(0o22, 16);
  header.writeUInt32LE(args.length, 20);
  return Buffer.concat([header, texts]);
}

test('the first process is the client’s own child, with its stdio and working directory', async (context) => {
  needs(context, 'root');
  await t.bundle('cat; echo err >&2; sleep 1000');
  const child = spawn(CLIENT, ['--root', t.state, 'run', '--bundle', 'bundle-1', 'one'], {
    env: { PATH: process.env.PATH, TVMM_ENGINE: socket },
    cwd: t.folder,
  });
  const output: string[] = [];
  child.stdout.on('data', (text) => output.push(String(text)));
  child.stderr.on('data', (text) => output.push(String(text)));
  child.stdin.end('typed\n');
  for (let tries = 0; tries < 200 && output.join('') !== 'typed\nerr\n'; tries++)
    await new Promise((done) => setTimeout(done, 20));
  expect(output.join('')).toBe('typed\nerr\n');
  const { pid, status } = JSON.parse((await client(['state', 'one'])).stdout);
  expect(status).toBe('running');
  expect(readFileSync(`/proc/${pid}/status`, 'utf8')).toContain(`PPid:\t${child.pid}\n`);
  const exit = new Promise((done) => child.once('exit', done));
  await client(['kill', 'one', 'KILL']);
  await exit;
  expect(child.exitCode).toBe(137);
  // The client does not wait for the engine to take note of the end.
  await expect.poll(() => [served, cold]).toEqual([3, 0]);
  expect(t.left()).toEqual([]);
});

test('exec, ps, events and update are served, and a terminal in the foreground is not', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('exec sleep 1000 >/dev/null 2>&1');
  expect((await client(['run', '-d', '-b', bundle, 'one'])).status).toBe(0);
  // Whoever keeps our pipes open keeps us waiting.
  const quiet = 'exec sleep 1000 >/dev/null 2>&1';
  const exec = (...args: string[]) => client(['exec', ...args]);
  expect(await exec('one', 'sh', '-c', 'echo out; echo err >&2; exit 7')).toMatchObject({
    status: 7,
    stdout: 'out\n',
    stderr: 'err\n',
  });
  expect(await exec('one', 'sh', '-c', 'kill -9 $$')).toMatchObject({ status: 137 });
  expect((await exec('one', '/no/such/program')).status).toBe(255);
  expect((await exec('none', 'true')).status).toBe(255);
  const pidFile = join(t.folder, 'pid');
  expect((await exec('-d', '--pid-file', pidFile, 'one', 'sh', '-c', quiet)).status).toBe(0);
  const ps = await client(['ps', '-f', 'json', 'one']);
  expect(JSON.parse(ps.stdout)).toContain(Number(readFileSync(pidFile, 'utf8')));
  expect((await client(['events', '--stats', 'one'])).stdout).toContain('"type":"stats"');
  expect((await client(['update', '--pids-limit', '50', 'one'])).status).toBe(0);
  expect(cold).toBe(0);
  await exec('-t', 'one', 'true');
  expect(cold).toBe(1);
  expect((await client(['delete', '-f', 'one'])).status).toBe(0);
  expect(t.left()).toEqual([]);
});

test('descriptors are preserved, and a missing one is refused', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('cat <&3; ls /proc/self/fd | grep -c .');
  const file = openSync(join(bundle, 'config.json'), 'r');
  const child = spawn(CLIENT, ['--root', t.state, 'run', '--preserve-fds', '1', '-b', bundle, 'one'], {
    env: { PATH: process.env.PATH, TVMM_ENGINE: socket },
    stdio: ['ignore', 'pipe', 'inherit', file],
  });
  let output = '';
  child.stdout?.on('data', (text) => {
    output += String(text);
  });
  await new Promise((done) => child.once('close', done));
  // 0 to 2, 3, and the folder that ls reads.
  expect(output).toBe(`${readFileSync(join(bundle, 'config.json'), 'utf8')}5\n`);
  const missing = ['run', '--preserve-fds', '2', '-b', bundle, 'two'];
  const { status, stderr } = await client(missing);
  expect(status).toBe(1);
  expect(stderr).toContain('unable to stat preserved-fd 0 (of 2): descriptor 3 is not open');
  // The same without an engine: what Node opens is not the caller's.
  for (const stdio of [[], [file]]) {
    const alone = spawnSync(
      CLIENT,
      ['--root', t.state, 'run', '--preserve-fds', '2', '-b', bundle, 'three'],
      {
        env: { PATH: process.env.PATH, TVMM_ENGINE: join(t.folder, 'nobody') },
        stdio: ['ignore', 'pipe', 'pipe', ...stdio],
        encoding: 'utf8',
      },
    );
    expect(alone.status).toBe(1);
    expect(alone.stderr).toContain(
      `unable to stat preserved-fd ${stdio.length} (of 2): descriptor ${3 + stdio.length} is not open`,
    );
  }
  expect(t.left()).toEqual([]);
});

describe('answers', () => {
  beforeEach((context) => needs(context, 'root'));

  test.each<[string, (bundle: string) => string[]]>([
    ['a program that is missing', (bundle) => ['run', '-b', bundle, 'container-of-a-test']],
    ['create of it', (bundle) => ['create', '-b', bundle, 'container-of-a-test']],
    ['a bundle that is missing', () => ['create', '-b', 'nowhere', 'container-of-a-test']],
    ['a container that is missing', () => ['state', 'container-of-a-test']],
    ['an unknown flag', () => ['create', '--nonsense', 'container-of-a-test']],
    ['an unknown command', () => ['nonsense']],
    ['no command', () => []],
  ])('the answer to %s is the same with and without an engine', async (_, line) => {
    const bundle = await t.bundle('true', (config) => {
      config.process.args = ['/no/such/program'];
    });
    const plain = ({ status, stdout, stderr }: Outcome) => [
      status,
      stdout,
      stderr.replace(/time="[^"]*"/g, ''),
    ];
    const alone = plain(await client(line(bundle), t.folder, { TVMM_ENGINE: '/nowhere' }));
    expect(served + cold).toBe(0);
    for (let again = 0; again < 2; again++) expect(plain(await client(line(bundle)))).toEqual(alone);
    await expect.poll(() => served + cold).toBe(2);
    expect(t.left()).toEqual([]);
  });
});

test('a caller in other namespaces is sent the cold way', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('true');
  const outcome = await new Promise<number | null>((done) => {
    const child = spawn('unshare', ['-n', CLIENT, '--root', t.state, 'run', '-b', bundle, 'one'], {
      env: { PATH: process.env.PATH, TVMM_ENGINE: socket },
      stdio: 'ignore',
    });
    child.once('exit', done);
  });
  expect(outcome).toBe(0);
  expect([served, cold]).toEqual([0, 0]);
});

test.each([
  ['a smaller bounding set', '--bounding-set', '-net_raw'],
  ['an inheritable capability', '--inh-caps', '+net_raw'],
])('a caller with %s is sent the cold way', async (_, ...flags) => {
  const status = await new Promise<number | null>((done) => {
    const child = spawn('setpriv', [...flags, CLIENT, 'features'], {
      env: { PATH: process.env.PATH, TVMM_ENGINE: socket },
      stdio: 'ignore',
    });
    child.once('exit', done);
  });
  expect(status).toBe(0);
  expect([served, cold]).toEqual([0, 0]);
});

test('the socket and its folder are the user’s alone, and one engine listens there', async () => {
  expect(statSync(socket).mode & 0o777).toBe(0o600);
  expect(statSync(join(folder, 'engine')).mode & 0o777).toBe(0o700);
  await expect(Server.start(socket, counting)).rejects.toThrow('listens at');
  await expect(Server.start(join(folder, '../engine.sock'), counting)).rejects.toThrow('of this user alone');
});

test('bytes that are no request get no answer, and others are served', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 300 }), async (bytes) => {
      const connection = await connected();
      const heard = hear(connection);
      connection.end(bytes);
      expect((await heard).length).toBe(0);
    }),
    { numRuns: 50 },
  );
  expect((await client(['state', 'none'])).stderr).toContain('does not exist');
  await settled();
  expect(server.sessions).toBe(0);
});

test('a client of another version is told to go the cold way', async () => {
  const connection = await connected();
  const heard = hear(connection);
  connection.write(request(['state', 'none'], 99));
  expect((await heard).readUInt32LE(0)).toBe(1);
  expect(served).toBe(0);
});

test('a client may leave at any byte', async () => {
  const whole = request(['state', 'none']);
  for (let length = 0; length <= whole.length; length++) {
    const connection = await connected();
    connection.write(whole.subarray(0, length), () => connection.destroy());
    await new Promise((done) => connection.once('close', done));
  }
  await settled();
  expect(server.sessions).toBe(0);
  expect((await client(['state', 'none'])).status).toBe(1);
});

test('a client that is killed while its container is being made leaves nothing', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('sleep 1000');
  for (let delay = 0; delay < 12; delay += 2) {
    const child = spawn(CLIENT, ['--root', t.state, 'create', '-b', bundle, 'one'], {
      env: { PATH: process.env.PATH, TVMM_ENGINE: socket },
      stdio: 'ignore',
    });
    await new Promise((done) => setTimeout(done, delay));
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null)
      await new Promise((done) => child.once('exit', done));
    await settled();
    await client(['delete', '--force', 'one']);
    expect(t.left()).toEqual([]);
  }
});

test('a client that executes nothing of what it is sent leaves nothing', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('true');
  const connection = await connected();
  const heard = hear(connection);
  connection.write(request(['--root', t.state, 'run', '-b', bundle, 'one']));
  const answer = await heard;
  // The launcher, then the plan.
  expect([answer.readUInt32LE(0), answer.readUInt32LE(16)]).toEqual([4, 2]);
  await settled();
  expect(t.left()).toEqual([]);
});

/** Starts a container in the foreground, and waits until it runs. */
async function runs(bundle: string, id: string, engine = socket) {
  const child = spawn(CLIENT, ['--root', t.state, 'run', '-b', bundle, id], {
    env: { PATH: process.env.PATH, TVMM_ENGINE: engine },
    stdio: 'ignore',
  });
  const end = new Promise((done) => child.once('exit', done));
  for (let tries = 0; tries < 200; tries++) {
    const { stdout } = await client(['state', id]);
    if (stdout.includes('"running"')) return { end };
    await new Promise((done) => setTimeout(done, 10));
  }
  throw new Error(`${id} does not run`);
}

test('a container whose engine is killed is taken away all the same when it has ended', async (context) => {
  needs(context, 'root');
  const own = join(folder, 'other/engine.sock');
  const engine = spawn(process.execPath, [join(packageRoot(), 'dist/cli.cjs'), 'serve', '--socket', own], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((done) => engine.stdout.once('data', done));
  const bundle = await t.bundle('while [ ! -e /dev/shm/go ]; do sleep 0.02; done; exit 9');
  const { end } = await runs(bundle, 'one', own);
  engine.kill('SIGKILL');
  await new Promise((done) => engine.once('exit', done));
  expect((await client(['exec', 'one', 'touch', '/dev/shm/go'])).status).toBe(0);
  expect(await end).toBe(9);
  expect(t.left()).toEqual([]);
});

test('what the launcher cannot remove by itself the engine does', async (context) => {
  needs(context, 'root');
  const { end: locked } = await runs(await t.bundle('sleep 0.3; exit 4'), 'locked');
  const holder = spawn('flock', [join(t.state, 'locked/lock'), 'sleep', '0.7'], { stdio: 'ignore' });
  await new Promise((done) => holder.once('spawn', done));
  expect(await locked).toBe(4);
  const bundle = await t.bundle('sleep 1000 & sleep 0.2; exit 5', (config) => {
    config.linux.namespaces = [{ type: 'mount' }];
    delete config.hostname;
    config.linux.maskedPaths = [];
    config.linux.readonlyPaths = [];
  });
  const { end: survived } = await runs(bundle, 'survived');
  expect(await survived).toBe(5);
  expect(t.left()).toEqual([]);
  expect(cold).toBe(0);
});

test('hundreds of silent connections keep nobody from being served', async () => {
  const silent = await Promise.all(Array.from({ length: 500 }, connected));
  for (const connection of silent.slice(0, 250)) connection.write(request(['state', 'none']).subarray(0, 40));
  expect((await client(['state', 'none'])).status).toBe(1);
  await expect.poll(() => served).toBe(1);
  for (const connection of silent) connection.destroy();
  await settled();
  expect(server.sessions).toBe(0);
});

test('a client that does not read its answer holds nobody up', async (context) => {
  needs(context, 'root');
  const deaf = await connected();
  deaf.pause();
  deaf.write(request(['features']));
  expect((await client(['state', 'none'])).status).toBe(1);
  deaf.destroy();
});

test('hundreds of containers leave the engine and the machine as they were', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('true');
  const cycle = async (name: string) => {
    for (const line of [
      ['create', '-b', bundle, name],
      ['start', name],
      ['delete', '--force', name],
    ]) {
      // A created container would hold pipes of ours.
      const child = spawn(CLIENT, ['--root', t.state, ...line], {
        env: { PATH: process.env.PATH, TVMM_ENGINE: socket },
        stdio: 'ignore',
      });
      const status = await new Promise((done) => child.once('exit', done));
      if (status !== 0) throw new Error(`${line.join(' ')}: exit status ${status}`);
    }
  };
  const census = () => ({
    descriptors: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    mounts: readFileSync('/proc/self/mountinfo', 'utf8').split('\n').length,
    left: t.left(),
  });
  for (let index = 0; index < 20; index++) await cycle(`warm-up-${index}`);
  await settled();
  const before = census();
  for (let index = 0; index < 200; index++) await cycle(`container-${index}`);
  await settled();
  expect(census()).toEqual(before);
  expect(cold).toBe(0);
  expect(existsSync(t.state) ? readdirSync(t.state) : []).toEqual([]);
});
