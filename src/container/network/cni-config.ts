/**
 * CNI network configurations (CNI specification 1.1.0, section 1): lists of plugins (`.conflist`) and single plugins (`.conf`, versions
 * before 1.0). Strict in what the protocol reads; a plugin's own fields pass through unchanged. Refuses names that could leave a folder.
 */
import { CniConfigError } from './errors.js';
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
  step,
} from './json.js';

/** Versions of the protocol that this runtime speaks, oldest first. Before 0.3 results had another shape, and there were no chains. */
export const CNI_VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof CNI_VERSIONS)[number];

/** A plugin's configuration: what the protocol reads of it, and all of it. */
export interface PluginConfig {
  readonly type: string;
  /** Capability arguments that it wants. */
  readonly capabilities: readonly string[];
  readonly raw: JsonObject;
}

export interface NetworkConfig {
  readonly name: string;
  /** Those of its versions that this runtime speaks, oldest first; at least one. */
  readonly versions: readonly CniVersion[];
  readonly disableCheck: boolean;
  readonly disableGC: boolean;
  readonly loadOnlyInlinedPlugins: boolean;
  /** May be empty in a list whose plugins are in a folder of its name. */
  readonly plugins: readonly PluginConfig[];
}

const MAX_PLUGINS = 32;
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/;
/** Keys that only the runtime sets. */
const RESERVED = ['runtimeConfig', 'prevResult'];

/** Whether `text` may be a network's name or a container's id. */
export function isCniName(text: string): boolean {
  return NAME.test(text);
}

/** Whether the kernel takes `name` for a link (dev_valid_name in net/core/dev.c). */
export function isInterfaceName(name: string): boolean {
  return /^[^\s/:\0]{1,15}$/.test(name) && name !== '.' && name !== '..' && !/[^\x21-\x7e]/.test(name);
}

/** @param source the file, for messages */
export function refuseConfig(source: string): Refuse {
  return (pointer, problem) =>
    new CniConfigError(
      `the network configuration ${source}${pointer === '' ? '' : ` at ${pointer}`} ${problem}`,
      {
        code: 'CNI_CONFIG_INVALID',
      },
    );
}

function isSpoken(version: string): version is CniVersion {
  return CNI_VERSIONS.some((one) => one === version);
}

function parseVersions(object: JsonObject, refuse: Refuse): CniVersion[] {
  const one = optional(object, 'cniVersion', '', refuse, asString);
  const many = optional(object, 'cniVersions', '', refuse, asStrings) ?? [];
  const named = [...(one === undefined ? [] : [one]), ...many];
  for (const version of named) {
    if (!/^\d{1,4}\.\d{1,4}\.\d{1,4}$/.test(version))
      throw refuse('/cniVersion', `"${version}" is no version`);
  }
  // Without a version it is 0.1.0 (specification 0.2.0).
  if (named.length === 0) throw refuse('', 'names no cniVersion; it must be one of 0.3.0 to 1.1.0');
  const versions = CNI_VERSIONS.filter((version) => named.includes(version));
  if (versions.length === 0) {
    throw refuse(
      '/cniVersion',
      `asks for ${named.join(', ')}; this runtime speaks ${CNI_VERSIONS.join(', ')}`,
    );
  }
  return versions.filter(isSpoken);
}

/** Reads one plugin's configuration. */
export function parsePlugin(value: unknown, at: string, refuse: Refuse): PluginConfig {
  const raw = asObject(value, at, refuse);
  const type = asString(raw.type, `${at}/type`, refuse);
  if (!NAME.test(type)) throw refuse(`${at}/type`, `"${type}" cannot be the name of a plugin's file`);
  for (const key of Object.keys(raw)) {
    if (RESERVED.includes(key) || key.startsWith('cni.dev/')) {
      throw refuse(at + step(key), 'is for the runtime alone to set');
    }
  }
  const wanted = optional(raw, 'capabilities', at, refuse, asObject) ?? {};
  const capabilities = Object.entries(wanted)
    .filter(([name, on]) => asBoolean(on, `${at}/capabilities${step(name)}`, refuse))
    .map(([name]) => name);
  const ipam = optional(raw, 'ipam', at, refuse, asObject);
  // Plugins run the program of this name themselves.
  const ipamType = ipam && optional(ipam, 'type', `${at}/ipam`, refuse, asString);
  if (ipamType !== undefined && ipamType !== '' && !NAME.test(ipamType)) {
    throw refuse(`${at}/ipam/type`, `"${ipamType}" cannot be the name of a plugin's file`);
  }
  return { type, capabilities, raw };
}

/** Before 1.0 the flag could be the word as a string. */
function flag(value: unknown, at: string, refuse: Refuse): boolean {
  return value === 'true' || (value === 'false' ? false : asBoolean(value, at, refuse));
}

/**
 * Reads a configuration list, or a single plugin's configuration as a list of one.
 *
 * @param source the file, for messages
 * @throws CniConfigError
 */
export function parseNetworkConfig(text: string, source: string): NetworkConfig {
  const refuse = refuseConfig(source);
  return networkConfigOf(asObject(parseJson(text, refuse), '', refuse), refuse);
}

/** The same of an object that is parsed already. */
export function networkConfigOf(object: JsonObject, refuse: Refuse): NetworkConfig {
  const name = asString(object.name, '/name', refuse);
  if (!NAME.test(name))
    throw refuse('/name', `"${name}" cannot be a network's name (letters, digits, "_", ".", "-")`);
  const versions = parseVersions(object, refuse);
  const single = object.plugins === undefined && object.type !== undefined;
  const loadOnlyInlinedPlugins = optional(object, 'loadOnlyInlinedPlugins', '', refuse, flag) ?? false;
  const listed = optional(object, 'plugins', '', refuse, asList);
  if (listed === undefined && loadOnlyInlinedPlugins) {
    throw refuse('', 'has loadOnlyInlinedPlugins but no plugins');
  }
  if (listed?.length === 0) throw refuse('/plugins', 'is empty');
  if ((listed?.length ?? 0) > MAX_PLUGINS) throw refuse('/plugins', `has more than ${MAX_PLUGINS} entries`);
  return {
    name,
    versions,
    disableCheck: optional(object, 'disableCheck', '', refuse, flag) ?? false,
    disableGC: optional(object, 'disableGC', '', refuse, flag) ?? false,
    loadOnlyInlinedPlugins: single || loadOnlyInlinedPlugins,
    plugins: single
      ? [parsePlugin(object, '', refuse)]
      : (listed ?? []).map((plugin, i) => parsePlugin(plugin, `/plugins/${i}`, refuse)),
  };
}

/** A configuration as the list that {@link parseNetworkConfig} reads again: what the cache keeps. */
export function formatNetworkConfig(config: NetworkConfig): string {
  const { name, versions, disableCheck, disableGC, plugins } = config;
  return JSON.stringify({
    cniVersion: versions.at(-1),
    cniVersions: versions,
    name,
    disableCheck,
    disableGC,
    loadOnlyInlinedPlugins: true,
    plugins: plugins.map(({ raw }) => raw),
  });
}
