/**
 * Names of the other containers of a network, in /etc/hosts: a block at the end of each container's file, rewritten when one of its network starts,
 * ends or gets another name. What stands before the block is the container's own affair, its own changes included.
 */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { FileLock } from '../../sys/file-lock.js';
import { parseNetworkMode } from '../network/mode.js';
import type { EngineContext } from './context.js';
import { shortId } from './names.js';
import { isAlive } from './process.js';
import type { ContainerRecord } from './record.js';
import { rootlessFacts } from './rootless.js';

const BEGIN = '# tvmm: containers of the same networks\n';
const LOCK_TIMEOUT_MS = 10_000;
/** A container may write what it likes into its file; more than this is left alone. */
const MAX_HOSTS = 2 ** 20;

type Interface = ContainerRecord['interfaces'][number];

/** Names of a container in one of its networks: its own, its short id, its host name, its aliases there. */
function namesIn(record: ContainerRecord, network: string): string[] {
  const { options, id, name } = record;
  const mode = parseNetworkMode(options.network);
  const aliases =
    mode.kind === 'networks' ? (mode.networks.find((one) => one.name === network)?.aliases ?? []) : [];
  const hostname = options.hostname === undefined ? [] : [options.hostname];
  return [...new Set([name, ...aliases, ...hostname, shortId(id)])];
}

/** The lines for a container with these interfaces. Pure. */
export function peerLines(
  id: string,
  interfaces: readonly Interface[],
  others: readonly ContainerRecord[],
): string {
  const mine = new Set(interfaces.map(({ network }) => network));
  const lines = others
    .filter((other) => other.id !== id)
    .flatMap((other) =>
      other.interfaces
        .filter(({ network }) => mine.has(network))
        .flatMap(({ network, addresses }) =>
          addresses.map((one) => `${one.replace(/\/\d+$/, '')}\t${namesIn(other, network).join(' ')}\n`),
        ),
    );
  return lines.length === 0 ? '' : `${BEGIN}${lines.sort().join('')}`;
}

/** Containers on networks that run, as their records say. */
function running(context: EngineContext, left?: string): ContainerRecord[] {
  return context.store
    .all()
    .filter(
      ({ id, state, interfaces, init }) =>
        (interfaces.length > 0 || id === left) &&
        (state === 'running' || state === 'paused') &&
        isAlive(init),
    );
}

/** What a container that is about to run finds in its file. */
export function peersOf(context: EngineContext, id: string, interfaces: readonly Interface[]): string {
  return interfaces.length === 0 || rootlessFacts() !== undefined
    ? ''
    : peerLines(id, interfaces, running(context));
}

/**
 * Rewrites the blocks of all that run on these interfaces' networks. A failure is told and stops nobody.
 *
 * @param left a container that may be on none of them any more, and runs on
 */
export async function refreshPeers(
  context: EngineContext,
  interfaces: readonly Interface[],
  left?: string,
): Promise<void> {
  // Each of a user's containers has a network of its own, whatever it is called.
  if (interfaces.length === 0 || rootlessFacts() !== undefined) return;
  const networks = new Set(interfaces.map(({ network }) => network));
  try {
    using _lock = await FileLock.acquire(join(context.paths.locks, 'hosts'), 'exclusive', LOCK_TIMEOUT_MS);
    const all = running(context, left);
    for (const record of all) {
      const isOn = record.interfaces.some(({ network }) => networks.has(network));
      if (!isOn && record.id !== left) continue;
      const file = join(context.store.folder(record.id), 'etc', 'hosts');
      replaceBlock(file, peerLines(record.id, record.interfaces, all));
    }
  } catch (error) {
    context.warn(`names of containers: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** In place: what is bound is the file, not its name. */
function replaceBlock(file: string, block: string): void {
  const fd = openSync(file, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    const { size } = fstatSync(fd);
    if (size > MAX_HOSTS) return;
    const before = Buffer.alloc(size);
    const text = before.toString('latin1', 0, readSync(fd, before, 0, size, 0));
    const at = text.indexOf(BEGIN);
    const kept = at < 0 ? text : text.slice(0, at);
    const next = Buffer.from(`${kept}${kept === '' || kept.endsWith('\n') ? '' : '\n'}${block}`, 'latin1');
    // First the new end, then the old one away: a reader in between sees a line too many rather than none.
    writeSync(fd, next, 0, next.length, 0);
    ftruncateSync(fd, next.length);
  } finally {
    closeSync(fd);
  }
}
