/** What a container runs: command, environment and working directory out of the options and the image's configuration (docker's rules). */
import { OptionError } from '../errors.js';
import type { ImageHealthcheck } from '../health/check.js';
import type { ContainerOptions } from './options.js';

/** What an image says about its program; everything empty without an image. */
export interface ImageDefaults {
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  readonly user: string;
  readonly stopSignal: string;
  /** Folders that get a volume of their own. */
  readonly volumes: readonly string[];
  /** `80/tcp` */
  readonly exposedPorts: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly healthcheck?: ImageHealthcheck | undefined;
  /** What runs lines of the health check; empty for `/bin/sh -c`. */
  readonly shell?: readonly string[];
}

export const NO_IMAGE: ImageDefaults = {
  env: [],
  entrypoint: [],
  cmd: [],
  workingDir: '',
  user: '',
  stopSignal: '',
  volumes: [],
  exposedPorts: [],
  labels: {},
};

const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** @throws OptionError when neither says what to run */
export function containerArguments(
  options: Pick<ContainerOptions, 'entrypoint' | 'command'>,
  image: ImageDefaults,
): readonly string[] {
  const { entrypoint, command } = options;
  const words =
    entrypoint === undefined
      ? [...image.entrypoint, ...(command.length > 0 ? command : image.cmd)]
      : [...entrypoint.filter((word, index) => word !== '' || index > 0), ...command];
  if (words.length === 0 || words[0] === '')
    throw new OptionError(
      'COMMAND',
      'there is none, and the image has no default',
      'add one, for instance sh',
    );
  if (words.some((word) => word.includes('\0'))) throw new OptionError('COMMAND', 'holds a NUL byte');
  return words;
}

/** A later assignment of a name takes the place of an earlier one. */
export function mergeEnvironment(...lists: readonly (readonly string[])[]): readonly string[] {
  const merged = new Map<string, string>();
  for (const entry of lists.flat()) merged.set(entry.slice(0, entry.indexOf('=')), entry);
  return [...merged.values()];
}

/** @throws OptionError for `-e` that is no assignment */
export function containerEnvironment(
  options: Pick<ContainerOptions, 'env' | 'tty' | 'unsetenv' | 'unsetenvAll'>,
  image: ImageDefaults,
  home: string,
  hostname: string | undefined,
): readonly string[] {
  for (const entry of options.env) {
    if (entry.indexOf('=') < 1 || entry.includes('\0'))
      throw new OptionError('--env', `${JSON.stringify(entry)} is not NAME=VALUE`);
  }
  for (const name of options.unsetenv) {
    if (!/^[^=\0]+$/.test(name)) throw new OptionError('--unsetenv', `${JSON.stringify(name)} is no name`);
  }
  const given = mergeEnvironment(
    [
      PATH,
      ...(options.tty ? ['TERM=xterm'] : []),
      ...(hostname === undefined ? [] : [`HOSTNAME=${hostname}`]),
    ],
    [`HOME=${home}`],
    image.env,
  );
  const unset = new Set(options.unsetenv);
  const kept = options.unsetenvAll ? [] : given.filter((entry) => !unset.has(entry.split('=', 1)[0] ?? ''));
  return mergeEnvironment(kept, options.env);
}

/** @throws OptionError for a relative `--workdir` */
export function containerWorkdir(options: Pick<ContainerOptions, 'workdir'>, image: ImageDefaults): string {
  const folder = options.workdir ?? (image.workingDir === '' ? '/' : image.workingDir);
  if (options.workdir !== undefined && !folder.startsWith('/'))
    throw new OptionError('--workdir', `${JSON.stringify(folder)} is no absolute path`);
  return folder.startsWith('/') ? folder : `/${folder}`;
}

/** `NAME=VALUE` lines of an environment file: `#` begins a comment line, `NAME` alone takes the caller's value. @throws OptionError */
export function parseEnvFile(
  content: string,
  file: string,
  own: Readonly<Record<string, string | undefined>>,
): string[] {
  return content.split('\n').flatMap((raw, index) => {
    const line = raw.replace(/\r$/, '').trimStart();
    if (line === '' || line.startsWith('#')) return [];
    const name = line.split('=', 1)[0] ?? '';
    if (!/^[^\s=\0]+$/.test(name))
      throw new OptionError('--env-file', `${file} line ${index + 1}: ${JSON.stringify(name)} is no name`);
    if (line.includes('=')) return [line];
    const value = own[name];
    return value === undefined ? [] : [`${name}=${value}`];
  });
}
