/**
 * What a file that is no kernel looks like, so that the refusal names it: most such mistakes are a compressed file,
 * a kernel for another machine, or an initrd and a kernel that changed places.
 *
 * Magic numbers only; it never decides that something is a kernel.
 */

import { notAKernel } from './elf.js';
import { type KernelError, KernelError as KernelErrorClass } from './errors.js';
import type { ByteSource } from './source.js';

interface Signature {
  readonly offset: number;
  readonly magic: string | readonly number[];
  readonly name: string;
  readonly hint?: string;
}

const DECOMPRESS = 'decompress it first; a bzImage unpacks itself and needs no such step';
const SWAPPED = 'an initrd goes to --initrd; give the kernel to --kernel';
const OTHER_MACHINE = 'use a kernel built for x86-64';

/** Ascending by how much a match says: machine-specific kernels before the generic containers that they start as. */
const SIGNATURES: readonly Signature[] = [
  { offset: 0x38, magic: 'ARMd', name: 'kernel Image for arm64', hint: OTHER_MACHINE },
  { offset: 0x38, magic: 'RSC\x05', name: 'kernel Image for RISC-V', hint: OTHER_MACHINE },
  { offset: 0x24, magic: [0x18, 0x28, 0x6f, 0x01], name: 'zImage for 32-bit Arm', hint: OTHER_MACHINE },
  {
    offset: 4,
    magic: 'zimg',
    name: 'kernel packed as EFI zboot image for another machine',
    hint: OTHER_MACHINE,
  },
  {
    offset: 0,
    magic: [0x27, 0x05, 0x19, 0x56],
    name: 'U-Boot image (uImage)',
    hint: 'give the kernel inside it',
  },
  { offset: 0, magic: [0x1f, 0x8b], name: 'gzip file', hint: DECOMPRESS },
  { offset: 0, magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], name: 'xz file', hint: DECOMPRESS },
  { offset: 0, magic: [0x28, 0xb5, 0x2f, 0xfd], name: 'zstd file', hint: DECOMPRESS },
  { offset: 0, magic: [0x04, 0x22, 0x4d, 0x18], name: 'LZ4 file', hint: DECOMPRESS },
  { offset: 0, magic: [0x02, 0x21, 0x4c, 0x18], name: 'LZ4 file', hint: DECOMPRESS },
  { offset: 0, magic: 'BZh', name: 'bzip2 file', hint: DECOMPRESS },
  { offset: 0, magic: [0x5d, 0x00, 0x00], name: 'LZMA file', hint: DECOMPRESS },
  { offset: 0, magic: '070701', name: 'cpio archive (an initramfs)', hint: SWAPPED },
  { offset: 0, magic: '070702', name: 'cpio archive (an initramfs)', hint: SWAPPED },
  {
    offset: 0,
    magic: '!<arch>\n',
    name: 'package or library (ar archive)',
    hint: 'unpack it and give the kernel inside',
  },
  { offset: 257, magic: 'ustar', name: 'tar archive', hint: 'unpack it and give the kernel inside' },
  { offset: 0, magic: 'PK\x03\x04', name: 'zip archive', hint: 'unpack it and give the kernel inside' },
  { offset: 0, magic: 'QFI\xfb', name: 'qcow2 disk image', hint: 'a disk goes to --rootfs or --drive' },
  { offset: 0, magic: 'hsqs', name: 'squashfs image', hint: 'a root file system goes to --rootfs' },
  {
    offset: 0x438,
    magic: [0x53, 0xef],
    name: 'ext file system image',
    hint: 'a root file system goes to --rootfs',
  },
  {
    offset: 0x400,
    magic: [0xe2, 0xe1, 0xf5, 0xe0],
    name: 'EROFS image',
    hint: 'a root file system goes to --rootfs',
  },
  { offset: 0, magic: '#!', name: 'script' },
  {
    offset: 0,
    magic: 'MZ',
    name: 'EFI or DOS program without a Linux boot header',
    hint: 'give the vmlinuz itself, not a loader or a unified image',
  },
  { offset: 0, magic: [0x7f, 0x45, 0x4c, 0x46], name: 'truncated ELF file' },
  {
    offset: 510,
    magic: [0x55, 0xaa],
    name: 'disk image or boot sector',
    hint: 'a disk goes to --drive; a boot sector can be loaded as a flat binary',
  },
];

/** The refusal for a source that is neither an ELF file nor a bzImage. */
export function describeNonKernel(source: ByteSource): KernelError {
  if (source.size === 0) {
    return new KernelErrorClass(`the kernel "${source.name}" is empty`, {
      code: 'KERNEL_EMPTY',
      hint: 'copy or build the file again',
    });
  }
  const head = source.read(0, Math.min(source.size, 0x1000));
  const hit = SIGNATURES.find((signature) => matches(head, signature));
  if (hit !== undefined) return notAKernel(source.name, hit.name, hit.hint);
  if (head.every((byte) => byte === 0)) return notAKernel(source.name, 'file of zeros');
  if (head.every(isTextByte)) return notAKernel(source.name, 'text file');
  return notAKernel(source.name, 'file of unknown kind (neither ELF nor bzImage)');
}

function matches(head: Uint8Array, { offset, magic }: Signature): boolean {
  const bytes = typeof magic === 'string' ? [...magic].map((char) => char.charCodeAt(0)) : magic;
  return head.length >= offset + bytes.length && bytes.every((byte, index) => head[offset + index] === byte);
}

/** Printable ASCII, white space, or part of a UTF-8 sequence. */
function isTextByte(byte: number): boolean {
  return (byte >= 0x20 && byte !== 0x7f) || (byte >= 0x09 && byte <= 0x0d);
}
