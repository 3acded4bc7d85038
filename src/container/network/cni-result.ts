/**
 * What CNI plugins answer (CNI specification 1.1.0, section 5): results of ADD, versions, errors. A plugin is a program of the
 * administrator's, but its answer may be cut short, huge or wrong: it is bounded, checked, and shown without control characters.
 */
import { isInterfaceName } from './cni-config.js';
import { type Cidr, formatIp, type IpAddress, parseCidr, parseIp } from './ip.js';
import {
  asInteger,
  asList,
  asObject,
  asString,
  asStrings,
  type JsonObject,
  optional,
  type Refuse,
  step,
} from './json.js';

export interface ResultInterface {
  readonly name: string;
  readonly mac: string | undefined;
  readonly mtu: number | undefined;
  /** Path of the namespace that it is in; undefined on the host. */
  readonly sandbox: string | undefined;
}

export interface ResultIp {
  readonly address: Cidr;
  readonly gateway: IpAddress | undefined;
  /** Index into the interfaces. */
  readonly interface: number | undefined;
}

export interface ResultDns {
  readonly nameservers: readonly string[];
  readonly domain: string | undefined;
  readonly search: readonly string[];
  readonly options: readonly string[];
}

/** A result, what it means and the bytes that the next plugin gets as prevResult. */
export interface CniResult {
  readonly interfaces: readonly ResultInterface[];
  readonly ips: readonly ResultIp[];
  readonly dns: ResultDns;
  readonly raw: JsonObject;
}

export interface PluginFailure {
  readonly code: number;
  readonly message: string;
}

const MAX_ENTRIES = 256;
const MAX_WORDS = 1024;

/** Codes of the specification, section 2 "Errors", as the end of a sentence. */
const CODES: Readonly<Record<number, string>> = {
  1: 'it does not speak this version of CNI',
  2: 'a field of the network configuration is not supported',
  3: 'the container is unknown to it',
  4: 'an environment variable is wrong',
  5: 'input or output failed',
  6: 'it could not read its configuration',
  7: 'the network configuration is wrong',
  11: 'try again later',
  50: 'it is not available',
  51: 'it is not available, and containers on the network may have lost connectivity',
};

/** Text of a plugin's for a terminal: one line, no control characters, not endless. */
export function plainText(text: string): string {
  const plain = text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not reach a terminal
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]+/g, ' ')
    .trim();
  return plain.length > MAX_WORDS ? `${plain.slice(0, MAX_WORDS)}…` : plain;
}

function bounded(value: unknown, at: string, refuse: Refuse): readonly unknown[] {
  const list = asList(value, at, refuse);
  if (list.length > MAX_ENTRIES) throw refuse(at, `has more than ${MAX_ENTRIES} entries`);
  return list;
}

function parseInterface(value: unknown, at: string, refuse: Refuse): ResultInterface {
  const object = asObject(value, at, refuse);
  const name = asString(object.name, `${at}/name`, refuse);
  if (!isInterfaceName(name)) throw refuse(`${at}/name`, `"${plainText(name)}" is no name of an interface`);
  const mac = optional(object, 'mac', at, refuse, asString);
  if (mac && !/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5,19}$/.test(mac))
    throw refuse(`${at}/mac`, 'is no hardware address');
  return {
    name,
    mac: mac === '' ? undefined : mac,
    mtu: optional(object, 'mtu', at, refuse, (v, p, r) => asInteger(v, p, r, 0, 0xffff_ffff)),
    sandbox: optional(object, 'sandbox', at, refuse, asString) || undefined,
  };
}

function parseResultIp(interfaces: number): (value: unknown, at: string, refuse: Refuse) => ResultIp {
  return (value, at, refuse) => {
    const object = asObject(value, at, refuse);
    const text = asString(object.address, `${at}/address`, refuse);
    const address = parseCidr(text);
    if (address === undefined)
      throw refuse(`${at}/address`, `"${plainText(text)}" is no address with a prefix length`);
    const gatewayText = optional(object, 'gateway', at, refuse, asString) || undefined;
    const gateway = gatewayText === undefined ? undefined : parseIp(gatewayText);
    if (gatewayText !== undefined && gateway === undefined) {
      throw refuse(`${at}/gateway`, `"${plainText(gatewayText)}" is no address`);
    }
    // libcni's plugins of old write -1 for none.
    const index = optional(object, 'interface', at, refuse, (v, p, r) => asInteger(v, p, r, -1, 0xffff_ffff));
    if (index !== undefined && index >= interfaces && interfaces > 0) {
      throw refuse(`${at}/interface`, `names interface ${index} of ${interfaces}`);
    }
    return { address, gateway, interface: index === undefined || index < 0 ? undefined : index };
  };
}

function parseDns(value: unknown, at: string, refuse: Refuse): ResultDns {
  const object = asObject(value, at, refuse);
  const words = (key: string) => {
    const list = optional(object, key, at, refuse, asStrings) ?? [];
    const bad = list.findIndex((word) => !/^[\x21-\x7e]{1,255}$/.test(word));
    // They end up in resolv.conf: a space or a newline would be another line of it.
    if (bad >= 0) throw refuse(`${at}/${key}/${bad}`, 'must be one word');
    return list.slice(0, MAX_ENTRIES);
  };
  const nameservers = words('nameservers').map((text, i) => {
    const ip = parseIp(text);
    if (ip === undefined) throw refuse(`${at}/nameservers${step(i)}`, `"${plainText(text)}" is no address`);
    return formatIp(ip);
  });
  const domain = optional(object, 'domain', at, refuse, asString) || undefined;
  if (domain !== undefined && !/^[\x21-\x7e]{1,255}$/.test(domain))
    throw refuse(`${at}/domain`, 'must be one word');
  return { nameservers, domain, search: words('search'), options: words('options') };
}

const NO_DNS: ResultDns = { nameservers: [], domain: undefined, search: [], options: [] };

/** Reads the result of an ADD. */
export function parseResult(value: unknown, refuse: Refuse): CniResult {
  const raw = asObject(value, '', refuse);
  const each = <T>(key: string, read: (value: unknown, at: string, refuse: Refuse) => T): T[] =>
    (optional(raw, key, '', refuse, bounded) ?? []).map((one, i) =>
      read(one, `${step(key)}${step(i)}`, refuse),
    );
  const interfaces = each('interfaces', parseInterface);
  return {
    interfaces,
    ips: each('ips', parseResultIp(interfaces.length)),
    dns: optional(raw, 'dns', '', refuse, parseDns) ?? NO_DNS,
    raw,
  };
}

/** Reads an error; undefined where the plugin said none. */
export function parseFailure(value: unknown): PluginFailure | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = new Map<string, unknown>(Object.entries(value));
  const code = fields.get('code');
  const words = ['msg', 'details']
    .map((key) => fields.get(key))
    .filter((word) => typeof word === 'string' && word !== '')
    .map((word) => plainText(String(word)));
  if (typeof code !== 'number' || !Number.isSafeInteger(code)) return undefined;
  const meaning = CODES[code];
  const message = words.length > 0 ? words.join('; ') : (meaning ?? 'no reason given');
  return { code, message: meaning !== undefined && words.length > 0 ? `${message} (${meaning})` : message };
}

/** Reads the answer to VERSION. */
export function parseSupportedVersions(value: unknown, refuse: Refuse): string[] {
  const object = asObject(value, '', refuse);
  return optional(object, 'supportedVersions', '', refuse, asStrings) ?? ['0.1.0'];
}
