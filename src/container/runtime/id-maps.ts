/**
 * Id maps that a rootless caller may not write itself (user_namespaces(7)): newuidmap(1) and newgidmap(1) are set-uid and look into
 * /etc/subuid and /etc/subgid.
 */
import { spawnSync } from 'node:child_process';
import type { OciIdMapping } from '../spec/types.js';
import { CreateError, errnoOf } from './errors.js';

/** @throws CreateError */
export function writeIdMaps(pid: number, uids: readonly OciIdMapping[], gids: readonly OciIdMapping[]): void {
  for (const [tool, mappings] of [
    ['newuidmap', uids],
    ['newgidmap', gids],
  ] as const) {
    const numbers = mappings.flatMap(({ containerID, hostID, size }) =>
      [containerID, hostID, size].map(String),
    );
    const result = spawnSync(tool, [String(pid), ...numbers], { encoding: 'utf8' });
    if (result.error !== undefined)
      throw new CreateError(`cannot run ${tool}: ${errnoOf(result.error)}`, {
        hint: 'It is in the package uidmap; without it a user can map itself alone.',
        cause: result.error,
      });
    if (result.status !== 0)
      throw new CreateError(`${tool} refuses the mappings: ${result.stderr.trim()}`, {
        hint: `/etc/sub${tool.slice(3, 6)} tells which ids a user may map.`,
      });
  }
}
