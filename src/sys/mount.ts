/**
 * Mounts of this process's mount namespace: file systems by mount(2), and ID-mapped bind mounts (mount_setattr(2), Linux 5.12): a folder of
 * the host seen with the owners that a user namespace gives them. Those of a container are the launcher's.
 */
import { AT_EMPTY_PATH, AT_FDCWD, cString } from './at.js';
import { SystemError } from './errors.js';
import { close, declare, lastErrno, type Pointer } from './libc.js';

/** arch/x86/entry/syscalls/syscall_64.tbl */
const SYS_OPEN_TREE = 428;
const SYS_MOVE_MOUNT = 429;
const SYS_MOUNT_SETATTR = 442;
/** <linux/mount.h> */
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const MOUNT_ATTR_RDONLY = 0x1;
const MOUNT_ATTR_IDMAP = 0x0010_0000;
const MS_PRIVATE = 1 << 18;

const openTree = declare<(number: number, directory: number, path: Pointer, flags: number) => number>(
  'syscall',
  'int64_t',
  ['long', 'int', 'void *', 'unsigned int'],
);
const mountSetattr = declare<
  (
    number: number,
    directory: number,
    path: Pointer,
    flags: number,
    attributes: Pointer,
    size: number,
  ) => number
>('syscall', 'int64_t', ['long', 'int', 'void *', 'unsigned int', 'void *', 'size_t']);
const moveMount = declare<
  (number: number, from: number, fromPath: Pointer, to: number, toPath: Pointer, flags: number) => number
>('syscall', 'int64_t', ['long', 'int', 'void *', 'int', 'void *', 'unsigned int']);

const rawMount = declare<
  (source: string, target: string, type: string, flags: number, data: string) => number
>('mount', 'int', ['str', 'str', 'str', 'unsigned long', 'str']);

/** mount(2); data longer than a page is cut off by the kernel, so the caller sees to that. Returns -1 on failure. */
export function mountFileSystem(
  source: string,
  target: string,
  type: string,
  flags: number,
  data: string,
): number {
  return rawMount(source, target, type, flags, data);
}

/**
 * Mounts `source` at `target`, read-only, with owners as the user namespace of `usernsFd` maps them.
 *
 * @throws SystemError; EINVAL or ENOSYS where the kernel or the file system knows no such mounts
 */
export function mountIdmapped(source: string, target: string, usernsFd: number): void {
  const path = (text: string): Buffer => cString(Buffer.from(text).toString('latin1'));
  const empty = cString('');
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  const tree = openTree(SYS_OPEN_TREE, AT_FDCWD, path(source), flags);
  if (tree === -1) throw new SystemError('open_tree', source, lastErrno());
  try {
    // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    const attributes = new BigUint64Array([
      BigInt(MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY),
      0n,
      BigInt(MS_PRIVATE),
      BigInt(usernsFd),
    ]);
    const set = mountSetattr(
      SYS_MOUNT_SETATTR,
      tree,
      empty,
      AT_EMPTY_PATH,
      attributes,
      attributes.byteLength,
    );
    if (set === -1) throw new SystemError('mount_setattr', source, lastErrno());
    if (moveMount(SYS_MOVE_MOUNT, tree, empty, AT_FDCWD, path(target), MOVE_MOUNT_F_EMPTY_PATH) === -1) {
      throw new SystemError('move_mount', target, lastErrno());
    }
  } finally {
    close(tree);
  }
}

/** Makes one mount read-only, whatever else it is. @throws SystemError */
export function makeReadonly(path: string): void {
  const attributes = new BigUint64Array([BigInt(MOUNT_ATTR_RDONLY), 0n, 0n, 0n]);
  const bytes = cString(Buffer.from(path).toString('latin1'));
  if (mountSetattr(SYS_MOUNT_SETATTR, AT_FDCWD, bytes, 0, attributes, attributes.byteLength) === -1)
    throw new SystemError('mount_setattr', path, lastErrno());
}
