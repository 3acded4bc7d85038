/**
 * What is attached, on disk: one file an attachment, in the format of libcni's cache (`cniCacheV1`) with the version spoken and whether the
 * ADD has ended. It is written before the first plugin runs, so that a DEL with the same configuration is possible after any crash.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Attachment } from './cni.js';
import {
  CNI_VERSIONS,
  type CniVersion,
  formatNetworkConfig,
  isCniName,
  isInterfaceName,
  type NetworkConfig,
  networkConfigOf,
} from './cni-config.js';
import { type CniResult, parseResult } from './cni-result.js';
import { CniCacheError } from './errors.js';
import {
  asBoolean,
  asList,
  asObject,
  asString,
  asStrings,
  type JsonObject,
  optional,
  parseJson,
  type Refuse,
  readBounded,
} from './json.js';

const KIND = 'cniCacheV1';
const MAX_FILE = 4 << 20;

/** An attachment with all that its DEL needs. */
export interface StoredAttachment {
  readonly config: NetworkConfig;
  readonly version: CniVersion;
  readonly attachment: Attachment;
  /** Of the last plugin that has run; undefined before the first has. */
  readonly result: CniResult | undefined;
  /** Whether every plugin has run. */
  readonly complete: boolean;
}

function parseStored(text: string, refuse: Refuse): StoredAttachment {
  const object = asObject(parseJson(text, refuse), '', refuse);
  if (object.kind !== KIND) throw refuse('/kind', `must be ${KIND}`);
  const config = Buffer.from(asString(object.config, '/config', refuse), 'base64').toString('utf8');
  const version = CNI_VERSIONS.find((one) => one === object.cniVersion);
  if (version === undefined) throw refuse('/cniVersion', 'is no version of CNI');
  const args = optional(object, 'cniArgs', '', refuse, asList) ?? [];
  const result = optional(object, 'result', '', refuse, asObject);
  return {
    config: networkConfigOf(asObject(parseJson(config, refuse), '/config', refuse), refuse),
    version,
    attachment: {
      containerId: asString(object.containerId, '/containerId', refuse),
      ifname: asString(object.ifName, '/ifName', refuse),
      netns: optional(object, 'netns', '', refuse, asString),
      args: Object.fromEntries(
        args.map((pair, i) => {
          const [key, value] = asStrings(pair, `/cniArgs/${i}`, refuse);
          return [key ?? '', value ?? ''];
        }),
      ),
      capabilities: optional(object, 'capabilityArgs', '', refuse, asObject) ?? {},
    },
    result: result === undefined ? undefined : parseResult(result, refuse),
    complete: optional(object, 'complete', '', refuse, asBoolean) ?? false,
  };
}

/** A file that should be an attachment. */
export interface BrokenAttachment {
  readonly file: string;
  /** As its name says. */
  readonly containerId: string;
  readonly error: Error;
}

/** The attachments of a state folder. */
export class AttachmentStore {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** Writes an attachment, before and again after its ADD. The file is either the old one or the new one whole. */
  write(stored: StoredAttachment): void {
    const { config, version, attachment, result, complete } = stored;
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    const file = this.#file(config.name, attachment.containerId, attachment.ifname);
    const content: JsonObject = {
      kind: KIND,
      containerId: attachment.containerId,
      config: Buffer.from(formatNetworkConfig(config)).toString('base64'),
      ifName: attachment.ifname,
      networkName: config.name,
      netns: attachment.netns,
      cniArgs: Object.entries(attachment.args ?? {}),
      capabilityArgs: attachment.capabilities,
      cniVersion: version,
      result: result?.raw,
      complete,
    };
    const temporary = `${file}.${process.pid}.tmp`;
    writeFileSync(temporary, JSON.stringify(content), { mode: 0o600 });
    renameSync(temporary, file);
  }

  remove(network: string, containerId: string, ifname: string): void {
    rmSync(this.#file(network, containerId, ifname), { force: true });
  }

  /** The attachments of a container, in the order of their interfaces' names. @throws CniCacheError */
  of(containerId: string): StoredAttachment[] {
    return this.#names()
      .filter((name) => name.split('@')[1] === containerId)
      .map((name) => this.#read(name))
      .sort((a, b) => a.attachment.ifname.localeCompare(b.attachment.ifname, 'en', { numeric: true }));
  }

  /** Every attachment, and the files that are none. */
  all(): { attachments: StoredAttachment[]; broken: BrokenAttachment[] } {
    const attachments: StoredAttachment[] = [];
    const broken: BrokenAttachment[] = [];
    for (const name of this.#names()) {
      try {
        attachments.push(this.#read(name));
      } catch (error) {
        broken.push({
          file: join(this.folder, name),
          containerId: name.split('@')[1] ?? '',
          error: error instanceof Error ? error : new Error(String(error)),
        });
      }
    }
    return { attachments, broken };
  }

  #names(): string[] {
    try {
      return readdirSync(this.folder).filter((name) => name.endsWith('.json'));
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
      throw error;
    }
  }

  #read(name: string): StoredAttachment {
    const path = join(this.folder, name);
    const refuse: Refuse = (pointer, problem) =>
      new CniCacheError(`the stored attachment ${path}${pointer === '' ? '' : ` at ${pointer}`} ${problem}`, {
        code: 'CNI_CACHE_INVALID',
        hint: 'once the container is gone, garbage collection finds by other means what this stood for',
      });
    const stored = parseStored(readBounded(path, MAX_FILE, refuse), refuse);
    const { containerId, ifname } = stored.attachment;
    if (path !== this.#file(stored.config.name, containerId, ifname))
      throw refuse('', 'has the name of another attachment');
    return stored;
  }

  #file(network: string, containerId: string, ifname: string): string {
    // "@" is in no network's name and no container's id, so no two attachments share a file.
    if (!isCniName(network) || !isCniName(containerId) || !isInterfaceName(ifname)) {
      throw new CniCacheError(`"${network}", "${containerId}", "${ifname}" cannot name an attachment`, {
        code: 'CNI_ATTACHMENT_NAME',
        hint: 'a network and a container are named with letters, digits, "_", "." and "-"; an interface has at most 15 characters',
      });
    }
    return join(this.folder, `${network}@${containerId}@${ifname}.json`);
  }
}
