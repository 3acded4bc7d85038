/** Cleaning up: networks that nobody wants, and what containers that are gone have left in the host's network. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { EngineContext } from './context.js';

export interface NetworkPrune {
  /** Names of networks. */
  readonly removed: readonly string[];
  readonly problems: readonly Error[];
}

/** Networks that a container joins when it is started again. */
function wanted(context: EngineContext): Set<string> {
  return new Set(
    context.store.all().flatMap(({ options }) => options.network.map((one) => one.split(':')[0] ?? '')),
  );
}

/** What dead containers have left in the host's network goes. @returns what could not be removed */
async function collectNetworks(context: EngineContext): Promise<readonly Error[]> {
  const [networks, { collectGarbage }] = await Promise.all([context.networks(), import('../network/gc.js')]);
  const { problems } = await collectGarbage(networks, () => new Set(context.store.ids()));
  return problems;
}

/** The same where a look at the names of namespaces says that somebody has left one. */
export async function collectNetworksIfNeeded(context: EngineContext): Promise<void> {
  const folder = join(context.paths.run, 'netns');
  const isRubbish = (id: string) => context.store.read(id) === undefined;
  if (!existsSync(folder) || !readdirSync(folder).some(isRubbish)) return;
  for (const { message } of await collectNetworks(context)) context.warn(message);
}

/** Removes tvmm's networks that no container is on or was made for; the default one stays. */
export async function pruneNetworks(context: EngineContext): Promise<NetworkPrune> {
  const problems = [...(await collectNetworks(context))];
  const networks = await context.networks();
  const kept = wanted(context);
  const { DEFAULT_NETWORK } = await import('../network/mode.js');
  const removed: string[] = [];
  for (const { name } of networks.usage().unused) {
    if (kept.has(name) || name === DEFAULT_NETWORK) continue;
    try {
      await networks.removeNetwork(name);
      removed.push(name);
    } catch (error) {
      problems.push(error instanceof Error ? error : new Error(String(error)));
    }
  }
  return { removed, problems };
}
