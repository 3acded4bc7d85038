/** The options of `run` and `create` as a table, docker's by name and meaning, and those of docker and podman that are refused, with the reason. */
import { type Command, Option } from 'commander';
import { durationOption, parseDuration } from '../units.js';
import { UsageError } from '../usage-error.js';
import { collect, integerOption, memoryOption, numberOption } from './common.js';

type Row = readonly [
  flags: string,
  description: string,
  parse?: ((text: string, before: string[] | undefined) => string[]) | ((text: string) => number),
];

const memory = (name: string) => memoryOption(name);
const duration = (name: string) => durationOption(name);
/** podman's word for checks that only `tvmm healthcheck run` starts. */
const interval = (text: string) => (text === 'disable' ? -1 : parseDuration(text, '--health-interval'));

/** What such an option is described as, for the completion to leave out. */
export const NOT_SUPPORTED = 'not supported';

/** Known elsewhere; silence about them would be worse than an error. A flag without a value is written with `[value]`, for its error to be ours. */
const REFUSED: readonly (readonly [flags: string, why: string])[] = [
  ['--gpus <request>', 'give single devices with --device'],
  [
    '--link <container>',
    'put both into one network, where --add-host or an address leads from one to the other',
  ],
  ['--link-local-ip <address>', 'addresses come from the network'],
  ['--volume-driver <driver>', 'local is the only one'],
  [
    '--storage-opt <name=value>',
    'there are no quotas of root file systems; use a volume on a file system with one',
  ],
  ['--runtime <name>', 'tvmm is the runtime; podman and containerd run others'],
  ['--isolation <technology>', 'it is Windows’'],
  ['--kernel-memory <size>', 'kernels have dropped it'],
  ['--cpu-rt-period <us>', 'the engine gives no real-time budgets'],
  ['--cpu-rt-runtime <us>', 'the engine gives no real-time budgets'],
  ['--blkio-weight-device <device:weight>', 'use --blkio-weight'],
  ['--disable-content-trust [value]', 'there is no content trust: name images by digest'],
  ['--uidmap <map>', 'use --userns private'],
  ['--gidmap <map>', 'use --userns private'],
  ['--secret <secret>', 'mount a file, or use --env-file'],
  ['--systemd <mode>', 'use --tmpfs /run and --stop-signal SIGRTMIN+3'],
  ['--sdnotify <mode>', 'NOTIFY_SOCKET is not passed on'],
  ['--tz <zone>', 'use -e TZ=ZONE, or mount /etc/localtime'],
  ['--requires <containers>', 'start them in order'],
  ['--rmi [value]', 'remove it afterwards: tvmm image rm'],
  ['--hostuser <user>', 'add it to /etc/passwd in the image'],
  ['--passwd [value]', '/etc/passwd is the image’s anyway'],
  ['--http-proxy [value]', 'proxies are passed on with -e HTTP_PROXY'],
  ['--env-merge <name=value>', 'use -e with the whole value'],
  ['--init-path <file>', '--init is tvmm’s own'],
  ['--no-pivot [value]', 'containers always get a root of their own'],
  ['--seccomp-policy <policy>', 'use --security-opt seccomp=FILE'],
  ['--chrootdirs <folder>', 'mount the files where they are wanted'],
  ['--read-only-tmpfs [value]', 'use --read-only with --tmpfs'],
  ['--preserve-fds <n>', 'tvmm oci run has it'],
  ['--shm-size-systemd <size>', 'use --tmpfs /run:size=…'],
  ['--cpu-count <n>', 'it is Windows’'],
  ['--use-api-socket [value]', 'there is no such socket'],
  ['--variant <variant>', 'use --platform os/arch/variant'],
  ['--arch <arch>', 'use --platform linux/ARCH'],
  ['--authfile <file>', 'set REGISTRY_AUTH_FILE'],
];

