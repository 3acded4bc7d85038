/**
 * `tvmm`, the native program, with a resident engine: same answers and same state as without one, whoever is killed, whatever is sent. Where the
 * engine must have served, the PATH has no Node that the program could fall back to.
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { engineHost, NATIVE } from './support/engine.js';
import { ResidentEngine } from './support/resident.js';

const isRoot = process.getuid?.() === 0;
const host = engineHost('tvmm-resident-test-');
const NO_NODE = '/nowhere';

let rootfs: string;
let base: string;
let engine: ResidentEngine;

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Options {
  readonly input?: string | Buffer;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

function start(words: readonly string[], { cwd, env = {} }: Options = {}): ChildProcessWithoutNullStreams {
  const [command = '', ...rest] = words;
  return spawn(command, rest, { cwd: cwd ?? base, env: { ...host.environment(), ...env } });
}

async function outcome(child: ChildProcessWithoutNullStreams, input?: string | Buffer): Promise<Outcome> {
  const pieces: [Buffer[], Buffer[]] = [[], []];
  child.stdout.on('data', (piece: Buffer) => pieces[0].push(piece));
  child.stderr.on('data', (piece: Buffer) => pieces[1].push(piece));
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [status]: [number | null] = await new Promise((done) =>
    child.once('close', (...end) => done([end[0]])),
  );
  return { status, stdout: Buffer.concat(pieces[0]).toString(), stderr: Buffer.concat(pieces[1]).toString() };
}

/** What asks the engine, and can do nothing itself. */
function startServed(args: readonly string[], options: Options = {}): ChildProcessWithoutNullStreams {
  const env = { TVMM_ENGINE: engine.socket, PATH: NO_NODE, ...options.env };
  return start([NATIVE, ...args], { ...options, env });
}

function served(args: readonly string[], options: Options = {}): Promise<Outcome> {
  return outcome(startServed(args, options), options.input);
}

function cold(args: readonly string[], options: Options = {}): Promise<Outcome> {
  const env = { ...options.env, TVMM_ENGINE: '/nowhere/engine.sock' };
  return outcome(start([NATIVE, ...args], { ...options, env }), options.input);
}

function runWords(options: readonly string[], ...command: string[]): string[] {
  return ['run', '--network', 'none', ...options, '--rootfs', rootfs, ...command];
}

async function nothingLeft(): Promise<void> {
  await host.until('everything is gone', () => host.leftovers().length === 0);
}

function descriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

beforeAll(async () => {
  ({ base, rootfs } = host.open());
  engine = await ResidentEngine.start();
});
afterAll(async () => {
  await engine.close();
  await host.close();
});

