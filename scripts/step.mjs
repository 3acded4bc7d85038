/**
 * Long steps that show they live: a child process whose output is kept back, a line when it starts, a sign every ten seconds with its
 * newest line, and the elapsed time at its end. When it fails, the end of what it said is shown. All on stderr.
 */
import { spawn } from 'node:child_process';

const SIGN_EVERY_MS = 10_000;
const KEPT = 20_000;

/** The steps that run now. */
const running = new Set();
const PATIENCE_MS = 15_000;

/**
 * Ends the running steps and waits until they are gone: what a killed npm still cleans up would otherwise fall into the next setup's work.
 */
export async function stopSteps() {
  const ends = [...running].map((child) => new Promise((resolve) => child.once('close', resolve)));
  for (const child of running) child.kill('SIGTERM');
  const hard = setTimeout(() => {
    for (const child of running) child.kill('SIGKILL');
  }, PATIENCE_MS);
  await Promise.all(ends);
  clearTimeout(hard);
}

/** A step that failed; the message has been prepared for the user. */
export class StepError extends Error {}

export function say(text) {
  process.stderr.write(`setup: ${text}\n`);
}

export function seconds(since) {
  const elapsed = (performance.now() - since) / 1000;
  return elapsed < 60
    ? `${elapsed.toFixed(1)} s`
    : `${Math.floor(elapsed / 60)} min ${Math.round(elapsed % 60)} s`;
}

/**
 * Runs a command as a step. Resolves with its output; rejects with a StepError that carries it.
 *
 * @param what the step in words, e.g. `installing the npm packages`
 * @param options.live the command itself says on stderr what it does: announce nothing, pass that through
 */
export function step(what, command, args, options = {}) {
  const started = performance.now();
  if (!options.live) say(`${what}…`);
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', options.live ? 'inherit' : 'pipe'],
    });
    let output = '';
    const keep = (chunk) => {
      output = (output + chunk.toString('utf8')).slice(-KEPT);
    };
    child.stdout.on('data', keep);
    child.stderr?.on('data', keep);
    const sign = setInterval(() => {
      if (options.live) return;
      const last = output.trimEnd().split('\n').at(-1) ?? '';
      say(`  still ${what} (${seconds(started)})${last === '' ? '' : `: ${last.slice(0, 90)}`}`);
    }, SIGN_EVERY_MS);
    running.add(child);
    const end = () => {
      clearInterval(sign);
      running.delete(child);
    };
    child.once('error', (error) => {
      end();
      reject(new StepError(`${command} cannot be run: ${error.code}`));
    });
    child.once('close', (status, signal) => {
      end();
      if (status === 0) {
        if (!options.live) say(`  done in ${seconds(started)}`);
        return resolve(output);
      }
      // Some tools say what is wrong first and then how they are used, others the reverse.
      const lines = output.trimEnd().split('\n');
      const said = (lines.length > 20 ? [...lines.slice(0, 8), '…', ...lines.slice(-11)] : lines).join('\n');
      const error = new StepError(
        `${what} failed (${signal ?? `exit status ${status}`})${said === '' ? '' : `:\n${said}`}`,
      );
      error.output = output;
      error.status = status;
      reject(error);
    });
  });
}
