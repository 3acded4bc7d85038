/**
 * The runtime's side of CNI (CNI specification 1.1.0, section 3): which version is spoken, what configuration each plugin of a chain gets,
 * and in which order they run. It keeps nothing; attachments.ts does.
 */
import { CNI_VERSIONS, type CniVersion, type NetworkConfig, type PluginConfig } from './cni-config.js';
import {
  type CniCommand,
  callPlugin,
  findPlugin,
  type PluginCall,
  type PluginRun,
  refuseAnswer,
  spawnPlugin,
} from './cni-exec.js';
import { type CniResult, parseResult, parseSupportedVersions } from './cni-result.js';
import { CniPluginError } from './errors.js';
import type { JsonObject } from './json.js';

/** Plugins that talk to daemons may take long; none takes this long and comes back. */
const PLUGIN_TIMEOUT_MS = 60_000;

/** What an attachment is about: a container's interface on a network. */
export interface Attachment {
  readonly containerId: string;
  /** Path of its network namespace; undefined when that is gone (DEL). */
  readonly netns: string | undefined;
  readonly ifname: string;
  /** CNI_ARGS. */
  readonly args?: Readonly<Record<string, string>>;
  /** Capability arguments by capability (capabilities.ts). */
  readonly capabilities?: JsonObject;
}

export interface CniOptions {
  /** Folders with plugins. */
  readonly path: readonly string[];
  readonly timeoutMs?: number;
  readonly run?: PluginRun;
}

/** Whether a version of the protocol has what came with `since`. */
function hasVersion(version: CniVersion, since: CniVersion): boolean {
  return CNI_VERSIONS.indexOf(version) >= CNI_VERSIONS.indexOf(since);
}

/** CNI_ARGS as one string. `IgnoreUnknown` lets a plugin pass over what is not for it. */
export function formatArgs(args: Readonly<Record<string, string>>): string {
  const entries = Object.entries(args);
  if (entries.length === 0) return '';
  return [['IgnoreUnknown', '1'], ...entries].map(([key, value]) => `${key}=${value}`).join(';');
}

/** The capability arguments that a plugin asked for and the runtime has. */
export function runtimeConfig(plugin: PluginConfig, capabilities: JsonObject): JsonObject | undefined {
  const wanted = plugin.capabilities.filter((name) => capabilities[name] !== undefined);
  return wanted.length === 0
    ? undefined
    : Object.fromEntries(wanted.map((name) => [name, capabilities[name]]));
}

/** A plugin's configuration as it goes to its stdin (section 3, "Deriving request configuration from plugin configuration"). */
function requestConfig(
  network: string,
  version: CniVersion,
  plugin: PluginConfig,
  additions: JsonObject = {},
): string {
  const { capabilities: _capabilities, ...passed } = plugin.raw;
  return JSON.stringify({ ...passed, ...additions, name: network, cniVersion: version });
}

/** Runs the plugins of networks. */
export class Cni {
  readonly path: readonly string[];
  readonly #timeoutMs: number;
  readonly #run: PluginRun;

  constructor(options: CniOptions) {
    this.path = options.path;
    this.#timeoutMs = options.timeoutMs ?? PLUGIN_TIMEOUT_MS;
    this.#run = options.run ?? spawnPlugin;
  }

  /**
   * The highest version that the configuration, this runtime and every plugin of the network speak. Plugins are asked only where the
   * configuration leaves a choice.
   *
   * @throws CniPluginError
   */
  async negotiate(config: NetworkConfig): Promise<CniVersion> {
    const [only, ...others] = config.versions;
    if (only !== undefined && others.length === 0) return only;
    const types = [...new Set(config.plugins.map(({ type }) => type))];
    const spoken = await Promise.all(types.map((type) => this.versions(type, config)));
    const version = config.versions.findLast((one) => spoken.every((versions) => versions.includes(one)));
    if (version !== undefined) return version;
    const lists = types.map((type, i) => `${type} speaks ${spoken[i]?.join(', ')}`).join('; ');
    throw new CniPluginError(
      `the network ${config.name} asks for CNI ${config.versions.join(' or ')}, but its plugins have none of these in common: ${lists}`,
      { code: 'CNI_NO_COMMON_VERSION', hint: 'add a version that they all speak to cniVersions' },
    );
  }