describe.runIf(isRoot)('tvmm with a resident engine', () => {
  afterEach(host.removeAll);

  it('gives the answers that it gives without one', async () => {
    await cold(runWords(['-d', '--name', 'web'], 'sleep', '1000'));
    await cold(runWords(['--name', 'ended'], 'sh', '-c', 'echo out; echo err >&2; exit 3'));
    writeFileSync(join(base, 'variables'), 'FILED=1\nCALLERS\n');
    const commands: readonly (readonly string[])[] = [
      ['ps', '-aq', '--no-trunc'],
      ['ps', '--format', '{{.Names}} {{.Status}}', '--filter', 'name=ended', '-a'],
      ['inspect', 'ended'],
      ['inspect', 'none'],
      ['logs', 'ended'],
      ['logs', '-t', 'ended'],
      ['port', 'web'],
      ['top', 'web', '--json'],
      ['exec', 'web', 'sh', '-c', 'echo $0; exit 9'],
      ['exec', 'web', 'no-such'],
      ['exec', 'ended', 'true'],
      ['start', 'none', 'web'],
      ['rm', 'none', 'web'],
      ['kill', '-s', 'NOSUCH', 'web'],
      ['pause', 'ended'],
      ['volume', 'ls'],
      ['network', 'ls'],
      ['stats', '--no-stream', 'none'],
      ['run'],
      ['run', '--no-such-flag'],
      ['run', '--rm', '--pull', 'never', 'no-such-image', 'true'],
      ['run', '--rm', '--name', 'nowhere', '--rootfs', './nowhere', 'true'],
      runWords(['--rm', '--env-file', 'variables', '-e', 'CALLERS'], 'sh', '-c', 'echo $FILED $CALLERS'),
      runWords(['--rm', '--env-file', 'missing'], 'true'),
      runWords(['--rm', '--name', 'no-such'], 'no-such'),
      runWords(['--rm', '-it'], 'true'),
      runWords(['--rm', '-v', './variables:/at'], 'cat', '/at'),
      runWords(['--rm', '-i'], 'cat'),
      runWords(['--rm'], 'cat'),
      runWords(['--rm', '--name', 'web'], 'true'),
      runWords(['--rm', '--name', 'nobody', '--user', 'nobody-here'], 'true'),
    ];
    const plain = (text: string) => text.replace(/[0-9a-f]{12,64}/g, 'ID');
    for (const words of commands) {
      const options = { input: 'typed\n', env: { CALLERS: 'value' } };
      const without = await cold(words, options);
      const within = await served(words, options);
      const both = [without, within].map(({ status, stdout, stderr }) => ({
        status,
        stdout: words.includes('top') ? '' : plain(stdout),
        stderr: plain(stderr),
      }));
      expect(both[1], words.join(' ')).toEqual(both[0]);
    }
  });

  it('leaves the state that commands without one go on with, and the other way round', async () => {
    const id = (await served(runWords(['-d', '--name', 'one'], 'sleep', '1000'))).stdout.trim();
    expect((await cold(['ps', '-q', '--no-trunc'])).stdout).toBe(`${id}\n`);
    expect((await cold(['stop', '-t', '0', 'one'])).stdout).toBe('one\n');
    expect((await served(['ps', '-q'])).stdout).toBe('');
    expect((await served(['start', 'one'])).stdout).toBe('one\n');
    expect((await cold(['exec', 'one', 'echo', 'hi'])).stdout).toBe('hi\n');
    expect((await cold(['rename', 'one', 'two'])).status).toBe(0);
    expect((await served(['rm', '-f', 'two'])).stdout).toBe('two\n');
    expect((await cold(['ps', '-aq'])).stdout).toBe('');
    await nothingLeft();
  });

  it('does without it what the engine does not, and everything when there is none', async () => {
    const env = { TVMM_ENGINE: engine.socket };
    const native = (args: readonly string[], more: NodeJS.ProcessEnv = {}) =>
      outcome(start([NATIVE, ...args], { env: { ...env, ...more } }));
    expect((await native(['--version'])).stdout).toMatch(/^\d+\./);
    expect((await native(['completion', 'bash'])).status).toBe(0);
    expect((await native(['oci', '--version'])).stdout).toContain('tvmm-oci version');
    expect((await native(runWords(['--rm'], 'echo', 'hi'), { TVMM_ENGINE: '/nowhere' })).stdout).toBe('hi\n');
    // Settings that the engine does not have.
    expect((await native(runWords(['--rm'], 'echo', 'hi'), { TVMM_OTHER: '1' })).stdout).toBe('hi\n');
    const other = outcome(start(['unshare', '--uts', NATIVE, ...runWords(['--rm'], 'echo', 'hi')], { env }));
    expect((await other).stdout).toBe('hi\n');
    expect((await served(runWords(['--rm'], 'echo', 'hi'), { env: { TVMM_OTHER: '1' } })).status).toBe(127);
    await nothingLeft();
  });

  it('starts containers as the caller’s descendants: with its limits, in its folder', async () => {
    const words = runWords(['--rm'], 'cat', '/proc/self/oom_score_adj');
    const env = { TVMM_ENGINE: engine.socket, PATH: `/bin:/usr/bin` };
    const line = `echo 321 >/proc/self/oom_score_adj; PATH=${NO_NODE} exec "$@"`;
    expect((await outcome(start(['/bin/sh', '-c', line, 'sh', NATIVE, ...words], { env }))).stdout).toBe(
      '321\n',
    );
  });

  it('passes input, output and signals through, and the exit status back', async () => {
    const bytes = Buffer.alloc(3_000_000, 'some text of some length\n');
    const copied = await served(runWords(['--rm', '-i'], 'cat'), { input: bytes });
    expect(copied.stdout.length).toBe(bytes.length);
    expect(copied.stdout === bytes.toString()).toBe(true);
    const script = 'trap "echo caught; exit 7" USR1; echo ready; while :; do sleep 0.05; done';
    const child = startServed(runWords(['--rm'], 'sh', '-c', script));
    child.stdout.once('data', () => child.kill('SIGUSR1'));
    expect(await outcome(child)).toMatchObject({ status: 7, stdout: 'ready\ncaught\n' });
    await nothingLeft();
  });

  it('gives a terminal, and lets go of it by the detach keys', async () => {
    /** Runs it on a terminal, and types once something has been printed: before that the terminal is not the container's yet. */
    const on = async (words: readonly string[], input: string): Promise<Outcome> => {
      const child = start(['/usr/bin/script', '-qec', words.join(' '), '/dev/null'], {
        env: { TVMM_ENGINE: engine.socket, SHELL: '/bin/sh', PATH: NO_NODE },
      });
      child.stdout.once('data', () => setTimeout(() => child.stdin.write(input), 300));
      const pieces: Buffer[] = [];
      child.stdout.on('data', (piece: Buffer) => pieces.push(piece));
      const [status]: (number | null)[] = await once(child, 'exit');
      return { status: status ?? null, stdout: Buffer.concat(pieces).toString(), stderr: '' };
    };
    const script = (text: string) => `sh -c '${text}'`;
    const run = [NATIVE, ...runWords(['-it', '--name', 'tty'])];
    const typed = await on([...run, script('tty; stty size; read x; echo got $x; exit 5')], 'hello\r');
    expect(typed.stdout).toContain('/dev/pts/0');
    expect(typed.stdout).toContain('got hello');
    expect(typed.status).toBe(5);
    await cold(['rm', '-f', 'tty']);
    const left = await on([...run, script('echo ready; exec cat')], 'a\x10\x11');
    expect(left.status).toBe(0);
    expect((await host.inspect('tty')).state).toBe('running');
  });

  it('serves many at once, and keeps nothing of them', async () => {
    await served(runWords(['--rm'], 'true'));
    const before = descriptors(engine.pid);
    const runs = await Promise.all(
      Array.from({ length: 32 }, (_, n) => served(runWords(['--rm'], 'sh', '-c', `echo ${n}; exit ${n}`))),
    );
    expect(runs.map(({ status, stdout }) => [status, stdout])).toEqual(runs.map((_, n) => [n, `${n}\n`]));
    await nothingLeft();
    await host.until('the engine has closed what it had', () => descriptors(engine.pid) <= before);
  });
});

