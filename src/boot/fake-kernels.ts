/**
 * Kernels for tests: the smallest files that a loader accepts, field by field, so that a test can spoil one of them.
 */
import { SETUP_HEADER } from './bzimage.js';

export interface FakeSegment {
  readonly type?: number;
  readonly paddr: number;
  readonly vaddr?: number;
  readonly data: Uint8Array;
  readonly memsz?: number;
  readonly offset?: number;
  readonly filesz?: number;
}

export interface FakeElf {
  readonly bits?: 32 | 64;
  readonly entry: number;
  readonly segments: readonly FakeSegment[];
  readonly type?: number;
  readonly machine?: number;
}

/** An ELF executable: headers, then each segment's data at the next 16-byte boundary. */
export function fakeElf({ bits = 64, entry, segments, type = 2, machine }: FakeElf): Uint8Array {
  const [ehsize, phentsize] = bits === 64 ? [64, 56] : [52, 32];
  let end = ehsize + segments.length * phentsize;
  const offsets = segments.map((segment) => {
    const offset = Math.ceil(end / 16) * 16;
    end = offset + segment.data.length;
    return offset;
  });
  const bytes = new Uint8Array(end);
  const view = new DataView(bytes.buffer);
  const word = (at: number, value: number) => view.setUint32(at, value, true);
  const long = (at: number, value: number) => view.setBigUint64(at, BigInt(value), true);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, bits === 64 ? 2 : 1, 1, 1]);
  view.setUint16(16, type, true);
  view.setUint16(18, machine ?? (bits === 64 ? 62 : 3), true);
  word(20, 1);
  if (bits === 64) {
    long(24, entry);
    long(32, ehsize);
  } else {
    word(24, entry);
    word(28, ehsize);
  }
  const tail = bits === 64 ? 52 : 40;
  view.setUint16(tail, ehsize, true);
  view.setUint16(tail + 2, phentsize, true);
  view.setUint16(tail + 4, segments.length, true);
  segments.forEach((segment, index) => {
    const at = ehsize + index * phentsize;
    const offset = segment.offset ?? offsets[index] ?? 0;
    const filesz = segment.filesz ?? segment.data.length;
    const memsz = segment.memsz ?? segment.data.length;
    const vaddr = segment.vaddr ?? segment.paddr;
    word(at, segment.type ?? 1);
    if (bits === 64) {
      word(at + 4, 7);
      [offset, vaddr, segment.paddr, filesz, memsz, 16].forEach((value, field) => {
        long(at + 8 + field * 8, value);
      });
    } else {
      [offset, vaddr, segment.paddr, filesz, memsz, 7, 16].forEach((value, field) => {
        word(at + 4 + field * 4, value);
      });
    }
    bytes.set(segment.data, offsets[index]);
  });
  return bytes;
}

/** One ELF note: name and descriptor padded to 4 bytes. */
export function fakeNote(name: string, type: number, desc: Uint8Array): Uint8Array {
  const padded = (size: number) => Math.ceil(size / 4) * 4;
  const nameBytes = new TextEncoder().encode(`${name}\0`);
  const bytes = new Uint8Array(12 + padded(nameBytes.length) + padded(desc.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, nameBytes.length, true);
  view.setUint32(4, desc.length, true);
  view.setUint32(8, type, true);
  bytes.set(nameBytes, 12);
  bytes.set(desc, 12 + padded(nameBytes.length));
  return bytes;
}

/** The PT_NOTE segment with the PVH entry, as a 64-bit vmlinux has it: behind another note, 8 bytes wide. */
export function pvhNoteSegment(entry: number, width: 4 | 8 = 8): FakeSegment {
  const desc = new Uint8Array(width);
  new DataView(desc.buffer).setUint32(0, entry, true);
  const notes = [fakeNote('GNU', 3, Uint8Array.of(1, 2, 3, 4, 5)), fakeNote('Xen', 18, desc)];
  return { type: 4, paddr: 0, data: Uint8Array.from(notes.flatMap((note) => [...note])), memsz: 0 };
}

/** A 64-bit kernel with a PVH note: code at 1 MiB with 0x2000 bytes of bss behind it. */
export function fakePvhKernel(): Uint8Array {
  return fakeElf({
    entry: 0x10_0000,
    segments: [{ paddr: 0x10_0000, data: code(0x300), memsz: 0x2300 }, pvhNoteSegment(0x10_0040)],
  });
}

/** Bytes that are recognised in guest memory. */
export function code(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 7 + 1) & 0xff);
}

export type BzImageField = keyof typeof SETUP_HEADER;

const FIELD_BYTES: Partial<Record<BzImageField, 1 | 2 | 4 | 8>> = {
  setup_sects: 1,
  type_of_loader: 1,
  loadflags: 1,
  relocatable_kernel: 1,
  vid_mode: 2,
  boot_flag: 2,
  jump: 2,
  version: 2,
  xloadflags: 2,
  setup_data: 8,
  pref_address: 8,
};

/** A bzImage of boot protocol 2.15 with one setup sector, `payload` bytes to load at 16 MiB, and spoiled `fields`. */
export function fakeBzImage(payload = 0x800, fields: Partial<Record<BzImageField, number>> = {}): Uint8Array {
  const bytes = new Uint8Array(2 * 512 + payload);
  const view = new DataView(bytes.buffer);
  const values: Partial<Record<BzImageField, number>> = {
    setup_sects: 1,
    syssize: payload / 16,
    boot_flag: 0xaa55,
    jump: 0x6aeb,
    header: 0x53726448,
    version: 0x020f,
    loadflags: 1,
    initrd_addr_max: 0x7fffffff,
    kernel_alignment: 0x20_0000,
    relocatable_kernel: 1,
    xloadflags: 1,
    cmdline_size: 2047,
    pref_address: 0x100_0000,
    init_size: 0x4000,
    ...fields,
  };
  for (const [name, value] of Object.entries(values) as [BzImageField, number][]) {
    const at = SETUP_HEADER[name];
    switch (FIELD_BYTES[name] ?? 4) {
      case 1:
        view.setUint8(at, value);
        break;
      case 2:
        view.setUint16(at, value, true);
        break;
      case 4:
        view.setUint32(at, value, true);
        break;
      case 8:
        view.setBigUint64(at, BigInt(value), true);
        break;
    }
  }
  // The sentinel that a clumsy loader would copy into boot_params.
  bytes[0x1ef] = 0xff;
  bytes.set(code(payload), 2 * 512);
  return bytes;
}
