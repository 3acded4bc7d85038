/**
 * Takes the vmlinux ELF out of a bzImage (Documentation/x86/boot.rst, "payload_offset", "payload_length"), so that the
 * kernel can be entered through PVH without running its own decompressor. Header fields are untrusted and bounds-checked.
 */
import { gunzipSync } from 'node:zlib';
import { TvmmError } from '../sys/errors.js';
import { runCommand } from './command.js';
import { decompressLz4Legacy } from './lz4.js';

/** The bzImage, or its payload, is not what it claims to be. */
export class BzImageError extends TvmmError {}

/** Offsets in the setup header (boot.rst, "The Real-Mode Kernel Header"). */
const SETUP_SECTS = 0x1f1;
const BOOT_FLAG = 0x1fe;
const HEADER = 0x202; // "HdrS"
const VERSION = 0x206;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const HEADER_END = 0x250;
/** payload_offset came with boot protocol 2.08. */
const PAYLOAD_PROTOCOL = 0x0208;
const SECTOR = 512;
/** No kernel is near this; a lying compressed stream must not fill our memory. */
const VMLINUX_LIMIT = 1024 * 1024 * 1024;

type Compression = 'none' | 'gzip' | 'lz4' | 'xz' | 'zstd';

/** Leading bytes of each format. */
const MAGICS: readonly [Compression, readonly number[]][] = [
  ['none', [0x7f, 0x45, 0x4c, 0x46]],
  ['gzip', [0x1f, 0x8b, 0x08]],
  ['lz4', [0x02, 0x21, 0x4c, 0x18]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
];

/** The compressed payload of a bzImage, with the kernel build's 4-byte size trailer still on it. */
export function payloadOf(image: Uint8Array, name: string): Uint8Array {
  const refuse = (what: string): never => {
    throw new BzImageError(`${name} ${what}`, {
      code: 'BZIMAGE_INVALID',
      hint: 'give a bzImage (often called vmlinuz) of an x86-64 kernel',
    });
  };
  if (image.length < HEADER_END) return refuse(`is too short for a bzImage (${image.length} bytes)`);
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  if (view.getUint16(BOOT_FLAG, true) !== 0xaa55 || view.getUint32(HEADER, true) !== 0x53726448) {
    return refuse('is not a bzImage: it has no boot flag and "HdrS" signature');
  }
  if (view.getUint16(VERSION, true) < PAYLOAD_PROTOCOL) return refuse('is older than boot protocol 2.08');
  // Zero means four, for the sake of very old boot loaders.
  const sectors = view.getUint8(SETUP_SECTS) || 4;
  const start = (sectors + 1) * SECTOR + view.getUint32(PAYLOAD_OFFSET, true);
  const length = view.getUint32(PAYLOAD_LENGTH, true);
  if (length < 8 || start > image.length || length > image.length - start) {
    return refuse('is truncated, or lies about where its payload is');
  }
  return image.subarray(start, start + length);
}

/** The ELF vmlinux inside a bzImage. `name` appears in errors. Throws {@link BzImageError}. */
export async function extractVmlinux(image: Uint8Array, name: string): Promise<Buffer> {
  const payload = payloadOf(image, name);
  const format = MAGICS.find(([, magic]) => magic.every((byte, i) => payload[i] === byte))?.[0];
  if (format === undefined) {
    throw new BzImageError(`${name} is compressed in a way that is not known here`, {
      code: 'BZIMAGE_COMPRESSION',
      hint: 'gzip, LZ4, xz and zstd are known; give its vmlinux instead',
    });
  }
  let vmlinux: Buffer;
  try {
    vmlinux = await decompress(format, payload);
  } catch (cause) {
    if (cause instanceof TvmmError && cause.code === 'COMMAND_MISSING') throw cause;
    throw new BzImageError(`the ${format} payload of ${name} cannot be decompressed`, {
      code: 'BZIMAGE_DAMAGED',
      cause,
    });
  }
  if (vmlinux.length < 64 || vmlinux.readUInt32BE(0) !== 0x7f454c46) {
    throw new BzImageError(`the payload of ${name} is not an ELF file`, { code: 'BZIMAGE_DAMAGED' });
  }
  return vmlinux;
}

function decompress(format: Compression, payload: Uint8Array): Promise<Buffer> | Buffer {
  // The kernel build appends the decompressed size; gzip ends with one of its own, so nothing is appended there.
  const data = payload.subarray(0, payload.length - 4);
  switch (format) {
    case 'none':
      return Buffer.from(payload);
    case 'gzip':
      return gunzipSync(payload, { maxOutputLength: VMLINUX_LIMIT });
    case 'lz4':
      return decompressLz4Legacy(data, VMLINUX_LIMIT);
    case 'xz':
      return runCommand('xz', ['-dc'], { input: data, maxOutput: VMLINUX_LIMIT });
    case 'zstd':
      return runCommand('zstd', ['-dc'], { input: data, maxOutput: VMLINUX_LIMIT });
  }
}