describe.runIf(isRoot)('with a resident engine, what is killed', () => {
  afterEach(host.removeAll);

  it('leaves nothing when it is the program, at any time of a start', async () => {
    for (let after = 0; after <= 80; after += 10) {
      const child = startServed(runWords(['--rm', '--name', `k${after}`], 'sleep', '2'));
      await Promise.race([once(child, 'exit'), delay(after)]);
      child.kill('SIGKILL');
    }
    await host.until('everything is gone', async () => {
      await cold(['ps', '-a']);
      return host.leftovers().length === 0;
    });
    expect((await served(runWords(['--rm'], 'echo', 'served'))).stdout).toBe('served\n');
  });

  it('takes the container with it when it was its input', async () => {
    const child = startServed(runWords(['--rm', '-i'], 'sh', '-c', 'echo ready; cat'));
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await nothingLeft();
  });

  it('is not missed when it is the engine: a container goes on, and is removed at its end', async () => {
    const script = 'trap "exit 7" TERM; echo ready; while :; do sleep 0.05; done';
    const child = startServed(runWords(['--rm'], 'sh', '-c', script));
    await once(child.stdout, 'data');
    const end = outcome(child);
    await delay(100);
    await engine.close('SIGKILL');
    engine = await ResidentEngine.start();
    await delay(100);
    child.kill('SIGTERM');
    expect((await end).status).toBe(7);
    await nothingLeft();
  });

  it('leaves what the next command settles when it is the engine, at any time of a start', async () => {
    for (const after of [5, 20, 40, 60]) {
      const name = `e${after}`;
      const child = startServed(runWords(['-d', '--name', name], 'sleep', '1000'));
      const end = outcome(child);
      await delay(after);
      await engine.close('SIGKILL');
      const { status, stderr } = await end;
      if (status !== 0 && status !== 127) expect(stderr).toContain('the engine ended');
      engine = await ResidentEngine.start();
      const { stderr: complaint } = await served(['start', name]);
      expect(complaint === '' || /already runs|no container/.test(complaint), complaint).toBe(true);
      await served(['rm', '-f', name]);
    }
    await host.until(
      'everything is gone',
      () => host.leftovers().filter((one) => !one.includes('names/')).length === 0,
    );
  });
});

