/** The options of `run` and `create`, docker's, and how they become the engine's. Files that options name are read here. */
import type { CreateRequest } from '../../container/engine/create.js';
import { type ContainerOptions, NO_OPTIONS } from '../../container/engine/options/options.js';
import { parseEnvFile } from '../../container/engine/options/process.js';
import { parseSecurityOptions } from '../../container/engine/options/security.js';
import { UsageError } from '../usage-error.js';
import { readOptionFile, resolveEnvironment } from './common.js';
import { isTrue } from './filters.js';
import { callersPath, here } from './here.js';

/** What commander gives: every option by its long name in camel case. */
export type CreateFlags = Partial<
  Omit<ContainerOptions, 'hostname' | 'entrypoint' | 'remove' | 'image' | 'command' | 'seccompProfile'>
> &
  NetworkFlags & {
    readonly name?: string;
    readonly rm?: boolean;
    readonly entrypoint?: string;
    readonly envFile?: readonly string[];
    readonly net?: readonly string[];
    readonly cidfile?: string;
    readonly pull?: 'missing' | 'always' | 'never';
    readonly envHost?: boolean;
    readonly labelFile?: readonly string[];
    readonly platform?: string;
    readonly tlsVerify?: string;
    readonly quiet?: boolean;
    readonly replace?: boolean;
    readonly healthcheck?: boolean;
    readonly hosts?: boolean;
    /** false: --no-hostname. */
    readonly hostname?: string | false;
  };

/** What docker has as options of their own, and we as options of the first network. */
interface NetworkFlags {
  readonly ip?: string;
  readonly ip6?: string;
  readonly macAddress?: string;
  readonly networkAlias?: readonly string[];
}

/** `--network` words with what --ip and its siblings say about the first of them. */
function networkWords(words: readonly string[], flags: NetworkFlags): string[] {
  const own = [
    ...(flags.ip === undefined ? [] : [`ip=${flags.ip}`]),
    ...(flags.ip6 === undefined ? [] : [`ip6=${flags.ip6}`]),
    ...(flags.macAddress === undefined ? [] : [`mac=${flags.macAddress}`]),
    ...(flags.networkAlias ?? []).map((name) => `alias=${name}`),
  ];
  if (own.length === 0) return [...words];
  const [first = 'bridge', ...rest] = words;
  if (/^(none$|host$|container:|ns:)/.test(first))
    throw new UsageError(
      `--ip, --ip6, --mac-address and --network-alias belong to a network, and --network is ${first}`,
    );
  const joined = first.includes(':') ? `${first},${own.join(',')}` : `${first}:${own.join(',')}`;
  return [joined, ...rest];
}

function labels(flags: CreateFlags): string[] {
  const files = (flags.labelFile ?? []).flatMap((file) =>
    readOptionFile('--label-file', file)
      .split('\n')
      .map((line) => line.replace(/\r$/, '').trimStart())
      .filter((line) => line !== '' && !line.startsWith('#')),
  );
  const all = [...files, ...(flags.label ?? [])];
  for (const label of all)
    if (/^(=|$)/.test(label)) throw new UsageError(`--label ${JSON.stringify(label)} has no name`);
  return all;
}

function environment(flags: CreateFlags): string[] {
  const own = here().variables;
  const files = (flags.envFile ?? []).flatMap((file) =>
    parseEnvFile(readOptionFile('--env-file', file), file, own),
  );
  const given = resolveEnvironment(flags.env ?? []);
  const host =
    flags.envHost === true
      ? Object.entries(own).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))
      : [];
  return [...host, ...files, ...given];
}

function seccompProfile(securityOpt: readonly string[]): string | undefined {
  const { seccomp } = parseSecurityOptions(securityOpt, false);
  return typeof seccomp === 'string' ? undefined : readOptionFile('--security-opt seccomp', seccomp.file);
}

/** `./data:/data` is below the caller's folder. */
function absoluteSource(volume: string): string {
  const [source = '', ...rest] = volume.split(':');
  return /^\.\.?($|\/)/.test(source) ? [callersPath(source), ...rest].join(':') : volume;
}

/** @throws UsageError for files that cannot be read */
export function createRequest(
  image: string | undefined,
  words: readonly string[],
  flags: CreateFlags,
  pod?: string,
): CreateRequest {
  const {
    name,
    rm,
    entrypoint,
    envFile: _envFile,
    net = [],
    cidfile: _cidfile,
    pull = 'missing',
    rootfs,
    pod: _pod,
    envHost: _envHost,
    labelFile: _labelFile,
    platform,
    tlsVerify,
    quiet: _quiet,
    replace: _replace,
    healthcheck,
    hosts,
    hostname,
    ip: _ip,
    ip6: _ip6,
    macAddress: _mac,
    networkAlias: _alias,
    ...options
  } = flags;
  const profile = seccompProfile(flags.securityOpt ?? []);
  if (rootfs === undefined && image === undefined)
    throw new UsageError('there is no image to run', 'name one, or a folder with --rootfs DIR');
  return {
    ...(name === undefined ? {} : { name }),
    pull,
    source: {
      ...(platform === undefined ? {} : { platform }),
      ...(tlsVerify === undefined ? {} : { tlsVerify: isTrue('--tls-verify', tlsVerify) }),
    },
    options: {
      ...NO_OPTIONS,
      ...options,
      env: environment(flags),
      volume: (flags.volume ?? []).map(absoluteSource),
      label: labels(flags),
      network: networkWords([...(flags.network ?? []), ...net], flags),
      remove: rm === true,
      noHealthcheck: healthcheck === false,
      noHosts: hosts === false,
      noHostname: hostname === false,
      ...(typeof hostname === 'string' ? { hostname } : {}),
      ...(entrypoint === undefined ? {} : { entrypoint: [entrypoint] }),
      ...(profile === undefined ? {} : { seccompProfile: profile }),
      ...(pod === undefined ? {} : { pod }),
      ...(rootfs === undefined
        ? { ...(image === undefined ? {} : { image }), command: [...words] }
        : { rootfs: callersPath(rootfs), command: [...(image === undefined ? [] : [image]), ...words] }),
    },
  };
}
