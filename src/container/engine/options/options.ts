/**
 * The options of a container as the user gave them: docker's flags, one member each, kept in its record so that every start compiles them
 * anew. Sizes are bytes. What a value means, and whether it means anything, is decided in compile.ts and the modules beside it.
 */
import { flag, type Infer, list, number, object, optional, text, withDefault } from '../shape.js';

const words = withDefault(list(text), []);
const off = withDefault(flag, false);

export const optionsShape = object({
  /** The image's name; absent with `rootfs`. */
  image: optional(text),
  /** Absolute path of a plain directory to run from. */
  rootfs: optional(text),
  /** What stands behind the image: the command, or the entrypoint's arguments. */
  command: words,
  /** One empty word takes the image's entrypoint away. */
  entrypoint: optional(list(text)),
  /** `NAME=value`; `NAME` alone was resolved by the caller. */
  env: words,
  /** Names of variables that neither the image nor the engine gives. */
  unsetenv: words,
  unsetenvAll: off,
  workdir: optional(text),
  user: optional(text),
  groupAdd: words,
  hostname: optional(text),
  domainname: optional(text),
  tty: off,
  interactive: off,
  remove: off,
  init: off,
  readOnly: off,
  privileged: off,
  /** `-v`, `--mount`, `--tmpfs`. */
  volume: words,
  mount: words,
  tmpfs: words,
  volumesFrom: words,
  publish: words,
  expose: words,
  /** `-P`; became part of `publish` when the container was made. */
  publishAll: off,
  network: words,
  dns: words,
  dnsSearch: words,
  dnsOption: words,
  addHost: words,
  /** /etc/hosts and /etc/hostname are the image's. */
  noHosts: off,
  noHostname: off,
  memory: optional(number),
  memorySwap: optional(number),
  memoryReservation: optional(number),
  memorySwappiness: optional(number),
  oomKillDisable: off,
  cpus: optional(number),
  cpuShares: optional(number),
  cpuPeriod: optional(number),
  cpuQuota: optional(number),
  cpusetCpus: optional(text),
  cpusetMems: optional(text),
  pidsLimit: optional(number),
  blkioWeight: optional(number),
  /** `DEVICE:RATE` */
  deviceReadBps: words,
  deviceWriteBps: words,
  deviceReadIops: words,
  deviceWriteIops: words,
  /** `c 1:3 rwm` */
  deviceCgroupRule: words,
  cgroupParent: optional(text),
  oomScoreAdj: optional(number),
  shmSize: optional(number),
  ulimit: words,
  capAdd: words,
  capDrop: words,
  securityOpt: words,
  /** The document of `--security-opt seccomp=FILE`, read when the container was created. */
  seccompProfile: optional(text),
  device: words,
  sysctl: words,
  label: words,
  annotation: words,
  umask: optional(text),
  restart: withDefault(text, 'no'),
  stopSignal: optional(text),
  /** Seconds. */
  stopTimeout: optional(number),
  /** Seconds that it may run; then it is killed. */
  timeout: optional(number),
  healthCmd: optional(text),
  /** Milliseconds, these too; 0 is the default. -1: only when somebody asks. */
  healthInterval: optional(number),
  healthTimeout: optional(number),
  healthStartPeriod: optional(number),
  healthStartInterval: optional(number),
  healthRetries: optional(number),
  healthOnFailure: optional(text),
  noHealthcheck: off,
  logDriver: withDefault(text, 'json-file'),
  logOpt: words,
  pid: optional(text),
  ipc: optional(text),
  uts: optional(text),
  userns: optional(text),
  cgroupns: optional(text),
  /** The pod that it is in: the id of the pod's pause container. */
  pod: optional(text),
  /** It is the pause container of a pod. */
  pause: off,
});

export type ContainerOptions = Infer<typeof optionsShape>;

/** What a container without any option has. */
export const NO_OPTIONS: ContainerOptions = optionsShape({}, 'options');
