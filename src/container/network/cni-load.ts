/**
 * Finds network configurations in a folder (`/etc/cni/net.d`): `.conflist`, `.conf` and `.json` files in the order of their names, and a
 * list's further plugins in the folder of its name (CNI specification 1.1.0, section 1). A file that is wrong is reported by name and does
 * not hide the others.
 */
import { readdirSync } from 'node:fs';
import { extname, join } from 'node:path';
import { type NetworkConfig, parseNetworkConfig, parsePlugin, refuseConfig } from './cni-config.js';
import { CniConfigError } from './errors.js';
import { parseJson, readBounded } from './json.js';

const EXTENSIONS = ['.conflist', '.conf', '.json'];
/** A configuration is written by hand. */
const MAX_FILE = 1 << 20;

/** A network and where it is from. */
export interface LoadedNetwork {
  readonly config: NetworkConfig;
  readonly file: string;
}

export interface LoadedNetworks {
  /** In order; of two with one name the first counts. */
  readonly networks: readonly LoadedNetwork[];
  readonly problems: readonly Error[];
}

function filesOf(folder: string, extensions: readonly string[]): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => !entry.isDirectory() && extensions.includes(extname(entry.name)))
      .map((entry) => join(folder, entry.name))
      .sort();
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
      return [];
    throw error;
  }
}

/** Reads one file and, for a list that allows it, the plugins beside it. @throws CniConfigError */
function loadNetwork(folder: string, file: string): LoadedNetwork {
  const config = parseNetworkConfig(readBounded(file, MAX_FILE, refuseConfig(file)), file);
  const beside = config.loadOnlyInlinedPlugins ? [] : filesOf(join(folder, config.name), ['.conf']);
  const plugins = beside.map((path) => {
    const refuse = refuseConfig(path);
    return parsePlugin(parseJson(readBounded(path, MAX_FILE, refuse), refuse), '', refuse);
  });
  const whole = { ...config, plugins: [...config.plugins, ...plugins] };
  if (whole.plugins.length === 0) throw refuseConfig(file)('', 'has no plugins');
  return { config: whole, file };
}

/** Reads a folder; a folder that is missing has no networks. */
export function loadNetworks(folder: string): LoadedNetworks {
  const networks: LoadedNetwork[] = [];
  const problems: Error[] = [];
  for (const file of filesOf(folder, EXTENSIONS)) {
    try {
      const loaded = loadNetwork(folder, file);
      const first = networks.find(({ config }) => config.name === loaded.config.name);
      if (first !== undefined) {
        throw new CniConfigError(
          `${file} defines the network ${loaded.config.name}, which ${first.file} has already`,
          {
            code: 'CNI_CONFIG_DUPLICATE',
            hint: 'rename one of them; until then the first counts',
          },
        );
      }
      networks.push(loaded);
    } catch (error) {
      problems.push(error instanceof Error ? error : new Error(String(error)));
    }
  }
  return { networks, problems };
}
