/** The options of `run` and `create`, docker's, and how they become the engine's. Files that options name are read here. */
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { CreateRequest } from '../../container/engine/create.js';
import { type ContainerOptions, NO_OPTIONS } from '../../container/engine/options/options.js';
import { parseEnvFile } from '../../container/engine/options/process.js';
import { parseSecurityOptions } from '../../container/engine/options/security.js';
import { UsageError } from '../usage-error.js';
import { collect, integerOption, memoryOption, numberOption, readOptionFile } from './common.js';

type Row = readonly [
  flags: string,
  description: string,
  parse?: ((text: string, before: string[] | undefined) => string[]) | ((text: string) => number),
];

const memory = (name: string) => memoryOption(name);

/** In groups, as people look for them. */
const ROWS: readonly Row[] = [
  ['--name <name>', 'name of the container (default: two random words)'],
  ['-i, --interactive', 'keep stdin open'],
  ['-t, --tty', 'give it a terminal'],
  ['--rm', 'remove the container when it has ended'],
  ['-e, --env <name=value>', 'set an environment variable; NAME alone takes the caller’s value', collect],
  ['--env-file <file>', 'read environment variables from a file', collect],
  ['-w, --workdir <folder>', 'working directory in the container'],
  ['-u, --user <user[:group]>', 'run as this user, by name or number'],
  ['--group-add <group>', 'an additional group', collect],
  ['--entrypoint <program>', 'program to run instead of the image’s entrypoint'],
  ['--rootfs <dir>', 'run from a plain directory instead of an image'],
  ['--init', 'run a little init that reaps zombies and passes signals on'],
  ['--restart <policy>', 'no, always, unless-stopped, on-failure[:N]'],
  ['--stop-signal <signal>', 'signal that asks it to stop'],
  ['--stop-timeout <seconds>', 'seconds between that signal and SIGKILL', integerOption('--stop-timeout')],
  ['-l, --label <name=value>', 'attach a label', collect],
  ['--cidfile <file>', 'write the id into a new file'],
  ['-v, --volume <source:path[:ro]>', 'mount a folder or file of the host, or a volume by its name', collect],
  ['--mount <fields>', 'mount: type=bind|volume|tmpfs,source=…,target=…[,readonly]', collect],
  ['--volumes-from <container[:ro]>', 'mount what another container mounts', collect],
  ['--tmpfs <path[:options]>', 'mount a tmpfs', collect],
  ['--read-only', 'make the root file system read-only'],
  ['--shm-size <size>', 'size of /dev/shm (default 64m)', memory('--shm-size')],
  ['--device <device[:path][:rwm]>', 'give it a device of the host', collect],
  ['-p, --publish <[ip:][port:]port>', 'publish a port on the host', collect],
  ['--network <network>', 'none, host, container:NAME, or a network’s name', collect],
  ['--net <network>', 'the same as --network', collect],
  ['--dns <ip>', 'DNS server', collect],
  ['--dns-search <domain>', 'DNS search domain', collect],
  ['--dns-option <option>', 'option of the resolver', collect],
  ['--add-host <name:ip>', 'a line of /etc/hosts; host-gateway is the host', collect],
  ['--hostname <name>', 'host name of the container (default: its short id)'],
  ['--domainname <name>', 'domain name of the container'],
  ['-m, --memory <size>', 'limit of memory, for instance 512m', memory('--memory')],
  ['--memory-swap <size>', 'limit of memory and swap together', memory('--memory-swap')],
  ['--memory-reservation <size>', 'memory it should be left with', memory('--memory-reservation')],
  ['--cpus <number>', 'limit of processors, for instance 1.5', numberOption('--cpus')],
  ['--cpu-shares <n>', 'share of processor time, 2 to 262144 (default 1024)', integerOption('--cpu-shares')],
  ['--cpuset-cpus <list>', 'processors it may use, for instance 0-3,7'],
  ['--cpuset-mems <list>', 'memory nodes it may use'],
  ['--pids-limit <n>', 'limit of processes (default 4096, -1 for none)', integerOption('--pids-limit')],
  ['--oom-score-adj <n>', 'how soon it is killed when memory is short', integerOption('--oom-score-adj')],
  ['--ulimit <name=soft[:hard]>', 'a resource limit, for instance nofile=1024', collect],
  ['--sysctl <name=value>', 'a kernel parameter of its namespaces', collect],
  ['--cap-add <capability>', 'add a capability, or all', collect],
  ['--cap-drop <capability>', 'drop a capability, or all', collect],
  ['--security-opt <option>', 'seccomp=FILE|unconfined, no-new-privileges=false, apparmor=PROFILE', collect],
  ['--privileged', 'switch all protection off: all capabilities, all devices, no seccomp'],
  ['--userns <mode>', 'host, or private: root in it is nobody outside'],
  ['--pid <mode>', 'private, host or container:NAME'],
  ['--ipc <mode>', 'private, host or container:NAME'],
  ['--uts <mode>', 'private or host'],
  ['--cgroupns <mode>', 'private or host'],
  ['--pod <pod>', 'join a pod'],
  ['--log-driver <driver>', 'json-file or none'],
  ['--log-opt <name=value>', 'max-size=10m, max-file=5', collect],
];

