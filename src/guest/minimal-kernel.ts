/**
 * Builds the minimal guest kernel from the distribution's own source package with our configuration (minimal.config.ts).
 * Takes ten minutes and more, so it is done on request only, once for a configuration and source version. The host's own
 * kernel, sources and configuration are not touched.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { TvmmError } from '../sys/errors.js';
import { cacheDir, cachedFolder, writeFileAtomic } from './cache.js';
import { runCommand } from './command.js';
import { configFragment, missingOptions } from './minimal.config.js';
import { downloadPackage, findPackage, unpackPackage, withDependencies } from './packages.js';
import { type Progress, silent } from './progress.js';

/** The minimal kernel cannot be built. */
export class KernelBuildError extends TvmmError {}

/** The minimal kernel in the cache. Paths are absolute. It has no modules. */
export interface MinimalKernel {
  /** `uname -r`, e.g. `6.1.176-tvmm`. */
  readonly version: string;
  /** Stripped ELF, enterable through PVH. */
  readonly vmlinux: string;
  readonly bzImage: string;
}

/** Options of {@link ensureMinimalKernel}. */
export interface MinimalKernelOptions {
  /** Build although there is one. */
  force?: boolean;
}

/** The minimal kernel, built if the cache has none for this configuration. Throws a TvmmError that says what is missing. */
export async function ensureMinimalKernel(
  progress: Progress = silent,
  options: MinimalKernelOptions = {},
): Promise<MinimalKernel> {
  const cached = options.force === true ? undefined : cachedMinimalKernel();
  if (cached !== undefined) return cached;

  await requireTools(progress);
  const start = await findPackage(['linux-source'], progress);
  const source = (await withDependencies(start, /^linux-source-\d/, progress)).find(({ name }) =>
    /-\d/.test(name),
  );
  if (source === undefined) {
    throw new KernelBuildError('the package linux-source leads to no source package', {
      code: 'KERNEL_SOURCE',
    });
  }
  const key = createHash('sha256')
    .update(`${source.name} ${source.version}\n${configFragment()}`)
    .digest('hex');
  const entry = key.slice(0, 16);
  const folder = await cachedFolder(
    join(kernelsFolder(), entry),
    async (target) => {
      const work = join(target, 'work');
      mkdirSync(work);
      const deb = await downloadPackage(source, work, progress);
      progress(`unpacking ${source.name}`);
      await unpackPackage(deb, work);
      rmSync(deb);
      await build(await unpackSource(work), target, progress);
      rmSync(work, { recursive: true });
    },
    { progress, force: options.force },
  );
  writeFileAtomic(currentFile(), `${JSON.stringify({ fragment: fragmentHash(), entry })}\n`);
  const kernel = readEntry(folder);
  if (kernel !== undefined) return kernel;
  throw new KernelBuildError(`the minimal kernel in ${folder} is incomplete`, {
    code: 'KERNEL_CACHE',
    hint: 'build it again with: tvmm kernel build --force',
  });
}

/** The minimal kernel if it was built with the present configuration. Builds and fetches nothing. */
export function cachedMinimalKernel(): MinimalKernel | undefined {
  const { fragment, entry } = parse(currentFile());
  if (fragment !== fragmentHash() || typeof entry !== 'string' || !/^[0-9a-f]+$/.test(entry))
    return undefined;
  return readEntry(join(kernelsFolder(), entry));
}

/** {@link cachedMinimalKernel}, or a {@link KernelBuildError} that says how to build it. */
export function requireMinimalKernel(): MinimalKernel {
  const found = cachedMinimalKernel();
  if (found !== undefined) return found;
  throw new KernelBuildError('the minimal kernel is not built, or its configuration has changed since', {
    code: 'KERNEL_NOT_BUILT',
    hint: 'build it with: tvmm kernel build',
  });
}

/** Commands and headers that a kernel build needs, and the packages they come from. */
const TOOLS: readonly [command: string, debianPackage: string][] = [
  ['make', 'make'],
  ['gcc', 'gcc'],
  ['ld', 'binutils'],
  ['flex', 'flex'],
  ['bison', 'bison'],
  ['bc', 'bc'],
  ['perl', 'perl-base'],
  ['lz4', 'lz4'],
  ['xz', 'xz-utils'],
  ['tar', 'tar'],
];
const HEADERS: readonly [header: string, debianPackage: string][] = [
  ['stdio.h', 'libc6-dev'],
  ['gelf.h', 'libelf-dev'],
];

/** Packages of the build tools that this machine lacks. */
export function missingTools(): string[] {
  const folders = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`.split(':').filter((folder) => folder !== '');
  const missing = TOOLS.filter(([name]) => !folders.some((folder) => existsSync(join(folder, name)))).map(
    ([, pkg]) => pkg,
  );
  // Without a compiler no header can be looked for, so all are asked for.
  for (const [header, pkg] of HEADERS) {
    const probe = spawnSync('gcc', ['-E', '-x', 'c', '-o', '/dev/null', '-'], {
      input: `#include <${header}>\n`,
    });
    if (probe.status !== 0) missing.push(pkg);
  }
  return missing;
}

