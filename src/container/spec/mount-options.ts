/**
 * Mount options (config.md, "Linux mount options"; mount(8), "filesystem-independent"): each name with what it sets or clears, as
 * mount(2) flags and as attributes of mount_setattr(2), fsmount(2) and fsconfig(2) (linux/mount.h). A name that the table does not have is the
 * file system's own.
 */

export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  SYNCHRONOUS: 16,
  REMOUNT: 32,
  MANDLOCK: 64,
  DIRSYNC: 128,
  NOSYMFOLLOW: 256,
  NOATIME: 1024,
  NODIRATIME: 2048,
  BIND: 4096,
  MOVE: 8192,
  REC: 16384,
  SILENT: 32768,
  UNBINDABLE: 1 << 17,
  PRIVATE: 1 << 18,
  SLAVE: 1 << 19,
  SHARED: 1 << 20,
  RELATIME: 1 << 21,
  I_VERSION: 1 << 23,
  STRICTATIME: 1 << 24,
  LAZYTIME: 1 << 25,
} as const;

export const MOUNT_ATTR = {
  RDONLY: 0x1,
  NOSUID: 0x2,
  NODEV: 0x4,
  NOEXEC: 0x8,
  /** The field of the next three, which exclude each other. */
  _ATIME: 0x70,
  RELATIME: 0x00,
  NOATIME: 0x10,
  STRICTATIME: 0x20,
  NODIRATIME: 0x80,
  IDMAP: 0x10_0000,
  NOSYMFOLLOW: 0x20_0000,
} as const;

/** What an option changes of one mount: bits of MOUNT_ATTR_*. The access time is a field: setting it clears its other values. */
interface Attribute {
  readonly set?: number;
  readonly clear?: number;
}

interface Option {
  /** Flag of mount(2) that is set, or cleared. */
  readonly flag?: number;
  readonly clearFlag?: number;
  readonly attribute?: Attribute;
  /** What fsconfig(2) calls it, where it belongs to the superblock. */
  readonly superblock?: string;
  /** Only mount(2) can ask for it. */
  readonly onlyMount2?: boolean;
}

const A = MOUNT_ATTR;
const relatime: Attribute = { set: A.RELATIME, clear: A._ATIME };
const noatime: Attribute = { set: A.NOATIME, clear: A._ATIME };
const strictatime: Attribute = { set: A.STRICTATIME, clear: A._ATIME };

const PLAIN: Readonly<Record<string, Option>> = {
  defaults: {},
  ro: { flag: MS.RDONLY, attribute: { set: A.RDONLY }, superblock: 'ro' },
  rw: { clearFlag: MS.RDONLY, attribute: { clear: A.RDONLY }, superblock: 'rw' },
  nosuid: { flag: MS.NOSUID, attribute: { set: A.NOSUID } },
  suid: { clearFlag: MS.NOSUID, attribute: { clear: A.NOSUID } },
  nodev: { flag: MS.NODEV, attribute: { set: A.NODEV } },
  dev: { clearFlag: MS.NODEV, attribute: { clear: A.NODEV } },
  noexec: { flag: MS.NOEXEC, attribute: { set: A.NOEXEC } },
  exec: { clearFlag: MS.NOEXEC, attribute: { clear: A.NOEXEC } },
  nosymfollow: { flag: MS.NOSYMFOLLOW, attribute: { set: A.NOSYMFOLLOW } },
  symfollow: { clearFlag: MS.NOSYMFOLLOW, attribute: { clear: A.NOSYMFOLLOW } },
  nodiratime: { flag: MS.NODIRATIME, attribute: { set: A.NODIRATIME } },
  diratime: { clearFlag: MS.NODIRATIME, attribute: { clear: A.NODIRATIME } },
  // relatime is the kernel's default: what switches another off, leaves relatime.
  noatime: { flag: MS.NOATIME, attribute: noatime },
  atime: { clearFlag: MS.NOATIME, attribute: relatime },
  relatime: { flag: MS.RELATIME, attribute: relatime },
  norelatime: { clearFlag: MS.RELATIME },
  strictatime: { flag: MS.STRICTATIME, attribute: strictatime },
  nostrictatime: { clearFlag: MS.STRICTATIME, attribute: relatime },
  sync: { flag: MS.SYNCHRONOUS, superblock: 'sync' },
  async: { clearFlag: MS.SYNCHRONOUS, superblock: 'async' },
  dirsync: { flag: MS.DIRSYNC, superblock: 'dirsync' },
  lazytime: { flag: MS.LAZYTIME, superblock: 'lazytime' },
  nolazytime: { clearFlag: MS.LAZYTIME, superblock: 'nolazytime' },
  mand: { flag: MS.MANDLOCK, superblock: 'mand' },
  nomand: { clearFlag: MS.MANDLOCK, superblock: 'nomand' },
  iversion: { flag: MS.I_VERSION, onlyMount2: true },
  noiversion: { clearFlag: MS.I_VERSION },
  silent: { flag: MS.SILENT, onlyMount2: true },
  loud: { clearFlag: MS.SILENT },
};