/** Adds the options and the words behind them. */
export function addCreateOptions(command: Command): Command {
  for (const [flags, description, parse] of ROWS) {
    const option = new Option(flags, description);
    if (parse !== undefined)
      option.argParser<string[] | number | undefined>((text, before) =>
        parse(text, Array.isArray(before) ? before : undefined),
      );
    command.addOption(option);
  }
  return command
    .addOption(
      new Option('--pull <when>', 'fetch the image: missing, always, never').choices([
        'missing',
        'always',
        'never',
      ]),
    )
    .argument('[image]', 'the image; with --rootfs the command begins here')
    .argument('[command...]', 'the command and its arguments')
    .passThroughOptions();
}

/** What commander gives: every option by its long name in camel case. */
export type CreateFlags = Partial<
  Omit<ContainerOptions, 'entrypoint' | 'remove' | 'image' | 'command' | 'seccompProfile'>
> & {
  readonly name?: string;
  readonly rm?: boolean;
  readonly entrypoint?: string;
  readonly envFile?: readonly string[];
  readonly net?: readonly string[];
  readonly cidfile?: string;
  readonly pull?: 'missing' | 'always' | 'never';
};

function environment(flags: CreateFlags): string[] {
  const own = process.env;
  const files = (flags.envFile ?? []).flatMap((file) =>
    parseEnvFile(readOptionFile('--env-file', file), file, own),
  );
  const given = (flags.env ?? []).flatMap((entry) => {
    if (entry.includes('=')) return [entry];
    const value = own[entry];
    return value === undefined ? [] : [`${entry}=${value}`];
  });
  return [...files, ...given];
}

function seccompProfile(securityOpt: readonly string[]): string | undefined {
  const { seccomp } = parseSecurityOptions(securityOpt, false);
  return typeof seccomp === 'string' ? undefined : readOptionFile('--security-opt seccomp', seccomp.file);
}

/** `./data:/data` is below the caller's folder. */
function absoluteSource(volume: string): string {
  const [source = '', ...rest] = volume.split(':');
  return /^\.\.?($|\/)/.test(source) ? [resolve(source), ...rest].join(':') : volume;
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
    ...options
  } = flags;
  const profile = seccompProfile(flags.securityOpt ?? []);
  if (rootfs === undefined && image === undefined)
    throw new UsageError('there is no image to run', 'name one, or a folder with --rootfs DIR');
  return {
    ...(name === undefined ? {} : { name }),
    pull,
    options: {
      ...NO_OPTIONS,
      ...options,
      env: environment(flags),
      volume: (flags.volume ?? []).map(absoluteSource),
      network: [...(flags.network ?? []), ...net],
      remove: rm === true,
      ...(entrypoint === undefined ? {} : { entrypoint: [entrypoint] }),
      ...(profile === undefined ? {} : { seccompProfile: profile }),
      ...(pod === undefined ? {} : { pod }),
      ...(rootfs === undefined
        ? { ...(image === undefined ? {} : { image }), command: [...words] }
        : { rootfs: resolve(rootfs), command: [...(image === undefined ? [] : [image]), ...words] }),
    },
  };
}
