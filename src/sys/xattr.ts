/** Reading extended attributes of an open file, also of one that was opened with O_PATH: through its link in /proc/self/fd. */
import { cString, procPath } from './at.js';
import { declare, type Pointer } from './libc.js';

const rawListxattr = declare<(path: Pointer, list: Pointer, size: number) => number>('listxattr', 'int64_t', [
  'void *',
  'void *',
  'size_t',
]);
const rawGetxattr = declare<(path: Pointer, name: Pointer, value: Pointer, size: number) => number>(
  'getxattr',
  'int64_t',
  ['void *', 'void *', 'void *', 'size_t'],
);

/** XATTR_LIST_MAX and XATTR_SIZE_MAX of <linux/limits.h>. */
const MAX = 65536;

/** Names of a file's attributes, as byte strings; none where the file system has none. */
export function xattrNames(fd: number): string[] {
  const path = cString(procPath(fd));
  // Most files have none: asking for the size alone is enough.
  if (rawListxattr(path, null, 0) <= 0) return [];
  const list = Buffer.alloc(MAX);
  const length = rawListxattr(path, list, list.length);
  if (length <= 0) return [];
  return list
    .toString('latin1', 0, length)
    .split('\0')
    .filter((name) => name !== '');
}

/** The value of an attribute; undefined where it is gone. */
export function xattrValue(fd: number, name: string): Buffer | undefined {
  const value = Buffer.alloc(MAX);
  const length = rawGetxattr(cString(procPath(fd)), cString(name), value, value.length);
  return length === -1 ? undefined : Buffer.from(value.subarray(0, length));
}
