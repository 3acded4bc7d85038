/**
 * Raw disk images and block devices: opening, measuring and locking, on the control thread.
 *
 * The lock is an open-file-description lock on the whole file (fcntl_locking(2), F_OFD_SETLK): a writer excludes everybody, readers share.
 * It ends with the last descriptor, however the process dies, and the byte-range locks that QEMU takes on its images conflict with it. A size
 * that is no multiple of a sector is rounded down with a warning: the guest then sees only what it can also write back.
 */
import { type BigIntStats, constants, fstatSync, statfsSync, statSync } from 'node:fs';
import { constants as os } from 'node:os';
import { errnoName, SystemError, TvmmError } from '../../sys/errors.js';
import { FileDescriptor } from '../../sys/fd.js';
import { check, fallocate, fcntlPointer, ioctlPointer, lastErrno, preadv2 } from '../../sys/libc.js';
import { Mapping } from '../../sys/mapping.js';
import { lockHolder } from './disk-lock-holder.js';

/** The unit of virtio-blk's sectors and of `capacity` (section 5.2.4), whatever the image's own block size is. */
export const SECTOR_SIZE = 512;

/** <linux/fs.h> */
const BLKSSZGET = 0x1268;
const BLKGETSIZE64 = 0x8008_1272;
/** <linux/falloc.h> */
export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;
export const FALLOC_FL_ZERO_RANGE = 16;
/** <linux/fcntl.h> and struct flock on x86-64: l_type (s16) at 0, l_whence at 2, l_start at 8, l_len at 16, l_pid at 24. */
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const FLOCK_SIZE = 32;
/** <linux/magic.h> */
const TMPFS_MAGIC = 0x0102_1994;
const RAMFS_MAGIC = 0x8584_58f6;
const OVERLAYFS_SUPER_MAGIC = 0x794c_7630;
/** <linux/fs.h>: fail with EAGAIN instead of waiting. */
export const RWF_NOWAIT = 8;

/** A disk that cannot be used. */
export class DiskImageError extends TvmmError {}

export interface DiskImageOptions {
  /** The guest may not write; the image is opened read-only and shared with other readers. */
  readOnly?: boolean;
}

/**
 * How long a transfer may keep its caller waiting, which decides what the I/O thread does by itself: `memory` never waits (tmpfs);
 * `cached` can say so instead of waiting (RWF_NOWAIT of preadv2(2)); `local` cannot, but stands on a disk of this host (overlayfs); `unknown`
 * is everything else, network file systems among it.
 */
export type DiskMedium = 'memory' | 'cached' | 'local' | 'unknown';

/** What the device model and the I/O thread need to know; plain data, the same on every thread. */
export interface DiskInfo {
  /** For messages. */
  readonly path: string;
  /** Owned by the {@link DiskImage}. */
  readonly fd: number;
  /** Units of 512 bytes. */
  readonly sectors: number;
  readonly readOnly: boolean;
  /** The unit that the medium handles at once, in bytes: 512 for files. */
  readonly blockSize: number;
  /** Whether holes can be punched: what DISCARD needs. */
  readonly discard: boolean;
  readonly medium: DiskMedium;
}

/** An open, locked image. Disposing closes it, which unlocks it. */
export class DiskImage implements Disposable {
  readonly #file: FileDescriptor;
  readonly info: DiskInfo;
  /** Sentences for the user's log. */
  readonly warnings: readonly string[];

  private constructor(file: FileDescriptor, info: DiskInfo, warnings: readonly string[]) {
    this.#file = file;
    this.info = info;
    this.warnings = warnings;
  }

