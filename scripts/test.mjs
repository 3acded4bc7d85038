/**
 * `npm test`: format and lint, types, then unit and integration tests. Ends with one plain line of counts; the static checks count as one
 * test each. A test skipped without a reason that this machine explains (test/support/needs.ts) is a failure.
 *
 * Arguments go to vitest: `npm test -- src/memory`. TVMM_TEST_MINUTES bounds the whole run, 40 by default: what runs then is killed.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '..'));

const minutes = Number(process.env.TVMM_TEST_MINUTES ?? 40);
const deadline = performance.now() + minutes * 60_000;
const KILL_AFTER_MS = 10_000;
const counts = { passed: 0, failed: 0, skipped: 0 };
let current;
let aborted = false;

function say(text) {
  process.stdout.write(`${text}\n`);
}

/** Ends the running step with everything it started: each step leads a process group of its own. */
function kill(signal) {
  if (current?.pid === undefined) return;
  try {
    process.kill(-current.pid, signal);
  } catch {
    // It has just ended by itself.
  }
}

function run(command, args, env = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'inherit', 'inherit'],
      detached: true,
      env: { ...process.env, ...env },
    });
    current = child;
    const left = Math.max(1, deadline - performance.now());
    const timer = setTimeout(() => {
      say(`test: stopped after ${minutes} minutes`);
      aborted = true;
      kill('SIGTERM');
      setTimeout(() => kill('SIGKILL'), KILL_AFTER_MS).unref();
    }, left);
    const end = (ok) => {
      clearTimeout(timer);
      // What a step left running would disturb the next.
      kill('SIGKILL');
      current = undefined;
      resolve(ok);
    };
    child.once('error', (error) => {
      say(`test: ${command} cannot be run: ${error.message}`);
      end(false);
    });
    child.once('close', (status) => end(status === 0));
  });
}

async function check(title, command, args) {
  if (aborted) return;
  say(`\n== ${title}`);
  if (await run(command, args)) counts.passed++;
  else {
    counts.failed++;
    say(`test: ${title} failed`);
  }
}

function readSummary(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

async function vitest(project, folder, filters) {
  if (aborted) return;
  say(`\n== ${project} tests`);
  const file = join(folder, `${project}.json`);
  const args = [
    'run',
    '--project',
    project,
    '--passWithNoTests',
    '--reporter=default',
    '--reporter=./test/support/summary-reporter.ts',
  ];
  const ok = await run('node_modules/.bin/vitest', [...args, ...filters], { TVMM_TEST_SUMMARY: file });
  const summary = readSummary(file) ?? { passed: 0, failed: 0, skipped: 0, unexplained: [] };
  counts.passed += summary.passed;
  counts.skipped += summary.skipped;
  // vitest may fail without a failed test: killed, or unable to start.
  counts.failed += ok ? summary.failed : Math.max(1, summary.failed);
  for (const text of summary.unexplained) {
    say(`test: skipped without a reason that this machine explains: ${text}`);
    counts.failed++;
    counts.skipped--;
  }
}

for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
  ['SIGHUP', 1],
]) {
  process.on(signal, () => {
    kill('SIGKILL');
    process.exit(128 + number);
  });
}

const folder = mkdtempSync(join(tmpdir(), 'tvmm-test-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const filters = process.argv.slice(2);
if (filters.length === 0) {
  await check('format and lint', 'node_modules/.bin/biome', ['check', '.']);
  await check('types', 'node_modules/.bin/tsc', ['--noEmit', '-p', 'tsconfig.json']);
}
await vitest('unit', folder, filters);
await vitest('integration', folder, filters);
if (counts.passed + counts.failed === 0) {
  say('test: nothing ran');
  counts.failed++;
}
const closing = `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`;
if (process.env.TVMM_TEST_CLOSING) writeFileSync(process.env.TVMM_TEST_CLOSING, `${closing}\n`);
say(`\n${closing}`);
process.exitCode = counts.failed === 0 ? 0 : 1;