  /** VERSION: what a plugin speaks. @throws CniPluginError */
  async versions(type: string, config: NetworkConfig): Promise<string[]> {
    const input = JSON.stringify({ cniVersion: config.versions.at(-1) });
    const call = this.#call('VERSION', type, config.name, input, {});
    const answer = await callPlugin(this.#run, call);
    return parseSupportedVersions(answer ?? {}, refuseAnswer(call));
  }

  /**
   * ADD: every plugin in order, each with the result of the one before it. The caller runs {@link del} after a failure.
   *
   * @param progress hears each plugin's result: what a DEL needs when a later plugin fails
   * @throws CniPluginError
   */
  async add(
    config: NetworkConfig,
    version: CniVersion,
    attachment: Attachment,
    progress: (result: CniResult) => void = () => undefined,
  ): Promise<CniResult> {
    let result: CniResult | undefined;
    for (const plugin of config.plugins) {
      const call = this.#attachmentCall('ADD', config, version, plugin, attachment, result?.raw);
      const refuse = refuseAnswer(call);
      const answer = await callPlugin(this.#run, call);
      if (answer === undefined) throw refuse('', 'is empty');
      result = parseResult(answer, refuse);
      progress(result);
    }
    if (result === undefined)
      throw new CniPluginError(`the network ${config.name} has no plugins`, { code: 'CNI_NO_PLUGINS' });
    return result;
  }

  /** CHECK: every plugin in order. Nothing where the configuration or the version has no CHECK; false then. @throws CniPluginError */
  async check(
    config: NetworkConfig,
    version: CniVersion,
    attachment: Attachment,
    result: JsonObject,
  ): Promise<boolean> {
    if (config.disableCheck || !hasVersion(version, '0.4.0')) return false;
    for (const plugin of config.plugins) {
      await callPlugin(this.#run, this.#attachmentCall('CHECK', config, version, plugin, attachment, result));
    }
    return true;
  }

  /** DEL: every plugin in reverse order. May be repeated. @throws CniPluginError */
  async del(
    config: NetworkConfig,
    version: CniVersion,
    attachment: Attachment,
    result: JsonObject | undefined,
  ): Promise<void> {
    // DEL has a previous result since 0.4.0.
    const previous = hasVersion(version, '0.4.0') ? result : undefined;
    for (const plugin of [...config.plugins].reverse()) {
      try {
        await callPlugin(
          this.#run,
          this.#attachmentCall('DEL', config, version, plugin, attachment, previous),
        );
      } catch (error) {
        // Then there is nothing to remove (section 2, "Errors").
        if (!(error instanceof CniPluginError) || error.code !== 'CNI_CONTAINER_UNKNOWN') throw error;
      }
    }
  }

  /**
   * GC: tells every plugin which attachments are still valid. All run; the failures come back. Nothing before 1.1.0.
   * The caller sees to it that no ADD or DEL runs at the same time.
   */
  async gc(
    config: NetworkConfig,
    version: CniVersion,
    valid: readonly Pick<Attachment, 'containerId' | 'ifname'>[],
  ): Promise<Error[]> {
    if (config.disableGC || !hasVersion(version, '1.1.0')) return [];
    const attachments = valid.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
    return this.#each('GC', config, version, { 'cni.dev/valid-attachments': attachments });
  }

  /** STATUS: the failures of plugins that cannot serve an ADD now. Nothing before 1.1.0. */
  async status(config: NetworkConfig, version: CniVersion): Promise<Error[]> {
    return hasVersion(version, '1.1.0') ? this.#each('STATUS', config, version, {}) : [];
  }

  async #each(
    command: 'GC' | 'STATUS',
    config: NetworkConfig,
    version: CniVersion,
    additions: JsonObject,
  ): Promise<Error[]> {
    const failures: Error[] = [];
    for (const plugin of config.plugins) {
      try {
        const input = requestConfig(config.name, version, plugin, additions);
        await callPlugin(this.#run, this.#call(command, plugin.type, config.name, input, {}));
      } catch (error) {
        failures.push(error instanceof Error ? error : new Error(String(error)));
      }
    }
    return failures;
  }

  #attachmentCall(
    command: CniCommand,
    config: NetworkConfig,
    version: CniVersion,
    plugin: PluginConfig,
    attachment: Attachment,
    previous: JsonObject | undefined,
  ): PluginCall {
    const { containerId, netns, ifname, args, capabilities } = attachment;
    const runtime = runtimeConfig(plugin, capabilities ?? {});
    const input = requestConfig(config.name, version, plugin, {
      ...(runtime === undefined ? {} : { runtimeConfig: runtime }),
      ...(previous === undefined ? {} : { prevResult: { ...previous, cniVersion: version } }),
    });
    return this.#call(command, plugin.type, config.name, input, {
      CNI_CONTAINERID: containerId,
      CNI_NETNS: netns ?? '',
      CNI_IFNAME: ifname,
      CNI_ARGS: formatArgs(args ?? {}),
    });
  }

  #call(
    command: CniCommand,
    type: string,
    network: string,
    input: string,
    parameters: Readonly<Record<string, string>>,
  ): PluginCall {
    const file = findPlugin(type, this.path, network);
    return { command, type, file, parameters, path: this.path, input, timeoutMs: this.#timeoutMs };
  }
}
