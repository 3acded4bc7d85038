import { spawnSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { extractVmlinux, payloadOf } from './bzimage-payload.js';

const ELF = Buffer.concat([Buffer.from([0x7f, 0x45, 0x4c, 0x46]), Buffer.alloc(300, 7)]);

/** A bzImage with one setup sector and `payload` 16 bytes behind it. */
function image(payload: Buffer): Buffer {
  const header = Buffer.alloc(1024 + 16);
  header[0x1f1] = 1;
  header.writeUInt16LE(0xaa55, 0x1fe);
  header.write('HdrS', 0x202, 'latin1');
  header.writeUInt16LE(0x020f, 0x206);
  header.writeUInt32LE(16, 0x248);
  header.writeUInt32LE(payload.length, 0x24c);
  return Buffer.concat([header, payload]);
}

function withSize(compressed: Buffer): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(ELF.length);
  return Buffer.concat([compressed, size]);
}

test('a gzip payload gives the vmlinux', async () => {
  expect((await extractVmlinux(image(gzipSync(ELF)), 'k')).equals(ELF)).toBe(true);
});

test.each([
  ['lz4', ['-l', '-c']],
  ['xz', ['-c', '--check=crc32']],
  ['zstd', ['-c']],
])(
  'a payload compressed by %s, with the size that the kernel build appends, gives the vmlinux',
  async (tool, args) => {
    const { stdout, status } = spawnSync(tool, args, { input: ELF });
    expect(status).toBe(0);
    expect((await extractVmlinux(image(withSize(stdout)), 'k')).equals(ELF)).toBe(true);
  },
);

test('a file without the header is refused by name', () => {
  expect(() => payloadOf(Buffer.alloc(4096), 'file.img')).toThrow('file.img is not a bzImage');
  expect(() => payloadOf(Buffer.alloc(10), 'file.img')).toThrow('too short');
});

test('a truncated image is refused', () => {
  const whole = image(gzipSync(ELF));
  expect(() => payloadOf(whole.subarray(0, whole.length - 1), 'k')).toThrow('truncated');
});

test('a payload that is not an ELF file is refused', async () => {
  await expect(extractVmlinux(image(gzipSync(Buffer.alloc(100))), 'k')).rejects.toThrow('not an ELF');
});

test('an unknown compression is refused with a hint', async () => {
  await expect(extractVmlinux(image(Buffer.alloc(100)), 'k')).rejects.toMatchObject({
    code: 'BZIMAGE_COMPRESSION',
  });
});

test('whatever the header fields say, the payload lies inside the file or is refused', () => {
  fc.assert(
    fc.property(fc.nat(255), fc.nat(0xffff_ffff), fc.nat(0xffff_ffff), (sectors, offset, length) => {
      const bytes = image(gzipSync(ELF));
      bytes[0x1f1] = sectors;
      bytes.writeUInt32LE(offset, 0x248);
      bytes.writeUInt32LE(length, 0x24c);
      try {
        expect(payloadOf(bytes, 'k').length).toBe(length);
      } catch (error) {
        expect(error).toMatchObject({ code: 'BZIMAGE_INVALID' });
      }
    }),
  );
});
