/**
 * What client and resident engine say to each other (firmware/client.c and tvmm.c, firmware/launcher/farewell.h); little endian, over a
 * Unix stream. The client sends one request; the engine answers `cold`, or `done`, or `launcher` with its descriptor, which the client
 * becomes at once; then `plan` with descriptors and, once that has been executed, `done`; or `done` instead of a plan. The client that stands
 * in for `tvmm` is told `taken` first and then sent errands (errand.ts), whose results it says in words of 8 bytes.
 *
 *     request  magic "tvmm-oci" or "tvmm-cli", version u32, size u32, umask u32, arguments u32, variables u32, terminals u32;
 *              then texts with a zero byte each
 *     answer   type u32, status i32, output u32, errors u32; then the bytes for stdout and stderr
 *
 * Everything that a client sends is checked; what is no request gets no answer.
 */

const MAGICS = { 'tvmm-oci': 'oci', 'tvmm-cli': 'tvmm' } as const;
const MAGIC_SIZE = 8;
export const WIRE_VERSION = 2;
const HEADER_SIZE = 32;
const ANSWER_SIZE = 16;
/** What client.c has room for. */
export const MAX_REQUEST = 131072;

export const ANSWER = {
  cold: 1,
  plan: 2,
  done: 3,
  launcher: 4,
  taken: 5,
  print: 6,
  spawn: 7,
  attach: 8,
  join: 9,
  cleaned: 10,
} as const;

/** A command line with what belongs to its caller. */
export interface Request {
  /** Which of tvmm's programs the client stands in for. */
  readonly program: 'oci' | 'tvmm';
  readonly cwd: string;
  readonly umask: number;
  /** Without the program's name. */
  readonly args: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
  /** Bit n: descriptor n is a terminal. */
  readonly terminals: number;
}

/** `more` has to come; `foreign` is another version's, which may have its answer; `garbage` is no client's. */
export type Incoming = Request | 'more' | 'foreign' | 'garbage';

/** Looks whether the bytes until now are a request. */
export function parseRequest(bytes: Buffer): Incoming {
  const begin = bytes.toString('latin1', 0, Math.min(bytes.length, MAGIC_SIZE));
  const program = Object.entries(MAGICS).find(([magic]) => magic.startsWith(begin))?.[1];
  if (program === undefined) return 'garbage';
  if (bytes.length < HEADER_SIZE) return 'more';
  if (bytes.readUInt32LE(8) !== WIRE_VERSION) return 'foreign';
  const size = bytes.readUInt32LE(12);
  const umask = bytes.readUInt32LE(16);
  const argumentCount = bytes.readUInt32LE(20);
  const variableCount = bytes.readUInt32LE(24);
  const terminals = bytes.readUInt32LE(28);
  if (size < HEADER_SIZE || size > MAX_REQUEST || bytes.length > size || umask > 0o777) return 'garbage';
  if (bytes.length < size) return 'more';
  const texts = textsOf(bytes.subarray(HEADER_SIZE));
  const [cwd, ...rest] = texts ?? [];
  if (cwd === undefined || !cwd.startsWith('/') || rest.length !== argumentCount + variableCount)
    return 'garbage';
  const variables: Record<string, string> = Object.create(null);
  for (const line of rest.slice(argumentCount)) {
    const at = line.indexOf('=');
    if (at <= 0) return 'garbage';
    variables[line.slice(0, at)] = line.slice(at + 1);
  }
  return { program, cwd, umask, args: rest.slice(0, argumentCount), variables, terminals };
}

/** Undefined where a zero byte lacks at the end, or what is no UTF-8 could be changed by reading it as text. */
function textsOf(bytes: Buffer): string[] | undefined {
  if (bytes.length === 0 || bytes[bytes.length - 1] !== 0) return undefined;
  const text = bytes.toString('utf8');
  if (text.includes('\ufffd')) return undefined;
  return text.slice(0, -1).split('\0');
}

/** @param status exit status; of a plan the number for its control socket, of a launcher flags of namespaces */
export function encodeAnswer(
  type: (typeof ANSWER)[keyof typeof ANSWER],
  status: number,
  output: Uint8Array | number,
  errors: Uint8Array,
): Buffer {
  const header = Buffer.alloc(ANSWER_SIZE);
  header.writeUInt32LE(type, 0);
  header.writeInt32LE(status, 4);
  header.writeUInt32LE(typeof output === 'number' ? output : output.length, 8);
  header.writeUInt32LE(errors.length, 12);
  return Buffer.concat(typeof output === 'number' ? [header, errors] : [header, output, errors]);
}
