/**
 * Extended attributes of layers. Only those are set that belong to the file: its capabilities, its access lists and what programs keep in
 * `user.*`. Everything else would speak to this host, above all overlayfs' own marks, by which a layer could redirect a path elsewhere.
 */
import { mapId, type OwnerMap } from './owners.js';

/** <linux/capability.h>: revision in the top byte, `struct vfs_ns_cap_data` has the owner of the namespace behind the sets. */
const REVISION_2 = 0x02;
const REVISION_3 = 0x03;
const V2_SIZE = 20;

export function isAllowedXattr(name: string): boolean {
  if (name.startsWith('user.')) return !name.startsWith('user.overlay.');
  return (
    name === 'security.capability' ||
    name === 'system.posix_acl_access' ||
    name === 'system.posix_acl_default'
  );
}

/** File capabilities that hold in the user namespace whose root `owners` says: other attributes, and without one all, stay as they are. */
export function mapCapability(name: string, value: Uint8Array, owners: OwnerMap | undefined): Uint8Array {
  if (name !== 'security.capability' || owners === undefined) return value;
  const root = mapId(owners.uid, 0);
  if (value[3] !== REVISION_2 || value.length !== V2_SIZE || root === undefined) return value;
  const mapped = Buffer.alloc(V2_SIZE + 4);
  mapped.set(value);
  mapped[3] = REVISION_3;
  mapped.writeUInt32LE(root, V2_SIZE);
  return mapped;
}
