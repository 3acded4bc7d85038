/**
 * criu's requests and answers (images/rpc.proto of its sources): which option stands under which number. What is here is what containers
 * need; everything else keeps criu's default.
 */
import { ProtoFields, ProtoMessage } from './protobuf.js';

/** enum criu_req_type. */
export const REQUEST = { dump: 1, restore: 2, preDump: 4, notify: 6, featureCheck: 9, version: 10 } as const;

/** enum criu_cg_mode. */
export const CGROUP_MODES = { ignore: 0, soft: 3, full: 4, strict: 5, default: 6 } as const;
export type CgroupMode = keyof typeof CGROUP_MODES;

/** Numbers and switches of criu_opts. */
const NUMBERS = {
  imagesDirFd: 1,
  pid: 2,
  leaveRunning: 3,
  extUnixSk: 4,
  tcpEstablished: 5,
  evasiveDevices: 6,
  shellJob: 7,
  fileLocks: 8,
  logLevel: 9,
  notifyScripts: 12,
  trackMem: 15,
  autoDedup: 16,
  workDirFd: 17,
  linkRemap: 18,
  manageCgroups: 24,
  rstSibling: 26,
  manageCgroupsMode: 34,
  emptyNs: 38,
  tcpSkipInFlight: 46,
  orphanPtsMaster: 50,
} as const;

const TEXTS = {
  logFile: 10,
  root: 13,
  parentImg: 14,
  freezeCgroup: 44,
  configFile: 51,
  lsmProfile: 53,
  lsmMountContext: 63,
} as const;

const PAGE_SERVER = 11;
const CG_ROOT = 25;
const INHERIT_FD = 27;
const EXTERNAL = 37;
const JOIN_NS = 39;

export type CriuOptions = { readonly [name in keyof typeof NUMBERS]?: number | boolean } & {
  readonly [name in keyof typeof TEXTS]?: string;
} & {
  readonly pageServer?: { readonly address: string; readonly port: number };
  /** Where the cgroups of the images go: by controller. */
  readonly cgroupRoots?: readonly { readonly controller: string; readonly path: string }[];
  /** What an image says was open outside, and the descriptor of criu that stands for it. */
  readonly inherited?: readonly { readonly key: string; readonly fd: number }[];
  readonly external?: readonly string[];
  readonly joined?: readonly { readonly type: string; readonly path: string }[];
};

/** criu_opts. A member that is undefined, and a switch that is off, is left out. */
export function encodeOptions(options: CriuOptions): ProtoMessage {
  const message = new ProtoMessage();
  for (const [name, field] of entries(NUMBERS)) {
    const value = options[name];
    if (value !== undefined && value !== false) message.number(field, value);
  }
  for (const [name, field] of entries(TEXTS)) {
    const value = options[name];
    if (value !== undefined) message.text(field, value);
  }
  const { pageServer, cgroupRoots = [], inherited = [], external = [], joined = [] } = options;
  if (pageServer !== undefined)
    message.message(PAGE_SERVER, new ProtoMessage().text(1, pageServer.address).number(2, pageServer.port));
  for (const { controller, path } of cgroupRoots)
    message.message(CG_ROOT, new ProtoMessage().text(1, controller).text(2, path));
  for (const { key, fd } of inherited)
    message.message(INHERIT_FD, new ProtoMessage().text(1, key).number(2, fd));
  for (const text of external) message.text(EXTERNAL, text);
  for (const { type, path } of joined)
    message.message(JOIN_NS, new ProtoMessage().text(1, type).text(2, path));
  return message;
}

function entries<K extends string>(table: Readonly<Record<K, number>>): [K, number][] {
  return (Object.keys(table) as K[]).map((name) => [name, table[name]]);
}

/** criu_req for a dump, a pre-dump or a restore. */
export function encodeRequest(type: number, options: CriuOptions): Uint8Array {
  return new ProtoMessage().number(1, type).message(2, encodeOptions(options)).encode();
}

/** criu_req that asks whether this criu on this kernel can track changed memory. */
export function encodeFeatureCheck(): Uint8Array {
  return new ProtoMessage()
    .number(1, REQUEST.featureCheck)
    .message(5, new ProtoMessage().number(1, true))
    .encode();
}

/** The answer to a notification. */
export function encodeNotified(success: boolean): Uint8Array {
  return new ProtoMessage().number(1, REQUEST.notify).number(3, success).encode();
}

/** criu_resp. */
export interface CriuResponse {
  readonly type: number;
  readonly success: boolean;
  /** What goes on: `setup-namespaces`, `post-restore`. */
  readonly script?: string;
  /** Of a notification or a restore: the container's first process, as seen from here. */
  readonly pid?: number;
  readonly errno?: number;
  readonly message?: string;
  /** The kernel tells which pages have changed. */
  readonly memoryTracking?: boolean;
}

/** @throws CheckpointError for what is no message */
export function parseResponse(bytes: Uint8Array): CriuResponse {
  const fields = new ProtoFields(bytes);
  const notify = fields.message(5);
  const pid = notify?.number(2) ?? fields.message(4)?.number(1);
  const script = notify?.text(1);
  const errno = fields.number(7);
  const message = fields.text(9);
  const features = fields.message(8);
  return {
    type: fields.number(1) ?? -1,
    success: fields.number(2) === 1,
    ...(script === undefined ? {} : { script }),
    ...(pid === undefined ? {} : { pid }),
    ...(errno === undefined ? {} : { errno }),
    ...(message === undefined ? {} : { message }),
    ...(features === undefined ? {} : { memoryTracking: features.number(1) === 1 }),
  };
}
