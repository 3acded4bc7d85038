/**
 * An engine of a test's own: its folders, a plain busybox root to run from, the command line, and what is left of its containers. Several
 * may be at work on one machine at the same time: only what this one has made counts.
 */
import { execFile } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export const CLI = join(import.meta.dirname, '..', '..', 'dist', 'cli.cjs');
/** The native program of that name, which asks a resident engine. */
export const NATIVE = join(import.meta.dirname, '..', '..', 'dist', 'firmware', 'tvmm');

/** The words that `tvmm` is on a command line: the tests may be about the native one. */
export function program(): [string, ...string[]] {
  const { TVMM_TEST_TVMM: other } = process.env;
  return other === undefined ? [process.execPath, CLI] : [other];
}
export const APPLETS =
  'sh cat echo sleep id true false touch ls nc seq hostname grep kill wc tar ln mknod stat mkdir rm chown'.split(
    ' ',
  );

export interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Inspected {
  readonly id: string;
  readonly state: string;
  readonly exitCode?: number;
  readonly restarts: number;
  readonly init?: { readonly pid: number };
  readonly minder?: { readonly pid: number };
}

/** A folder that busybox runs in. */
export function makeRootfs(rootfs: string): void {
  for (const folder of ['bin', 'etc', 'tmp', 'root', 'proc', 'sys', 'dev'])
    mkdirSync(join(rootfs, folder), { recursive: true });
  copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'));
  for (const applet of APPLETS) symlinkSync('busybox', join(rootfs, 'bin', applet));
  writeFileSync(
    join(rootfs, 'etc/passwd'),
    'root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n',
  );
  writeFileSync(join(rootfs, 'etc/group'), 'root:x:0:\nalice:x:1000:\nstaff:x:50:alice\n');
}

/** @param prefix of the folder's name; `open` makes it, `close` removes it */
export function engineHost(prefix: string) {
  let base = '';
  let rootfs = '';

  const open = (): { base: string; rootfs: string } => {
    base = mkdtempSync(join(tmpdir(), prefix));
    rootfs = join(base, 'rootfs');
    // The root of a user namespace must be able to pass.
    chmodSync(base, 0o755);
    makeRootfs(rootfs);
    return { base, rootfs };
  };

  /** Programs that have this engine's folders on their command line: what follows a container's end may still be at work. */
  const isBusy = (): boolean =>
    readdirSync('/proc').some((pid) => {
      try {
        return (
          /^\d+$/.test(pid) &&
          Number(pid) !== process.pid &&
          readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(base)
        );
      } catch {
        return false;
      }
    });

  const close = async (): Promise<void> => {
    if (base === '') return;
    for (let i = 0; i < 100 && isBusy(); i++) await delay(50);
    rmSync(base, { recursive: true, force: true, maxRetries: 5 });
  };

  const environment = (): NodeJS.ProcessEnv => {
    const { NODE_EXTRA_CA_CERTS: _, ...rest } = process.env;
    return { ...rest, TVMM_ROOT: join(base, 'root'), TVMM_RUN: join(base, 'run') };
  };

  const tvmm = (args: readonly string[], input?: string | Buffer): Promise<Result> =>
    new Promise((resolve) => {
      const [command, ...words] = program();
      const child = execFile(
        command,
        [...words, ...args],
        { env: environment(), timeout: 60_000, killSignal: 'SIGKILL', maxBuffer: 64 * 2 ** 20 },
        (error, stdout, stderr) => {
          const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
          resolve({ status: code, stdout, stderr });
        },
      );
      child.stdin?.on('error', () => {});
      child.stdin?.end(input);
    });

  /** A command in a container without a network, which starts sooner. */
  const run = (options: readonly string[], ...command: string[]): Promise<Result> =>
    tvmm(['run', '--network', 'none', ...options, '--rootfs', rootfs, ...command]);

  const inspect = async (name: string): Promise<Inspected> => {
    const { stdout, stderr } = await tvmm(['inspect', name]);
    const [found]: Inspected[] = JSON.parse(stdout === '' ? '[]' : stdout);
    if (found === undefined) throw new Error(stderr);
    return found;
  };

  const inFolder = (folder: string): string[] =>
    existsSync(join(base, folder)) ? readdirSync(join(base, folder)) : [];

  /** Ids of all containers that this engine has had: those of its journal and of its folders. */
  const ownIds = (): Set<string> => {
    const journal = ['events.1', 'events']
      .map((name) => join(base, 'root/engine', name))
      .filter((file) => existsSync(file))
      .map((file) => readFileSync(file, 'utf8'))
      .join('');
    const noted = [...journal.matchAll(/"id":"([0-9a-f]{64})"/g)].map(([, id = '']) => id);
    return new Set([...noted, ...inFolder('root/containers')]);
  };

  /** What is left of this engine's containers on this machine: processes, mounts, cgroups, state. */
  const leftovers = (): string[] => {
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(base));
    const state = ['root/containers', 'root/engine/names', 'run/engine', 'run/netns'].flatMap((folder) =>
      inFolder(folder).map((name) => `${folder}/${name}`),
    );
    const processes = readdirSync('/proc').flatMap((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return /^\d+$/.test(pid) && words.includes(base) && words.includes('minder')
          ? [`process ${pid}`]
          : [];
      } catch {
        return [];
      }
    });
    const ids = ownIds();
    const cgroups = ['/sys/fs/cgroup', '/sys/fs/cgroup/pids'].flatMap((folder) =>
      existsSync(folder) ? readdirSync(folder).filter((name) => ids.has(name.replace(/^tvmm-/, ''))) : [],
    );
    return [...mounts, ...state, ...processes, ...cgroups];
  };

  const until = async (what: string, condition: () => boolean | Promise<boolean>): Promise<void> => {
    for (let i = 0; i < 200; i++) {
      if (await condition()) return;
      await delay(50);
    }
    throw new Error(`it did not happen: ${what}; left: ${leftovers().join(', ')}`);
  };

  const removeAll = async (): Promise<void> => {
    const { stdout } = await tvmm(['ps', '-aq']);
    const ids = stdout.split('\n').filter((id) => id !== '');
    if (ids.length > 0) await tvmm(['rm', '-f', ...ids]);
  };

  return { open, close, environment, tvmm, run, inspect, leftovers, until, removeAll };
}
