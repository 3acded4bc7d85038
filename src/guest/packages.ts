/**
 * Fetches packages of the distribution (Debian, Ubuntu) by apt and unpacks them without installing: nothing on the host
 * changes, and root is needed only where apt has no package lists yet. Knows nothing of other package managers.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { TvmmError } from '../sys/errors.js';
import { CommandError, runCommand } from './command.js';
import type { Progress } from './progress.js';

/** A package that cannot be found, fetched or unpacked. */
export class PackageError extends TvmmError {}

/** One package as apt would install it. */
export interface PackageInfo {
  readonly name: string;
  readonly version: string;
  /** Names in Depends and Pre-Depends; of alternatives the first. */
  readonly depends: readonly string[];
}

const APT_HINT = 'on a machine without apt, give tvmm boot a kernel with --kernel';

/** Whether apt answers about any package at all: false where `apt-get update` never ran. */
async function query(name: string): Promise<PackageInfo | undefined> {
  let text: string;
  try {
    text = (await runCommand('apt-cache', ['show', '--no-all-versions', name])).toString('utf8');
  } catch (error) {
    if (error instanceof CommandError && error.code === 'COMMAND_MISSING') {
      throw new PackageError(`the package ${name} cannot be fetched: this machine has no apt`, {
        code: 'NO_APT',
        hint: APT_HINT,
        cause: error,
      });
    }
    return undefined; // apt-cache fails for a package that it does not know.
  }
  return parsePackageInfo(text);
}

/** Reads the first stanza of `apt-cache show` (deb-control(5)); undefined where there is none. */
export function parsePackageInfo(text: string): PackageInfo | undefined {
  const stanza = text.split(/\n\s*\n/)[0] ?? '';
  const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(stanza)?.[1]?.trim() ?? '';
  const name = field('Package');
  const version = field('Version');
  if (name === '' || version === '') return undefined;
  const depends = `${field('Pre-Depends')},${field('Depends')}`
    .split(',')
    .map((one) => one.split('|')[0]?.replace(/\(.*/, '').replace(/:.*/, '').trim() ?? '')
    .filter((one) => one !== '');
  return { name, version, depends };
}

/**
 * The first of `candidates` that the distribution has. Runs `apt-get update` once if it has none of them and we are root.
 * Throws {@link PackageError} where none exists.
 */
export async function findPackage(candidates: readonly string[], progress: Progress): Promise<PackageInfo> {
  const search = async () => {
    for (const name of candidates) {
      const info = await query(name);
      if (info !== undefined) return info;
    }
    return undefined;
  };
  const found = await search();
  if (found !== undefined) return found;
  let updateFailure: unknown;
  try {
    progress('updating the package lists (apt-get update)');
    await runCommand('apt-get', ['update', '-qq']);
    const second = await search();
    if (second !== undefined) return second;
  } catch (error) {
    if (error instanceof PackageError) throw error;
    updateFailure = error;
  }
  throw new PackageError(`apt knows none of the packages ${candidates.join(', ')}`, {
    code: 'PACKAGE_UNKNOWN',
    hint:
      updateFailure === undefined
        ? 'tvmm takes its guest kernel from Debian or Ubuntu packages; give tvmm boot a kernel with --kernel'
        : 'run "apt-get update" as root on a machine with network access, then try again',
    cause: updateFailure,
  });
}

/** Follows the dependencies of `start` that match `follow`, and returns them and `start`, each once. */
export async function withDependencies(
  start: PackageInfo,
  follow: RegExp,
  progress: Progress,
): Promise<PackageInfo[]> {
  const all = new Map([[start.name, start]]);
  for (const info of all.values()) {
    for (const name of info.depends) {
      if (follow.test(name) && !all.has(name)) all.set(name, await findPackage([name], progress));
    }
  }
  return [...all.values()];
}

/** Downloads a package into `folder` and returns the .deb's path. Throws {@link PackageError}. */
export async function downloadPackage(
  info: PackageInfo,
  folder: string,
  progress: Progress,
): Promise<string> {
  progress(`fetching ${info.name} ${info.version}`);
  const before = new Set(readdirSync(folder));
  // As root apt drops to its own user, who may not write here, and warns; there is nothing to protect in this folder.
  const args = ['-q', '-o', 'APT::Sandbox::User=root', 'download', `${info.name}=${info.version}`];
  const download = () => runCommand('apt-get', args, { cwd: folder });
  try {
    await download().catch(async (first: unknown) => {
      // The archive drops superseded versions, so stale lists name files that are gone.
      progress('updating the package lists (apt-get update)');
      await runCommand('apt-get', ['update', '-qq']).catch(() => {
        throw first;
      });
      const fresh = (await query(info.name)) ?? info;
      args[args.length - 1] = `${fresh.name}=${fresh.version}`;
      await download();
    });
  } catch (cause) {
    throw new PackageError(`the package ${info.name} cannot be downloaded`, {
      code: 'PACKAGE_DOWNLOAD',
      hint: 'check the network and /etc/apt/sources.list; everything that was fetched before still works from the cache',
      cause,
    });
  }
  const file = readdirSync(folder).find((name) => name.endsWith('.deb') && !before.has(name));
  if (file === undefined) {
    throw new PackageError(`apt-get said it downloaded ${info.name}, but no file came`, {
      code: 'PACKAGE_DOWNLOAD',
    });
  }
  return join(folder, file);
}

/** Unpacks the files of a .deb below `folder`. Its maintainer scripts are not run. */
export async function unpackPackage(deb: string, folder: string): Promise<void> {
  try {
    await runCommand('dpkg-deb', ['-x', deb, folder]);
  } catch (cause) {
    throw new PackageError(`the package file ${deb} cannot be unpacked`, {
      code: 'PACKAGE_UNPACK',
      hint: 'check the free space of the cache folder (TVMM_CACHE)',
      cause,
    });
  }
}
