/**
 * Hooks that run in the runtime's own namespaces (config.md, "POSIX-platform Hooks"): prestart, createRuntime, poststart, poststop. One
 * after the other, the state on standard input, nothing of our environment. A hook that takes too long is killed with its session.
 */
import type { ChildProcess } from 'node:child_process';
import type { OciState } from '../spec/state.js';
import type { HookKind, OciHook } from '../spec/types.js';
import { errnoOf, HookError } from './errors.js';

/** What a hook prints is kept for the error message up to here. */
const MAX_OUTPUT = 4096;

/** @throws HookError of the first that fails; those behind it are not run */
export async function runHooks(
  kind: HookKind,
  hooks: readonly OciHook[] | undefined,
  state: OciState,
): Promise<void> {
  for (const [index, hook] of (hooks ?? []).entries()) await runHook(kind, index, hook, state);
}

/** Runs them all; failures are told. */
export async function runHooksAnyway(
  kind: HookKind,
  hooks: readonly OciHook[] | undefined,
  state: OciState,
  warn: (message: string) => void,
): Promise<void> {
  for (const [index, hook] of (hooks ?? []).entries()) {
    try {
      await runHook(kind, index, hook, state);
    } catch (error) {
      warn(error instanceof Error ? error.message : String(error));
    }
  }
}

async function runHook(kind: HookKind, index: number, hook: OciHook, state: OciState): Promise<void> {
  const { spawn } = await import('node:child_process');
  const [argv0, ...args] = hook.args ?? [];
  const output: Buffer[] = [];
  let kept = 0;
  const child = spawn(hook.path, args, {
    ...(argv0 === undefined ? {} : { argv0 }),
    cwd: state.bundle,
    env: environment(hook.env ?? []),
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      if (kept < MAX_OUTPUT) output.push(chunk.subarray(0, MAX_OUTPUT - kept));
      kept += chunk.length;
    });
  }
  // A hook that does not read its input is no error.
  child.stdin.on('error', () => {});
  child.stdin.end(JSON.stringify(state));
  const problem = await ended(child, hook.timeout);
  // A daemon that the hook left behind may hold its output open.
  for (const stream of [child.stdout, child.stderr]) stream.destroy();
  if (problem === undefined) return;
  const told = Buffer.concat(output).toString('utf8').trim();
  throw new HookError(
    `error running ${kind} hook #${index}: ${hook.path} ${problem}${told === '' ? '' : `: ${told}`}`,
  );
}

/** @returns what went wrong, as a clause */
function ended(child: ChildProcess, timeout: number | undefined): Promise<string | undefined> {
  return new Promise((resolve) => {
    let late: string | undefined;
    const timer =
      timeout === undefined
        ? undefined
        : setTimeout(() => {
            late = `did not end within ${timeout} s`;
            killSession(child);
          }, timeout * 1000);
    const done = (problem?: string) => {
      clearTimeout(timer);
      resolve(late ?? problem);
    };
    child.once('error', (error) => done(`cannot be run: ${errnoOf(error) || error.message}`));
    child.once('exit', (status, signal) => {
      if (status === 0) done();
      else done(signal === null ? `ended with exit status ${status}` : `was ended by ${signal}`);
    });
  });
}

function killSession({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended just now.
  }
}

/** `NAME=VALUE` lines as an object; later ones win. Without any the hook's environment is empty. */
function environment(lines: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.indexOf('=');
      return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)];
    }),
  );
}