/** Throws, or as root installs, where tools are missing. */
async function requireTools(progress: Progress): Promise<void> {
  const missing = missingTools();
  if (missing.length === 0) return;
  const install = ['install', '-y', '-q', '--no-install-recommends', ...missing];
  let cause: unknown;
  if (process.getuid?.() === 0) {
    progress(`installing build tools: ${missing.join(' ')}`);
    try {
      await runCommand('apt-get', install, { env: { DEBIAN_FRONTEND: 'noninteractive' } });
    } catch (error) {
      cause = error;
    }
    if (missingTools().length === 0) return;
  }
  throw new KernelBuildError(`building a kernel needs tools that are not installed: ${missing.join(', ')}`, {
    code: 'BUILD_TOOLS_MISSING',
    hint: `run as root: apt-get install -y --no-install-recommends ${missing.join(' ')}`,
    cause,
  });
}

/** Unpacks the tarball that a source package holds, and returns the top folder of the source. */
async function unpackSource(work: string): Promise<string> {
  const tarball = readdirSync(join(work, 'usr/src'), { recursive: true, encoding: 'utf8' }).find((name) =>
    /(^|\/)linux-source-[^/]*\.tar\.\w+$/.test(name),
  );
  if (tarball === undefined) {
    throw new KernelBuildError('the kernel source package holds no tarball', { code: 'KERNEL_SOURCE' });
  }
  const tree = join(work, 'tree');
  mkdirSync(tree);
  await runCommand('tar', ['-xf', join(work, 'usr/src', tarball), '-C', tree, '--strip-components=1']);
  rmSync(join(work, 'usr'), { recursive: true });
  return tree;
}

/** Configures and builds the kernel in `tree` and puts vmlinux, bzImage, config and kernel.json into `target`. */
async function build(tree: string, target: string, progress: Progress): Promise<void> {
  const fragment = join(tree, 'tvmm.config');
  writeFileSync(fragment, configFragment());
  const fixed = ['ARCH=x86_64', 'KBUILD_BUILD_USER=tvmm', 'KBUILD_BUILD_HOST=tvmm', 'KBUILD_BUILD_VERSION=1'];
  const make = async (args: readonly string[], onLine?: (line: string) => void) => {
    try {
      // Variables of an outer make would change ours.
      const env = { MAKEFLAGS: undefined, MAKELEVEL: undefined, KCONFIG_ALLCONFIG: fragment };
      await runCommand('make', [...fixed, ...args], { cwd: tree, env, onLine });
    } catch (cause) {
      throw new KernelBuildError(`the kernel build failed at make ${args.join(' ')}`, {
        code: 'KERNEL_BUILD',
        cause,
      });
    }
  };
  progress('configuring the minimal kernel');
  await make(['-s', 'allnoconfig']);
  const config = readFileSync(join(tree, '.config'), 'utf8');
  const missing = missingOptions(config);
  // An option that the source does not know is no reason to fail: most guests will do without it.
  if (missing.length > 0) progress(`this kernel source does not take: ${missing.join(', ')}`);

  const jobs = availableParallelism();
  progress(`compiling the minimal kernel with ${jobs} jobs`);
  const started = Date.now();
  let files = 0;
  await make([`-j${jobs}`, 'bzImage'], (line) => {
    if (!/^ {2}(CC|AS|LD|AR) /.test(line) || ++files % 100 !== 0) return;
    const minutes = ((Date.now() - started) / 60_000).toFixed(1);
    progress(`compiling the minimal kernel: ${files} of some 2,000 files, ${minutes} min, ${jobs} jobs`);
  });
  const compiled = join(tree, 'arch/x86/boot');
  // The kernel's own stripped vmlinux, the one that the bzImage carries; notes and program headers are in it.
  copyFileSync(join(compiled, 'compressed/vmlinux.bin'), join(target, 'vmlinux'));
  copyFileSync(join(compiled, 'bzImage'), join(target, 'bzImage'));
  writeFileSync(join(target, 'config'), config);
  const version = readFileSync(join(tree, 'include/config/kernel.release'), 'utf8').trim();
  writeFileSync(join(target, 'kernel.json'), `${JSON.stringify({ version })}\n`);
}

function readEntry(folder: string): MinimalKernel | undefined {
  const { version } = parse(join(folder, 'kernel.json'));
  const vmlinux = join(folder, 'vmlinux');
  const bzImage = join(folder, 'bzImage');
  if (typeof version !== 'string' || !existsSync(vmlinux) || !existsSync(bzImage)) return undefined;
  return { version, vmlinux, bzImage };
}

function parse(path: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {}; // Not built yet, or damaged: it is built again.
  }
}

function fragmentHash(): string {
  return createHash('sha256').update(configFragment()).digest('hex');
}

function kernelsFolder(): string {
  return join(cacheDir(), 'minimal-kernels');
}

function currentFile(): string {
  return join(kernelsFolder(), 'current.json');
}
