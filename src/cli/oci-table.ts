/**
 * The command line of `tvmm-oci` as tables: commands, flags and arguments are runc's (its man pages), so that podman, conmon, CRI-O and
 * containerd's shim find what they pass.
 */
import type { Flag } from './oci-flags.js';

export interface OciCommand {
  readonly name: string;
  readonly summary: string;
  /** What follows the flags: `<container-id>`. */
  readonly usage: string;
  readonly flags: readonly Flag[];
  /** How many arguments it takes. */
  readonly min: number;
  readonly max: number;
  /** Flags end with so many arguments. */
  readonly stopAfterArguments?: number;
}

const text = (name: string, help: string, short?: string): Flag => flag('text', name, help, short);
const bool = (name: string, help: string, short?: string): Flag => flag('boolean', name, help, short);
const integer = (name: string, help: string): Flag => flag('integer', name, help);
const list = (name: string, help: string, short?: string): Flag => flag('list', name, help, short);
const hidden = (one: Flag): Flag => ({ ...one, hidden: true });

function flag(kind: Flag['kind'], name: string, help: string, short?: string): Flag {
  return { kind, name, help, ...(short === undefined ? {} : { short }) };
}

export const GLOBAL_FLAGS: readonly Flag[] = [
  bool('debug', 'tell more in the log'),
  text('log', 'file for log lines; standard error without it'),
  text('log-format', "form of log lines: 'text' (default) or 'json'"),
  text(
    'root',
    "folder of the containers' states; best on tmpfs (default: /run/tvmm-oci, or below $XDG_RUNTIME_DIR without root)",
  ),
  text('criu', 'the criu program, for checkpoint and restore'),
  bool('systemd-cgroup', "cgroupsPath is in systemd's notation, slice:prefix:name"),
  text('rootless', "ignore cgroups that this user may not make: 'true', 'false' or 'auto' (default)"),
  bool('help', 'show help', 'h'),
  bool('version', 'print the version', 'v'),
];

const HELP = bool('help', 'show help', 'h');
const BUNDLE = text('bundle', "the bundle's folder; the current one without it", 'b');
const CONSOLE_SOCKET = text('console-socket', "Unix socket that is sent the terminal's master side");
const PIDFD_SOCKET = text('pidfd-socket', 'Unix socket that is sent a pidfd of the process');
const PID_FILE = text('pid-file', 'file for the process id');
const PRESERVE_FDS = integer('preserve-fds', 'pass so many descriptors from 3 on (behind $LISTEN_FDS)');
const DETACH = bool('detach', 'do not wait for the process', 'd');

const CREATE: readonly Flag[] = [
  HELP,
  BUNDLE,
  CONSOLE_SOCKET,
  PIDFD_SOCKET,
  PID_FILE,
  bool('no-pivot', 'move and chroot instead of pivot_root(2): for a root on a ramdisk'),
  bool('no-new-keyring', "keep the caller's session keyring"),
  PRESERVE_FDS,
];

const CRIU: readonly Flag[] = [
  text('image-path', 'folder of the images (default: ./checkpoint)'),
  text('work-path', "folder for criu's logs"),
  bool('tcp-established', 'allow open TCP connections'),
  bool('ext-unix-sk', 'allow Unix sockets to the outside'),
  bool('shell-job', 'allow a session leader outside'),
  bool('lazy-pages', 'fetch memory pages when they are touched'),
  bool('file-locks', 'keep file locks'),
  text('manage-cgroups-mode', 'soft (default), full, strict or ignore'),
  list('empty-ns', 'make a namespace, but restore nothing in it'),
  bool('auto-dedup', 'remove memory pages that are stored twice'),
];

const ID = '<container-id>';

