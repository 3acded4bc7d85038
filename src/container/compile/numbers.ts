/** Constants of system calls, by the names that the headers give them (linux/fcntl.h, openat2.h, mount.h, prctl.h, magic.h; asm-generic). */

export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  NOCTTY: 0o400,
  NONBLOCK: 0o4000,
  DIRECTORY: 0o200000,
  NOFOLLOW: 0o400000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
} as const;

export const RESOLVE = { NO_XDEV: 1, NO_MAGICLINKS: 2, NO_SYMLINKS: 4, BENEATH: 8, IN_ROOT: 16 } as const;

export const AT = { FDCWD: -100, SYMLINK_NOFOLLOW: 0x100, EMPTY_PATH: 0x1000, RECURSIVE: 0x8000 } as const;

export const OPEN_TREE_CLONE = 1;
export const MOVE_MOUNT = { F_EMPTY_PATH: 4, T_SYMLINKS: 0x10, T_EMPTY_PATH: 0x40 } as const;
export const FSCONFIG = { SET_FLAG: 0, SET_STRING: 1, CMD_CREATE: 6, CMD_RECONFIGURE: 7 } as const;
export const FSPICK = { CLOEXEC: 1, EMPTY_PATH: 8 } as const;
/** strndup_user of fsconfig(2): longer values need mount(2). */
export const MAX_FSCONFIG_VALUE = 255;
export const MNT_DETACH = 2;

export const S = {
  IFMT: 0o170000,
  IFIFO: 0o010000,
  IFCHR: 0o020000,
  IFDIR: 0o040000,
  IFBLK: 0o060000,
  IFREG: 0o100000,
  ISVTX: 0o1000,
} as const;

/** linux/magic.h: f_type of statfs(2). */
export const MAGIC = { PROC: 0x9fa0, DEVPTS: 0x1cd1 } as const;

export const PR = {
  SET_DUMPABLE: 4,
  SET_KEEPCAPS: 8,
  CAPBSET_DROP: 24,
  SET_NO_NEW_PRIVS: 38,
  CAP_AMBIENT: 47,
} as const;
export const PR_CAP_AMBIENT = { RAISE: 2, CLEAR_ALL: 4 } as const;

export const KEYCTL = { JOIN_SESSION_KEYRING: 1, SETPERM: 5 } as const;

/** asm-generic/ioctls.h, linux/sockios.h */
export const IOCTL = {
  TCSETS: 0x5402,
  TIOCSCTTY: 0x540e,
  TIOCSWINSZ: 0x5414,
  TIOCSPTLCK: 0x40045431,
  TIOCGPTPEER: 0x5441,
  SIOCSIFFLAGS: 0x8914,
} as const;

export const SECCOMP_SET_MODE_FILTER = 1;
export const PER = { LINUX: 0, LINUX32: 8 } as const;

/** struct stat of x86-64. */
export const STAT = { size: 144, nlink: 16, mode: 24, uid: 28, rdev: 40 } as const;
/** struct statfs of x86-64. */
export const STATFS = { size: 120, type: 0 } as const;

/** dev_t as mknod(2) and st_rdev have it (linux/kdev_t.h, new_encode_dev). */
export function makedev(major: number, minor: number): number {
  return (minor & 0xff) | (major << 8) | ((minor & ~0xff) * 2 ** 12);
}
