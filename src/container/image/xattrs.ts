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

/** <linux/posix_acl_xattr.h>: a version, then entries of tag, permissions and id, of which two kinds have one. */
const ACL_HEADER = 4;
const ACL_ENTRY = 8;
const ACL_USER = 0x02;
const ACL_GROUP = 0x08;

/**
 * An attribute's value as it has to be written for the user namespace whose ids `owners` says: the host's kernel takes the ids in it for its
 * own. Other attributes, and without a namespace all, stay as they are. @returns undefined for ids that the namespace does not have
 */
export function mapXattr(
  name: string,
  value: Uint8Array,
  owners: OwnerMap | undefined,
): Uint8Array | undefined {
  if (owners === undefined) return value;
  if (name === 'security.capability') return mapCapability(value, owners);
  return name.startsWith('system.posix_acl_') ? mapAccessList(value, owners) : value;
}

function mapAccessList(value: Uint8Array, owners: OwnerMap): Uint8Array | undefined {
  const mapped = Buffer.from(value);
  for (let at = ACL_HEADER; at + ACL_ENTRY <= mapped.length; at += ACL_ENTRY) {
    const tag = mapped.readUInt16LE(at);
    if (tag !== ACL_USER && tag !== ACL_GROUP) continue;
    const id = mapId(tag === ACL_USER ? owners.uid : owners.gid, mapped.readUInt32LE(at + 4));
    if (id === undefined) return undefined;
    mapped.writeUInt32LE(id, at + 4);
  }
  return mapped;
}

/** File capabilities that hold in the namespace. */
function mapCapability(value: Uint8Array, owners: OwnerMap): Uint8Array {
  const root = mapId(owners.uid, 0);
  if (value[3] !== REVISION_2 || value.length !== V2_SIZE || root === undefined) return value;
  const mapped = Buffer.alloc(V2_SIZE + 4);
  mapped.set(value);
  mapped[3] = REVISION_3;
  mapped.writeUInt32LE(root, V2_SIZE);
  return mapped;
}