export const COMMANDS: readonly OciCommand[] = [
  {
    name: 'checkpoint',
    summary: 'save a running container with criu',
    usage: ID,
    min: 1,
    max: 1,
    flags: [
      HELP,
      ...CRIU,
      text('parent-path', 'images of an earlier pre-dump, relative to the image path'),
      bool('leave-running', 'let the container go on'),
      bool('tcp-skip-in-flight', 'skip TCP connections that are being made'),
      bool('link-remap', 'link unlinked files back'),
      integer('status-fd', 'descriptor that criu writes a zero byte to when it is ready'),
      text('page-server', 'ADDRESS:PORT of a page server'),
      bool('pre-dump', 'save memory alone and let the container go on'),
    ],
  },
  { name: 'create', summary: 'create a container', usage: ID, min: 1, max: 1, flags: CREATE },
  {
    name: 'delete',
    summary: 'remove a container that has stopped or was never started',
    usage: ID,
    min: 1,
    max: 1,
    flags: [HELP, bool('force', 'kill it first; a container that does not exist is no error', 'f')],
  },
  {
    name: 'events',
    summary: 'print OOM events and statistics as JSON lines',
    usage: ID,
    min: 1,
    max: 1,
    flags: [
      HELP,
      flag('duration', 'interval', 'time between statistics (default: 5s)'),
      bool('stats', 'print the statistics once'),
    ],
  },
  {
    name: 'exec',
    summary: 'run a process in a container',
    usage: `${ID} <command> [arguments...] | -p process.json ${ID}`,
    min: 1,
    max: Number.POSITIVE_INFINITY,
    stopAfterArguments: 1,
    flags: [
      HELP,
      CONSOLE_SOCKET,
      PIDFD_SOCKET,
      text('cwd', 'working directory'),
      list('env', 'set an environment variable: NAME=VALUE', 'e'),
      bool('tty', 'give it a terminal', 't'),
      text('user', 'UID or UID:GID', 'u'),
      list('additional-gids', 'add a group', 'g'),
      text('process', 'file with the process as JSON', 'p'),
      DETACH,
      PID_FILE,
      text('process-label', 'SELinux label'),
      text('apparmor', 'AppArmor profile'),
      bool('no-new-privs', 'set no_new_privs'),
      list('cap', 'add a capability', 'c'),
      PRESERVE_FDS,
      list('cgroup', "run in an existing cgroup below the container's: [controller:]path"),
      bool('ignore-paused', 'exec in a paused container, too'),
    ],
  },
  {
    name: 'features',
    summary: 'print what this runtime can do, as JSON',
    usage: '',
    min: 0,
    max: 0,
    flags: [HELP],
  },
  {
    name: 'kill',
    summary: "send a signal to a container's first process (default: SIGTERM)",
    usage: `${ID} [signal]`,
    min: 1,
    max: 2,
    flags: [HELP, bool('all', 'send it to every process of the container', 'a')],
  },
  {
    name: 'list',
    summary: 'list the containers',
    usage: '',
    min: 0,
    max: 0,
    flags: [HELP, text('format', "'table' (default) or 'json'", 'f'), bool('quiet', 'print ids alone', 'q')],
  },
  { name: 'pause', summary: 'stop all processes of a container', usage: ID, min: 1, max: 1, flags: [HELP] },
  {
    name: 'ps',
    summary: 'show the processes of a container',
    usage: `${ID} [ps options]`,
    min: 1,
    max: Number.POSITIVE_INFINITY,
    stopAfterArguments: 1,
    flags: [HELP, text('format', "'table' (default) or 'json'", 'f')],
  },
  {
    name: 'restore',
    summary: 'make a container of a checkpoint',
    usage: ID,
    min: 1,
    max: 1,
    flags: [
      HELP,
      ...CRIU,
      BUNDLE,
      CONSOLE_SOCKET,
      PID_FILE,
      DETACH,
      bool('no-subreaper', 'do not adopt orphans'),
      bool('no-pivot', 'move and chroot instead of pivot_root(2)'),
      text('lsm-profile', 'LSM profile as TYPE:NAME'),
      text('lsm-mount-context', 'LSM mount context'),
    ],
  },
  { name: 'resume', summary: 'let a paused container go on', usage: ID, min: 1, max: 1, flags: [HELP] },
  {
    name: 'run',
    summary: 'create and start a container',
    usage: ID,
    min: 1,
    max: 1,
    flags: [
      ...CREATE,
      DETACH,
      bool('keep', 'keep the container when it has ended'),
      bool('no-subreaper', 'do not adopt orphans'),
    ],
  },
  {
    name: 'spec',
    summary: 'write a config.json to start from',
    usage: '',
    min: 0,
    max: 0,
    flags: [HELP, BUNDLE, bool('rootless', 'for use without root')],
  },
  {
    name: 'start',
    summary: 'start the program of a created container',
    usage: ID,
    min: 1,
    max: 1,
    flags: [HELP],
  },
  {
    name: 'state',
    summary: 'print the state of a container as JSON',
    usage: ID,
    min: 1,
    max: 1,
    flags: [HELP],
  },
  {
    name: 'update',
    summary: 'change the limits of a container',
    usage: ID,
    min: 1,
    max: 1,
    flags: [
      HELP,
      text('resources', 'file with linux.resources as JSON; - is standard input', 'r'),
      integer('blkio-weight', 'I/O weight, 10 to 1000'),
      text('cpu-period', 'microseconds of a CPU period'),
      text('cpu-quota', 'microseconds of CPU time a period'),
      text('cpu-burst', 'microseconds that may be saved up'),
      text('cpu-share', 'relative weight'),
      text('cpu-rt-period', 'microseconds of a realtime period'),
      text('cpu-rt-runtime', 'microseconds of realtime a period'),
      text('cpuset-cpus', 'CPUs: 0-3,7'),
      text('cpuset-mems', 'memory nodes'),
      text('cpu-idle', '1: run only when nothing else does'),
      hidden(text('kernel-memory', '')),
      hidden(text('kernel-memory-tcp', '')),
      text('memory', 'memory limit in bytes, or 512M'),
      text('memory-reservation', 'memory that is reclaimed last'),
      text('memory-swap', 'memory and swap together; -1 is no limit'),
      integer('pids-limit', 'number of processes'),
      text('l3-cache-schema', 'Intel RDT L3 cache schema'),
      text('mem-bw-schema', 'Intel RDT memory bandwidth schema'),
    ],
  },
];

export function findCommand(name: string): OciCommand | undefined {
  return COMMANDS.find((command) => command.name === name);
}
