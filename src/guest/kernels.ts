/**
 * The distribution's unmodified kernels, unpacked into the cache: `cloud`, which the default guest boots, and `full`, which
 * has the drivers that the lab's machine needs. Once fetched, a kernel is found without apt and without the network.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TvmmError } from '../sys/errors.js';
import { extractVmlinux } from './bzimage-payload.js';
import { cacheDir, cachedFolder, writeFileAtomic } from './cache.js';
import { writeModulesDep } from './modules.js';
import { downloadPackage, findPackage, unpackPackage, withDependencies } from './packages.js';
import { type Progress, silent } from './progress.js';

/** The distribution's kernel package does not hold what it should. */
export class KernelPackageError extends TvmmError {}

/** Which of the distribution's kernels. */
export type KernelFlavour = 'cloud' | 'full';

/** A kernel in the cache. All paths are absolute. */
export interface KernelFiles {
  /** `uname -r` of the kernel, e.g. `6.1.0-56-cloud-amd64`. */
  readonly version: string;
  /** ELF, enterable through PVH. */
  readonly vmlinux: string;
  readonly bzImage: string;
  /** `…/lib/modules/VERSION`, with a modules.dep. */
  readonly modulesDir: string;
}

/** Debian's metapackages first, then Ubuntu's. */
const CANDIDATES: Readonly<Record<KernelFlavour, readonly string[]>> = {
  cloud: ['linux-image-cloud-amd64', 'linux-image-kvm', 'linux-image-virtual', 'linux-image-generic'],
  full: ['linux-image-amd64', 'linux-image-generic'],
};
/** Metapackages lead to these; on Ubuntu the modules are packages of their own. */
const KERNEL_PACKAGE = /^linux-(image(-unsigned)?|modules(-extra)?)-\d/;

/** Options of {@link ensureKernel}. */
export interface EnsureKernelOptions {
  /** Ask apt whether there is a newer one, although one is in the cache. */
  refresh?: boolean;
}

/**
 * The kernel of a flavour, fetched and unpacked if the cache has none. Throws a {@link TvmmError} that says what is
 * missing where apt, the network or a tool fails.
 */
export async function ensureKernel(
  flavour: KernelFlavour,
  progress: Progress = silent,
  options: EnsureKernelOptions = {},
): Promise<KernelFiles> {
  const cached = options.refresh === true ? undefined : cachedKernel(flavour);
  if (cached !== undefined) return cached;

  const found = await findPackage(CANDIDATES[flavour], progress);
  const packages = (await withDependencies(found, KERNEL_PACKAGE, progress)).filter(({ name }) =>
    KERNEL_PACKAGE.test(name),
  );
  const image = packages.find(({ name }) => name.startsWith('linux-image-'));
  if (image === undefined) {
    throw new KernelPackageError(`the package ${found.name} leads to no kernel image package`, {
      code: 'KERNEL_PACKAGE',
      hint: 'give tvmm boot a kernel with --kernel',
    });
  }
  const entry = `${image.name.replace(/^linux-image-(unsigned-)?/, '')}_${image.version.replaceAll(/[^\w.+~-]/g, '_')}`;
  const folder = await cachedFolder(
    join(kernelsFolder(), entry),
    async (target) => {
      const download = join(target, 'download');
      const tree = join(target, 'tree');
      mkdirSync(download);
      for (const info of packages) {
        const deb = await downloadPackage(info, download, progress);
        progress(`unpacking ${info.name}`);
        await unpackPackage(deb, tree);
      }
      rmSync(download, { recursive: true });
      await arrange(tree, target, progress);
    },
    // An entry that someone damaged is built anew.
    { progress, force: readEntry(join(kernelsFolder(), entry)) === undefined },
  );
  writeFileAtomic(currentFile(flavour), `${JSON.stringify({ folder: entry })}\n`);
  const kernel = readEntry(folder);
  if (kernel === undefined) {
    throw new KernelPackageError(`the cached kernel in ${folder} is incomplete`, {
      code: 'KERNEL_CACHE',
      hint: `remove ${folder} and try again`,
    });
  }
  return kernel;
}

/** The kernel of a flavour if the cache has it. Touches a few small files only. */
export function cachedKernel(flavour: KernelFlavour): KernelFiles | undefined {
  const entry = parseJson(currentFile(flavour)).folder;
  return typeof entry === 'string' && /^[^/]+$/.test(entry)
    ? readEntry(join(kernelsFolder(), entry))
    : undefined;
}

/** Turns an unpacked package tree into our layout: bzImage, vmlinux, lib/modules/VERSION, kernel.json. */
async function arrange(tree: string, target: string, progress: Progress): Promise<void> {
  const boot = join(tree, 'boot');
  const file = existsSync(boot) ? readdirSync(boot).find((name) => name.startsWith('vmlinuz-')) : undefined;
  if (file === undefined) {
    throw new KernelPackageError('the kernel package holds no /boot/vmlinuz', { code: 'KERNEL_PACKAGE' });
  }
  const version = file.slice('vmlinuz-'.length);
  // A merged-/usr package has its modules below usr/lib.
  const modules = ['lib/modules', 'usr/lib/modules'].map((one) => join(tree, one, version)).find(existsSync);
  if (modules === undefined) {
    throw new KernelPackageError(`the kernel package holds no modules for ${version}`, {
      code: 'KERNEL_PACKAGE',
    });
  }
  const modulesDir = join(target, 'lib/modules', version);
  mkdirSync(join(target, 'lib/modules'), { recursive: true });
  renameSync(modules, modulesDir);
  renameSync(join(boot, file), join(target, 'bzImage'));
  const config = join(boot, `config-${version}`);
  if (existsSync(config)) renameSync(config, join(target, 'config'));
  rmSync(tree, { recursive: true });
  progress(`decompressing the kernel ${version}`);
  writeFileSync(
    join(target, 'vmlinux'),
    await extractVmlinux(readFileSync(join(target, 'bzImage')), `the kernel of ${version}`),
  );
  progress(`indexing the modules of ${version}`);
  await writeModulesDep(modulesDir);
  writeFileSync(join(target, 'kernel.json'), `${JSON.stringify({ version })}\n`);
}

function readEntry(folder: string): KernelFiles | undefined {
  const version = parseJson(join(folder, 'kernel.json')).version;
  if (typeof version !== 'string') return undefined;
  const vmlinux = join(folder, 'vmlinux');
  const bzImage = join(folder, 'bzImage');
  const modulesDir = join(folder, 'lib/modules', version);
  return existsSync(vmlinux) && existsSync(bzImage) && existsSync(modulesDir)
    ? { version, vmlinux, bzImage, modulesDir }
    : undefined;
}

/** An object from a small JSON file; empty where the file is absent or damaged, since the cache can be rebuilt. */
function parseJson(path: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

function kernelsFolder(): string {
  return join(cacheDir(), 'kernels');
}

function currentFile(flavour: KernelFlavour): string {
  return join(kernelsFolder(), `${flavour}.json`);
}