/** In groups, as people look for them. */
const ROWS: readonly Row[] = [
  ['--name <name>', 'name of the container (default: two random words)'],
  ['-i, --interactive', 'keep stdin open'],
  ['-t, --tty', 'give it a terminal'],
  ['--rm', 'remove the container when it has ended'],
  ['-e, --env <name=value>', 'set an environment variable; NAME alone takes the caller’s value', collect],
  ['--env-file <file>', 'read environment variables from a file', collect],
  ['--unsetenv <name>', 'leave out a variable of the image or of tvmm', collect],
  ['--unsetenv-all', 'leave out all of them but those of --env'],
  ['--env-host', 'take all of the caller’s environment variables'],
  ['-w, --workdir <folder>', 'working directory in the container'],
  ['-u, --user <user[:group]>', 'run as this user, by name or number'],
  ['--group-add <group>', 'an additional group', collect],
  ['--umask <mask>', 'permissions that new files do not get, for instance 0027'],
  ['--entrypoint <program>', 'program to run instead of the image’s entrypoint'],
  ['--rootfs <dir>', 'run from a plain directory instead of an image'],
  ['--init', 'run a little init that reaps zombies and passes signals on'],
  ['--restart <policy>', 'no, always, unless-stopped, on-failure[:N]'],
  ['--stop-signal <signal>', 'signal that asks it to stop'],
  ['--stop-timeout <seconds>', 'seconds between that signal and SIGKILL', integerOption('--stop-timeout')],
  ['--timeout <seconds>', 'kill it when it has run so long', integerOption('--timeout')],
  ['-l, --label <name=value>', 'attach a label', collect],
  ['--label-file <file>', 'read labels from a file', collect],
  ['--annotation <name=value>', 'an annotation of config.json', collect],
  ['--cidfile <file>', 'write the id into a new file'],
  ['-v, --volume <source:path[:ro]>', 'mount a folder or file of the host, or a volume by its name', collect],
  ['--mount <fields>', 'mount: type=bind|volume|tmpfs,source=…,target=…[,readonly]', collect],
  ['--volumes-from <container[:ro]>', 'mount what another container mounts', collect],
  ['--tmpfs <path[:options]>', 'mount a tmpfs', collect],
  ['--read-only', 'make the root file system read-only'],
  ['--shm-size <size>', 'size of /dev/shm (default 64m)', memory('--shm-size')],
  ['--device <device[:path][:rwm]>', 'give it a device of the host', collect],
  ['-p, --publish <[ip:][port:]port>', 'publish a port on the host', collect],
  ['--expose <port>', 'a port that -P publishes', collect],
  ['-P, --publish-all', 'publish all ports that the image names, on free ports of the host'],
  ['--network <network>', 'none, host, container:NAME, or a network’s name', collect],
  ['--net <network>', 'the same as --network', collect],
  ['--ip <address>', 'its IPv4 address in the first network'],
  ['--ip6 <address>', 'its IPv6 address in the first network'],
  ['--mac-address <address>', 'its hardware address in the first network'],
  ['--network-alias <name>', 'another name of it in the first network', collect],
  ['--dns <ip>', 'DNS server', collect],
  ['--dns-search <domain>', 'DNS search domain', collect],
  ['--dns-option <option>', 'option of the resolver', collect],
  ['--add-host <name:ip>', 'a line of /etc/hosts; host-gateway is the host', collect],
  ['--no-hosts', '/etc/hosts is the image’s own'],
  ['-h, --hostname <name>', 'host name of the container (default: its short id)'],
  ['--no-hostname', '/etc/hostname is the image’s own'],
  ['--domainname <name>', 'domain name of the container'],
  ['-m, --memory <size>', 'limit of memory, for instance 512m', memory('--memory')],
  ['--memory-swap <size>', 'limit of memory and swap together', memory('--memory-swap')],
  ['--memory-reservation <size>', 'memory it should be left with', memory('--memory-reservation')],
  [
    '--memory-swappiness <n>',
    'how readily its memory is swapped, 0 to 100',
    integerOption('--memory-swappiness'),
  ],
  ['--oom-kill-disable', 'let it wait for memory instead of killing it (cgroup v1)'],
  ['--cpus <number>', 'limit of processors, for instance 1.5', numberOption('--cpus')],
  ['--cpu-shares <n>', 'share of processor time, 2 to 262144 (default 1024)', integerOption('--cpu-shares')],
  ['--cpu-period <us>', 'period of --cpu-quota in microseconds', integerOption('--cpu-period')],
  ['--cpu-quota <us>', 'processor time in each period', integerOption('--cpu-quota')],
  ['--cpuset-cpus <list>', 'processors it may use, for instance 0-3,7'],
  ['--cpuset-mems <list>', 'memory nodes it may use'],
  ['--pids-limit <n>', 'limit of processes (default 4096, -1 for none)', integerOption('--pids-limit')],
  ['--blkio-weight <n>', 'share of disk time, 10 to 1000', integerOption('--blkio-weight')],
  ['--device-read-bps <device:rate>', 'limit of bytes read a second, for instance /dev/sda:10m', collect],
  ['--device-write-bps <device:rate>', 'limit of bytes written a second', collect],
  ['--device-read-iops <device:rate>', 'limit of reads a second', collect],
  ['--device-write-iops <device:rate>', 'limit of writes a second', collect],
  ['--device-cgroup-rule <rule>', "allow devices by number, for instance 'c 10:200 rwm'", collect],
  ['--cgroup-parent <path>', 'cgroup to make its own below; it stays'],
  ['--oom-score-adj <n>', 'how soon it is killed when memory is short', integerOption('--oom-score-adj')],
  ['--ulimit <name=soft[:hard]>', 'a resource limit, for instance nofile=1024', collect],
  ['--sysctl <name=value>', 'a kernel parameter of its namespaces', collect],
  ['--cap-add <capability>', 'add a capability, or all', collect],
  ['--cap-drop <capability>', 'drop a capability, or all', collect],
  [
    '--security-opt <option>',
    'seccomp=FILE|unconfined, no-new-privileges=false, apparmor=PROFILE, mask=PATH, unmask=PATH|ALL',
    collect,
  ],
  ['--privileged', 'switch all protection off: all capabilities, all devices, no seccomp'],
  ['--userns <mode>', 'host, or private: root in it is nobody outside'],
  ['--pid <mode>', 'private, host or container:NAME'],
  ['--ipc <mode>', 'private, none, host or container:NAME'],
  ['--uts <mode>', 'private, host or container:NAME'],
  ['--cgroupns <mode>', 'private or host'],
  ['--pod <pod>', 'join a pod'],
  ['--health-cmd <command>', 'what tells by exit status 0 that the container is well: a line for its shell'],
  ['--health-interval <time>', 'between checks (default 30s; disable: none by itself)', interval],
  [
    '--health-timeout <time>',
    'a check that takes longer is killed and has failed (default 30s)',
    duration('--health-timeout'),
  ],
  [
    '--health-retries <n>',
    'failures in a row that make it unhealthy (default 3)',
    integerOption('--health-retries'),
  ],
  [
    '--health-start-period <time>',
    'after the start failures do not count',
    duration('--health-start-period'),
  ],
  [
    '--health-start-interval <time>',
    'between checks meanwhile (default 5s)',
    duration('--health-start-interval'),
  ],
  ['--health-on-failure <what>', 'what becomes of an unhealthy container: none, kill or stop'],
  ['--no-healthcheck', 'leave out the check that the image asks for'],
  ['--log-driver <driver>', 'json-file, local (the same) or none'],
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
  for (const [flags, why] of REFUSED) {
    const [name = ''] = flags.split(' ');
    command.addOption(
      new Option(flags, NOT_SUPPORTED)
        .hideHelp()
        // Or commander would not ask for a flag without a value.
        .preset('true')
        .argParser(() => {
          throw new UsageError(`${name} is not supported: ${why}`);
        }),
    );
  }
  return command
    .helpOption('--help', 'show this help')
    .addOption(
      new Option('--pull <when>', 'fetch the image: missing, always, never').choices([
        'missing',
        'always',
        'never',
      ]),
    )
    .option('--platform <os/arch>', 'take the image of this platform')
    .option('--tls-verify <bool>', 'false takes any certificate of the registry, and plain http')
    .option('-q, --quiet', 'tell nothing about the fetching of the image')
    .option('--replace', 'remove the container that has the name')
    .argument('[image]', 'the image; with --rootfs the command begins here')
    .argument('[command...]', 'the command and its arguments')
    .passThroughOptions();
}
