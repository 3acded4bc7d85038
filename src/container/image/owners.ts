/**
 * Owners as user namespaces map them (user_namespaces(7)): ranges of ids, the same for files in a plain copy as for processes.
 */
import { printable } from './entry-path.js';
import { LayerError } from './errors.js';

/** As in the OCI runtime configuration's uidMappings. */
export interface IdRange {
  readonly containerId: number;
  readonly hostId: number;
  readonly size: number;
}

export interface OwnerMap {
  readonly uid: readonly IdRange[];
  readonly gid: readonly IdRange[];
}

/** The host's id for a container's, or undefined where the namespace has none. */
export function mapId(ranges: readonly IdRange[], id: number): number | undefined {
  const range = ranges.find(({ containerId, size }) => id >= containerId && id < containerId + size);
  return range === undefined ? undefined : range.hostId + id - range.containerId;
}

/** @param path for the message @throws LayerError LAYER_OWNER */
export function mapOwner(
  owners: OwnerMap,
  owner: { readonly uid: number; readonly gid: number },
  path: string,
): { uid: number; gid: number } {
  const uid = mapId(owners.uid, owner.uid);
  const gid = mapId(owners.gid, owner.gid);
  if (uid !== undefined && gid !== undefined) return { uid, gid };
  throw new LayerError(
    `${printable(path)} belongs to ${owner.uid}:${owner.gid}, which the user namespace has no ids for`,
    { code: 'LAYER_OWNER', hint: 'Give the namespace more ids.' },
  );
}
