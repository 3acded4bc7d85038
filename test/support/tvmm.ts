/**
 * `tvmm` as its users start it: the built command line in a session and a temporary folder of its own, so that what it leaves behind can be told
 * from what others leave.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from 'tvmm';

/** The built command line. */
export const CLI = join(packageRoot(), 'dist/cli.cjs');

/** What became of a `tvmm`. */
export interface Outcome {
  /** Exit status; 128 + n after signal n is the shell's view and never appears here, see {@link signal}. */
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** Names in its temporary folder, and processes of its session, that outlived it. */
  left: string[];
}

export interface RunOptions {
  cwd?: string;
  env?: Readonly<Record<string, string>>;
  stdin?: Uint8Array;
  /** A command in front of node, e.g. `['unshare', '-m', 'sh', '-c', '…; exec "$@"', 'sh']`. */
  prefix?: readonly string[];
  /** Called with the process once it runs. */
  started?: (child: ChildProcess) => void;
}

/** Runs `tvmm` with `args` to its end. */
export async function tvmm(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const temporary = mkdtempSync(join(tmpdir(), 'tvmm-test-'));
  try {
    const [program, ...rest] = [...(options.prefix ?? []), process.execPath, CLI, ...args];
    const child = spawn(program, rest, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env, TMPDIR: temporary },
      stdio: ['pipe', 'pipe', 'pipe'],
      // A session of its own: whoever stays in it was left behind.
      detached: true,
    });
    const taken = [child.stdout, child.stderr].map((stream) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      return new Promise<string>((done) =>
        stream.once('close', () => done(Buffer.concat(chunks).toString())),
      );
    });
    child.stdin.on('error', () => {});
    child.stdin.end(options.stdin);
    options.started?.(child);
    const [status, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((done, fail) => {
      child.once('error', fail);
      child.once('exit', (...end) => done(end));
    });
    const left = [...readdirSync(temporary), ...sessionOf(child.pid ?? 0)];
    const [stdout, stderr] = await Promise.all(taken);
    return { status, signal, stdout, stderr, left };
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Command lines of the processes in session `id` (proc(5), /proc/PID/stat: the sixth field), zombies left out. */
function sessionOf(id: number): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
      const [state, , , session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (Number(session) !== id || state === 'Z') return [];
      return [readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')];
    } catch {
      return []; // It ended meanwhile.
    }
  });
}

/** A file lock that somebody holds on `path` (proc(5), /proc/locks names inodes). */
export function lockedInodes(): Set<number> {
  const lines = readFileSync('/proc/locks', 'utf8').split('\n');
  return new Set(lines.flatMap((line) => /:(\d+) \d+ \S+$/.exec(line)?.[1] ?? []).map(Number));
}