  /**
   * Opens and locks `path`.
   *
   * @throws DiskImageError with code DISK_NOT_FOUND, DISK_NOT_PERMITTED, DISK_READ_ONLY, DISK_IS_DIRECTORY, DISK_NOT_A_DISK, DISK_EMPTY,
   * DISK_LOCKED or DISK_UNUSABLE
   */
  static open(path: string, options: DiskImageOptions = {}): DiskImage {
    const readOnly = options.readOnly === true;
    // Looked at before it is opened: opening a FIFO would wait for its other end.
    const isDevice = kindOf(path, statOf(path)) === 'device';
    const file = openDisk(path, readOnly, isDevice);
    try {
      kindOf(path, fstatSync(file.fd, { bigint: true }));
      lock(file.fd, path, readOnly);
      const warnings: string[] = [];
      const blockSize = isDevice ? Math.max(deviceBlockSize(file.fd, path), SECTOR_SIZE) : SECTOR_SIZE;
      // Measured under the lock: nobody who respects it resizes the image from now on.
      const size = isDevice ? deviceSize(file.fd, path) : fstatSync(file.fd).size;
      const sectors = wholeSectors(path, size, warnings);
      const discard = !readOnly && canPunchHoles(file.fd, size, isDevice);
      const medium = mediumOf(file.fd, isDevice);
      const info = { path, fd: file.fd, sectors, readOnly, blockSize, discard, medium };
      return new DiskImage(file, info, warnings);
    } catch (error) {
      file[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}

function refuse(path: string, code: string, why: string, hint: string, cause?: unknown): DiskImageError {
  return new DiskImageError(`the disk image ${path} ${why}`, { code, hint, cause });
}

function statOf(path: string): BigIntStats {
  try {
    return statSync(path, { bigint: true });
  } catch (error) {
    throw openError(path, error instanceof Error && 'errno' in error ? -Number(error.errno) : 0, true, error);
  }
}

function kindOf(path: string, stats: BigIntStats): 'file' | 'device' {
  if (stats.isFile()) return 'file';
  if (stats.isBlockDevice()) return 'device';
  if (stats.isDirectory()) {
    throw refuse(path, 'DISK_IS_DIRECTORY', 'is a directory', 'Give a raw image file or a block device.');
  }
  throw refuse(
    path,
    'DISK_NOT_A_DISK',
    'is neither a regular file nor a block device',
    'Give a raw image file or a block device.',
  );
}

function openDisk(path: string, readOnly: boolean, isDevice: boolean): FileDescriptor {
  // O_EXCL on a block device fails where the host has it mounted: two systems writing one file system destroy it.
  const exclusive = isDevice && !readOnly ? constants.O_EXCL : 0;
  try {
    return FileDescriptor.open(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | exclusive);
  } catch (error) {
    throw openError(path, error instanceof SystemError ? error.errno : 0, readOnly, error);
  }
}

function openError(path: string, errno: number, readOnly: boolean, cause: unknown): DiskImageError {
  switch (errnoName(errno)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return refuse(
        path,
        'DISK_NOT_FOUND',
        'does not exist',
        'Check the path; it is resolved from here.',
        cause,
      );
    case 'EROFS':
    case 'ETXTBSY':
      return refuse(path, 'DISK_READ_ONLY', 'cannot be written', 'Add ",ro" to attach it read-only.', cause);
    case 'EACCES':
    case 'EPERM': {
      const verb = readOnly ? 'read' : 'read and written';
      const hint = readOnly ? 'Check its permissions.' : 'Check its permissions, or add ",ro".';
      return refuse(path, 'DISK_NOT_PERMITTED', `may not be ${verb} by this user`, hint, cause);
    }
    case 'EBUSY':
      return refuse(
        path,
        'DISK_LOCKED',
        'is in use by this host',
        'Unmount it, or attach it with ",ro".',
        cause,
      );
    default:
      return refuse(
        path,
        'DISK_UNUSABLE',
        `cannot be opened (${errnoName(errno)})`,
        'Check the path.',
        cause,
      );
  }
}

function lock(fd: number, path: string, readOnly: boolean): void {
  const flock = new DataView(new ArrayBuffer(FLOCK_SIZE));
  // From 0, length 0: to the end, however far that moves.
  flock.setInt16(0, readOnly ? F_RDLCK : F_WRLCK, true);
  if (fcntlPointer(fd, F_OFD_SETLK, flock) === 0) return;
  const errno = lastErrno();
  const cause = new SystemError('fcntl F_OFD_SETLK', path, errno);
  if (errno !== os.errno.EAGAIN && errno !== os.errno.EACCES) {
    throw refuse(path, 'DISK_UNUSABLE', 'cannot be locked', 'Use a file system with file locks.', cause);
  }
  const holder = lockHolder(fd);
  let by = 'is in use by another machine';
  if (holder?.pid === process.pid) by = 'is already in use by this process, as another drive';
  else if (holder !== undefined) by = `is in use by process ${holder.pid} (${holder.command})`;
  const hint = 'Stop the other machine, give each its own copy, or attach it to all of them with ",ro".';
  throw refuse(path, 'DISK_LOCKED', by, hint, cause);
}

function deviceSize(fd: number, path: string): number {
  const size = new BigUint64Array(1);
  check(ioctlPointer(fd, BLKGETSIZE64, size), 'BLKGETSIZE64', path);
  return Number(size[0]);
}

function deviceBlockSize(fd: number, path: string): number {
  const size = new Int32Array(1);
  check(ioctlPointer(fd, BLKSSZGET, size), 'BLKSSZGET', path);
  return size[0];
}

function wholeSectors(path: string, size: number, warnings: string[]): number {
  const sectors = Math.floor(size / SECTOR_SIZE);
  if (sectors === 0) {
    const what = size === 0 ? 'is empty' : `has only ${size} bytes, less than a sector`;
    throw refuse(path, 'DISK_EMPTY', what, 'Give it a size first: truncate -s 1G FILE.');
  }
  const rest = size % SECTOR_SIZE;
  if (rest !== 0) {
    warnings.push(
      `the last ${rest} bytes of the disk image ${path} are not a whole sector: the guest does not see them`,
    );
  }
  return sectors;
}

/** Punches a hole behind the end of a file: touches nothing, and says whether the file system can do it. */
function canPunchHoles(fd: number, size: number, isDevice: boolean): boolean {
  if (isDevice) return true;
  return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, size, SECTOR_SIZE) === 0;
}

function mediumOf(fd: number, isDevice: boolean): DiskMedium {
  // A device node lies on a tmpfs itself: only files are asked where they are.
  const type = isDevice ? 0 : statfsSync(`/proc/self/fd/${fd}`).type;
  if (type === TMPFS_MAGIC || type === RAMFS_MAGIC) return 'memory';
  using memory = Mapping.anonymous(4096, 'disk probe');
  new BigUint64Array(memory.view()).set([BigInt(memory.address + 64), 1n]);
  if (preadv2(fd, memory.address, 1, 0, RWF_NOWAIT) >= 0 || lastErrno() === os.errno.EAGAIN) return 'cached';
  return type === OVERLAYFS_SUPER_MAGIC ? 'local' : 'unknown';
}