/** Attributes of a whole tree of mounts (AT_RECURSIVE; Linux 5.12). */
const RECURSIVE: Readonly<Record<string, Attribute>> = {
  rro: { set: A.RDONLY },
  rrw: { clear: A.RDONLY },
  rnosuid: { set: A.NOSUID },
  rsuid: { clear: A.NOSUID },
  rnodev: { set: A.NODEV },
  rdev: { clear: A.NODEV },
  rnoexec: { set: A.NOEXEC },
  rexec: { clear: A.NOEXEC },
  rnosymfollow: { set: A.NOSYMFOLLOW },
  rsymfollow: { clear: A.NOSYMFOLLOW },
  rnodiratime: { set: A.NODIRATIME },
  rdiratime: { clear: A.NODIRATIME },
  rnoatime: noatime,
  ratime: relatime,
  rrelatime: relatime,
  rnorelatime: {},
  rstrictatime: strictatime,
  rnostrictatime: relatime,
};

const PROPAGATION: Readonly<Record<string, number>> = {
  private: MS.PRIVATE,
  rprivate: MS.PRIVATE | MS.REC,
  slave: MS.SLAVE,
  rslave: MS.SLAVE | MS.REC,
  shared: MS.SHARED,
  rshared: MS.SHARED | MS.REC,
  unbindable: MS.UNBINDABLE,
  runbindable: MS.UNBINDABLE | MS.REC,
};

const SPECIAL = ['bind', 'rbind', 'remount', 'idmap', 'ridmap', 'tmpcopyup'] as const;

/** Every option that is understood here, for `features`. */
export const MOUNT_OPTION_NAMES: readonly string[] = [
  ...Object.keys(PLAIN),
  ...Object.keys(RECURSIVE),
  ...Object.keys(PROPAGATION),
  ...SPECIAL,
].sort();

/** The MS_* flags of a propagation's name: `rslave`. */
export function propagationFlags(name: string): number | undefined {
  return Object.hasOwn(PROPAGATION, name) ? PROPAGATION[name] : undefined;
}

/** What a list of options comes to. Later options win over earlier ones. */
export interface MountOptions {
  readonly bind?: 'one' | 'recursive';
  readonly remount: boolean;
  readonly idmap?: 'one' | 'recursive';
  readonly tmpcopyup: boolean;
  /** MS_* for mount(2), without MS_BIND and MS_REMOUNT. */
  readonly flags: number;
  /** For mount_setattr(2); a set and a cleared bit never meet but in the access time's field. */
  readonly attributes: { readonly set: number; readonly clear: number };
  readonly recursive: { readonly set: number; readonly clear: number };
  /** Flags for fsconfig(2), in the order given. */
  readonly superblock: readonly string[];
  /** MS_* propagation changes, in the order given. */
  readonly propagation: readonly number[];
  /** The file system's own options, in the order given. */
  readonly data: readonly string[];
  /** Something was asked for that fsconfig(2) has no word for. */
  readonly onlyMount2: boolean;
}

function apply(target: { set: number; clear: number }, { set = 0, clear = 0 }: Attribute): void {
  target.set = (target.set & ~clear) | set;
  // The access time's field is cleared as a whole wherever it is touched, as mount_setattr(2) demands.
  target.clear = (target.clear & ~set) | clear;
  if (((target.set | target.clear) & A._ATIME) !== 0) target.clear |= A._ATIME;
}

/** Reads a mount's options. Never fails: what the table does not have is data. */
export function parseMountOptions(options: readonly string[]): MountOptions {
  let bind: MountOptions['bind'];
  let idmap: MountOptions['idmap'];
  let remount = false;
  let tmpcopyup = false;
  let onlyMount2 = false;
  let flags = 0;
  const attributes = { set: 0, clear: 0 };
  const recursive = { set: 0, clear: 0 };
  const superblock = new Set<string>();
  const propagation: number[] = [];
  const data: string[] = [];
  for (const name of options) {
    const plain = Object.hasOwn(PLAIN, name) ? PLAIN[name] : undefined;
    const tree = Object.hasOwn(RECURSIVE, name) ? RECURSIVE[name] : undefined;
    const propagate = propagationFlags(name);
    if (plain !== undefined) {
      flags = (flags & ~(plain.clearFlag ?? 0)) | (plain.flag ?? 0);
      if (plain.attribute !== undefined) apply(attributes, plain.attribute);
      if (plain.superblock !== undefined) superblock.add(plain.superblock);
      if (plain.onlyMount2 === true) onlyMount2 = true;
    } else if (tree !== undefined) apply(recursive, tree);
    else if (propagate !== undefined) propagation.push(propagate);
    else if (name === 'bind') bind ??= 'one';
    else if (name === 'rbind') bind = 'recursive';
    else if (name === 'idmap') idmap ??= 'one';
    else if (name === 'ridmap') idmap = 'recursive';
    else if (name === 'remount') remount = true;
    else if (name === 'tmpcopyup') tmpcopyup = true;
    // An empty option (`"options": [""]`) says nothing, as in fstab(5).
    else if (name !== '') data.push(name);
  }
  return {
    ...(bind === undefined ? {} : { bind }),
    ...(idmap === undefined ? {} : { idmap }),
    remount,
    tmpcopyup,
    flags,
    attributes,
    recursive,
    superblock: [...superblock],
    propagation,
    data,
    onlyMount2,
  };
}