describe.runIf(isRoot)('a client that is no client', () => {
  const request = (args: readonly string[], variables: readonly string[] = []): Buffer => {
    const texts = Buffer.from(['/', ...args, ...variables].map((text) => `${text}\0`).join(''));
    const header = Buffer.alloc(32);
    header.write('tvmm-cli');
    header.writeUInt32LE(2, 8);
    header.writeUInt32LE(32 + texts.length, 12);
    header.writeUInt32LE(process.umask(), 16);
    header.writeUInt32LE(args.length, 20);
    header.writeUInt32LE(variables.length, 24);
    return Buffer.concat([header, texts]);
  };

  /** Sends bytes, and leaves after a while if the engine does not. @returns what came */
  async function talk(bytes: Uint8Array, more: Uint8Array = new Uint8Array(), ms = 300): Promise<Buffer> {
    const pieces: Buffer[] = [];
    const connection = createConnection(engine.socket);
    connection.on('error', () => {}).on('data', (piece: Buffer) => pieces.push(piece));
    await once(connection, 'connect');
    connection.write(bytes);
    const closed = new Promise((done) => connection.once('close', done));
    await Promise.race([closed, delay(ms / 2)]);
    if (!connection.destroyed) connection.write(more);
    await Promise.race([closed, delay(ms / 2)]);
    connection.destroy();
    return Buffer.concat(pieces);
  }

  it('gets no answer to what is no request, and keeps nobody from being served', async () => {
    const huge = request(['ps', 'x'.repeat(200_000)]);
    const cut = request(['ps', '-a']).subarray(0, 36);
    const wrong = Buffer.concat([request(['ps']), Buffer.from('more')]);
    expect((await talk(huge)).length).toBe(0);
    expect((await talk(cut)).length).toBe(0);
    expect((await talk(wrong)).length).toBe(0);
    expect((await served(['ps'])).status).toBe(0);
  });

  it('that does not do its errands, or says what nobody asked, leaves nothing', async () => {
    const { TVMM_ROOT, TVMM_RUN } = host.environment();
    const variables = [`TVMM_ROOT=${TVMM_ROOT}`, `TVMM_RUN=${TVMM_RUN}`];
    const run = request(runWords(['--rm', '--name', 'bad'], 'true'), variables);
    const word = (type: number, value: number) => {
      const bytes = Buffer.alloc(8);
      bytes.writeUInt32LE(type, 0);
      bytes.writeInt32LE(value, 4);
      return bytes;
    };
    // It has not started what it was to start: says so, says that it has, says everything, says half of a word.
    const lies = [
      word(1, 125 << 8),
      word(1, 0),
      Buffer.concat([1, 2, 3, 4, 5, 6, 99].map((type) => word(type, 0))),
      word(1, 0).subarray(0, 3),
      Buffer.alloc(100_000, 7),
    ];
    for (const lie of lies) await talk(run, lie, 1000);
    await host.until('everything is gone', async () => {
      await cold(['ps', '-a']);
      return host.leftovers().length === 0;
    });
    expect((await served(runWords(['--rm'], 'echo', 'served'))).stdout).toBe('served\n');
    expect(existsSync(`/proc/${engine.pid}`)).toBe(true);
    expect(readFileSync(`/proc/${engine.pid}/status`, 'utf8')).toContain('node');
  });

  it('of another user is not even connected', async () => {
    const words = [NATIVE, 'ps', '-a'];
    const [command = '', ...rest] = ['setpriv', '--reuid', '65534', '--clear-groups', ...words];
    const run = () =>
      execFileSync(command, rest, {
        env: { ...host.environment(), TVMM_ENGINE: engine.socket, PATH: `${NO_NODE}` },
        stdio: 'pipe',
      });
    expect(run).toThrow();
  });
});
