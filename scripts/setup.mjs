/**
 * Makes everything ready on a fresh Debian or Ubuntu machine that has only Node: distribution packages, npm packages, the build,
 * the guest kernel and image. Each step looks first whether its work is done, so that a second run takes a fraction of a second, and
 * an interrupted one goes on where it stopped. Node built-ins only: it runs before node_modules exist.
 *
 *   node scripts/setup.mjs [--test] [--bench] [--no-guest]
 *
 * `--test` also fetches what the tests need, `--bench` what the benchmarks need, `--no-guest` leaves kernel and image out.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installPackages } from './packages.mjs';
import { builtHash, inputHash } from './stamp.mjs';
import { StepError, say, seconds, step, stopSteps } from './step.mjs';

const MIN_NODE_MAJOR = 20;
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const started = performance.now();
const flags = new Set(process.argv.slice(2));
const purposes = [
  'run',
  ...(flags.has('--test') ? ['test'] : []),
  ...(flags.has('--bench') ? ['test', 'bench'] : []),
];

let interrupted = false;

function checkMachine() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new StepError(`tvmm runs on x86-64 Linux; this is ${process.platform} on ${process.arch}`);
  }
  if (Number.parseInt(process.versions.node, 10) < MIN_NODE_MAJOR) {
    throw new StepError(`tvmm needs Node ${MIN_NODE_MAJOR} or newer; this is ${process.version}`);
  }
}

function parseFile(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/**
 * Whether node_modules is what the lockfile says. npm writes its own record last, so an interrupted installation has none. Packages
 * for other platforms are in the lockfile only.
 */
function modulesAreCurrent() {
  const wanted = parseFile(join(root, 'package-lock.json'))?.packages;
  const have = parseFile(join(root, 'node_modules/.package-lock.json'))?.packages;
  if (wanted === undefined || have === undefined) return false;
  const forUs = ({ os, cpu, libc }) =>
    (os === undefined || os.includes('linux')) &&
    (cpu === undefined || cpu.includes('x64')) &&
    (libc === undefined || libc.includes('glibc'));
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '' || !forUs(entry)) return true;
    // Optional packages may be left out for reasons that only npm knows.
    if (have[path] === undefined) return entry.optional === true && entry.os === undefined;
    return have[path].version === entry.version && existsSync(join(root, path, 'package.json'));
  });
}

async function installModules() {
  if (modulesAreCurrent()) return false;
  // Under `npm start` npm names itself, which need not be the one in the PATH.
  const npm = process.env.npm_execpath?.endsWith('.js')
    ? [process.execPath, process.env.npm_execpath]
    : ['npm'];
  const [command, ...before] = npm;
  const args = [...before, 'ci', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'];
  const install = () => step('installing the npm packages', command, args);
  try {
    await install();
  } catch (error) {
    // The remains of an installation that was killed: npm removes them, and trips over its own haste.
    if (!/ENOENT|ENOTEMPTY/.test(error.output ?? '')) throw error;
    rmSync(join(root, 'node_modules'), { recursive: true, force: true });
    await install();
  }
  return true;
}

async function buildProject() {
  if (inputHash(root) === builtHash(root)) return false;
  await step('building tvmm', process.execPath, [join(root, 'scripts/build.mjs')]);
  return true;
}

/** Kernels and images live in the user's cache, which tvmm itself looks after; it says what it does on stderr. */
async function prepareGuest() {
  const prepare = join(root, 'dist/prepare.js');
  if (flags.has('--no-guest') || !existsSync(prepare)) return false;
  const args = purposes.includes('test') ? [prepare, '--lab'] : [prepare];
  const output = await step('preparing the guest', process.execPath, args, { live: true });
  return output.includes('made');
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Two setups at once in one folder would remove each other's node_modules: the second waits. */
async function lock() {
  const folder = join(root, '.cache');
  const file = join(folder, 'setup.lock');
  mkdirSync(folder, { recursive: true });
  for (let told = false; ; ) {
    try {
      writeFileSync(file, `${process.pid}\n`, { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw new StepError(`${file} cannot be written: ${error.code}`);
    }
    const holder = Number.parseInt(parseText(file), 10);
    if (!(holder > 0 && isAlive(holder))) {
      rmSync(file, { force: true });
      continue;
    }
    if (!told) say(`waiting for another setup in this folder (process ${holder})…`);
    told = true;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  process.on('exit', () => rmSync(file, { force: true }));
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ]) {
    process.on(signal, async () => {
      // A terminal and an impatient user send more than one.
      if (interrupted) return;
      interrupted = true;
      await stopSteps();
      process.exit(128 + number);
    });
  }
}

function parseText(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

async function main() {
  checkMachine();
  process.chdir(root);
  await lock();
  const did = [
    await installPackages(purposes),
    await installModules(),
    await buildProject(),
    await prepareGuest(),
  ];
  if (did.includes(true)) say(`ready after ${seconds(started)}`);
  else say(`everything is in place already: caches reused (${seconds(started)})`);
}

main().catch((error) => {
  if (!(error instanceof StepError)) throw error;
  say(interrupted ? 'interrupted; the next run goes on from here' : error.message);
  process.exitCode = 1;
});
