/** Device numbers: as stat(2) gives them through Node, and as mknod(2) takes them. */

/** Major and minor of a dev_t as glibc encodes it (gnu_dev_major(3)). */
export function deviceNumbers(rdev: number): { major: number; minor: number } {
  const device = BigInt(rdev);
  return {
    major: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn)),
    minor: Number((device & 0xffn) | ((device >> 12n) & ~0xffn & 0xffffffffn)),
  };
}

/** new_encode_dev() of <linux/kdev_t.h>; undefined for numbers that no device has. */
export function encodeDevice(major: number, minor: number): number | undefined {
  if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff) return undefined;
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
