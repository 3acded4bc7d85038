/**
 * What the engine knows about a container, as it stands in container.json. The record is the engine's memory, never the truth about
 * processes: that is asked anew (settle.ts).
 */
import { healthCheckShape } from './health/check.js';
import { CONTAINER_STATES } from './lifecycle.js';
import { optionsShape } from './options/options.js';
import { processShape } from './process.js';
import {
  flag,
  type Infer,
  list,
  number,
  object,
  oneOf,
  optional,
  parseDocument,
  text,
  withDefault,
} from './shape.js';

const portShape = object({
  hostIp: optional(text),
  hostPort: number,
  containerPort: number,
  protocol: oneOf('tcp', 'udp', 'sctp'),
});

const interfaceShape = object({
  network: text,
  name: text,
  mac: optional(text),
  addresses: list(text),
  gateways: list(text),
});

/** A volume that a container mounts. */
const volumeUseShape = object({
  name: text,
  /** Absolute path in the container. */
  destination: text,
  /** Made for this container alone, and goes with it where `rm -v` or `--rm` says so. */
  anonymous: withDefault(flag, false),
  /** Mount options, as config.json has them. */
  options: withDefault(list(text), []),
  /** A new volume gets what the image has at that place. */
  copyUp: withDefault(flag, true),
});
export type VolumeUse = Infer<typeof volumeUseShape>;

const recordShape = object({
  version: number,
  /** 64 hexadecimal digits. */
  id: text,
  name: text,
  /** RFC 3339, as all times here. */
  created: text,
  options: optionsShape,
  /** The digest of the image that the container was made of. */
  imageId: optional(text),
  /** The command as it runs, for ps. */
  argv: withDefault(list(text), []),
  state: oneOf(...CONTAINER_STATES),
  /** A start is under way; when nobody holds the lock, one was killed. */
  starting: withDefault(flag, false),
  /** Init, while it runs. */
  init: optional(processShape),
  /** The minder, and the exit command that it becomes. */
  minder: optional(processShape),
  started: optional(text),
  finished: optional(text),
  /** Of the last run; 255 when nobody saw it. */
  exitCode: optional(number),
  oomKilled: withDefault(flag, false),
  /** Why the last start failed, or what nobody saw. */
  problem: optional(text),
  /** Starts by the restart policy since the user's last start. */
  restarts: withDefault(number, 0),
  /** The user stopped it: no policy starts it again. */
  stopRequested: withDefault(flag, false),
  /** First id on the host of the range of `--userns private`. */
  firstId: optional(number),
  volumes: withDefault(list(volumeUseShape), []),
  interfaces: withDefault(list(interfaceShape), []),
  ports: withDefault(list(portShape), []),
  stopSignal: withDefault(text, 'SIGTERM'),
  /** Seconds between the stop signal and SIGKILL. */
  stopTimeout: withDefault(number, 10),
  healthCheck: optional(healthCheckShape),
});

export type ContainerRecord = Infer<typeof recordShape>;

const VERSION = 1;

/** @throws RecordError */
export function parseRecord(json: string, file: string): ContainerRecord {
  return parseDocument(recordShape, json, file);
}

export function newRecord(
  fields: Pick<ContainerRecord, 'id' | 'name' | 'options' | 'stopSignal' | 'stopTimeout'> &
    Partial<ContainerRecord>,
): ContainerRecord {
  return {
    argv: [],
    starting: false,
    oomKilled: false,
    restarts: 0,
    stopRequested: false,
    volumes: [],
    interfaces: [],
    ports: [],
    ...fields,
    version: VERSION,
    created: new Date().toISOString(),
    state: 'created',
  };
}
