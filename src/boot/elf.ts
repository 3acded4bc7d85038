/**
 * ELF kernels: headers, PT_LOAD segments and the PVH entry note (System V ABI gABI chapter 4 and 5; /usr/include/elf.h;
 * xen/include/public/elfnote.h for XEN_ELFNOTE_PHYS32_ENTRY).
 *
 * Reads ELF64 x86-64 and ELF32 i386 executables, little endian. It relocates nothing, looks at no section or symbol,
 * and trusts no count or offset before it has been compared with the file's size.
 */
import type { Gpa } from '../memory/types.js';
import { hex, KernelError } from './errors.js';
import type { Segment } from './segments.js';
import { type ByteSource, inside } from './source.js';

/** A kernel in ELF form, as far as a loader is concerned. */
export interface ElfImage {
  readonly kind: 'elf';
  readonly bits: 32 | 64;
  /** Physical address of e_entry. */
  readonly entry: Gpa;
  readonly segments: readonly Segment[];
  /** Physical 32-bit entry from the Xen note, when the kernel has one. */
  readonly pvhEntry: Gpa | undefined;
}

const ET_EXEC = 2;
const ET_DYN = 3;
const EM_386 = 3;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const PT_INTERP = 3;
const PT_NOTE = 4;
/** e_phnum with this value means "look into section 0": only core files have so many headers. */
const PN_XNUM = 0xffff;
/** Note type of the physical 32-bit PVH entry (name "Xen"). */
export const XEN_ELFNOTE_PHYS32_ENTRY = 18;
/** Notes of a kernel take some hundred bytes; more than this is not worth walking through. */
const MAX_NOTE_BYTES = 0x10000;

/** e_type and e_machine names for error messages. */
const TYPE_NAMES: Readonly<Record<number, string>> = {
  0: 'ELF file of no type',
  1: 'ELF relocatable object (a kernel module or a .o file)',
  4: 'ELF core dump',
};
const MACHINE_NAMES: Readonly<Record<number, string>> = {
  8: 'MIPS',
  20: 'PowerPC',
  21: 'PowerPC64',
  22: 's390',
  40: '32-bit Arm',
  183: 'AArch64',
  243: 'RISC-V',
  258: 'LoongArch',
};

interface ProgramHeader {
  readonly type: number;
  readonly offset: number;
  readonly vaddr: number;
  readonly paddr: number;
  readonly filesz: number;
  readonly memsz: number;
}

/** A 64-bit little-endian value as a number: exact below 2^53, and refused by every later check above. */
export function u64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Whether the source starts with the ELF magic. */
export function isElf(source: ByteSource): boolean {
  return source.size >= 4 && viewOf(source.read(0, 4)).getUint32(0, false) === 0x7f454c46;
}

/**
 * Parses the headers and notes of an ELF kernel. Segments are taken as the file states them; {@link checkSegments}
 * compares them with the file and the RAM.
 *
 * @throws KernelError `KERNEL_NOT_A_KERNEL` for ELF files of another kind or machine, `KERNEL_BAD_ELF`,
 * `KERNEL_TRUNCATED`.
 */
export function parseElf(source: ByteSource): ElfImage {
  const name = `the kernel "${source.name}"`;
  const ident = source.read(0, 16);
  const bits = ident[4] === 1 ? 32 : ident[4] === 2 ? 64 : undefined;
  if (bits === undefined) throw badElf(`${name} has ELF class ${ident[4]}, neither 32 nor 64 bit`);
  if (ident[5] !== 1) throw notAKernel(source.name, 'big-endian ELF file for another machine');

  const ehdr = viewOf(source.read(0, bits === 64 ? 64 : 52));
  const type = ehdr.getUint16(16, true);
  const machine = ehdr.getUint16(18, true);
  if (machine !== (bits === 64 ? EM_X86_64 : EM_386)) {
    throw notAKernel(
      source.name,
      `ELF file for ${MACHINE_NAMES[machine] ?? `machine ${machine}`}, not for x86`,
    );
  }
  if (type !== ET_EXEC && type !== ET_DYN) {
    throw notAKernel(source.name, TYPE_NAMES[type] ?? `ELF file of type ${type}`);
  }
  const entry = bits === 64 ? u64(ehdr, 24) : ehdr.getUint32(24, true);
  const headers = programHeaders(source, name, bits, ehdr);
  if (headers.some((header) => header.type === PT_INTERP)) {
    throw notAKernel(source.name, 'program for a running Linux (it asks for a dynamic loader)');
  }
  const loads = headers.filter((header) => header.type === PT_LOAD && header.memsz > 0);
  return {
    kind: 'elf',
    bits,
    entry: physicalEntry(loads, entry),
    segments: loads.map(({ paddr, memsz, offset, filesz }) => ({
      gpa: paddr,
      size: memsz,
      fileOffset: offset,
      fileSize: filesz,
    })),
    pvhEntry: findPvhEntry(source, name, headers),
  };
}

function programHeaders(source: ByteSource, name: string, bits: 32 | 64, ehdr: DataView): ProgramHeader[] {
  const phoff = bits === 64 ? u64(ehdr, 32) : ehdr.getUint32(28, true);
  const phentsize = ehdr.getUint16(bits === 64 ? 54 : 42, true);
  const phnum = ehdr.getUint16(bits === 64 ? 56 : 44, true);
  if (phnum === 0) throw badElf(`${name} has no program headers, so nothing says where it goes in memory`);
  const expected = bits === 64 ? 56 : 32;
  if (phentsize !== expected) {
    throw badElf(`${name} has program headers of ${phentsize} bytes; ELF${bits} has ${expected}`);
  }
  if (phnum === PN_XNUM || !inside(phoff, phnum * phentsize, source.size)) {
    throw new KernelError(
      `${name} is truncated: ${phnum} program headers at offset ${hex(phoff)} lie beyond its end at ${hex(source.size)}`,
      {
        code: 'KERNEL_TRUNCATED',
        hint: 'copy or build the file again; it is shorter than its own headers say',
      },
    );
  }
  const table = viewOf(source.read(phoff, phnum * phentsize));
  return Array.from({ length: phnum }, (_, index) => programHeader(table, index * phentsize, bits));
}

function programHeader(table: DataView, at: number, bits: 32 | 64): ProgramHeader {
  const word = (offset: number) => table.getUint32(at + offset, true);
  const long = (offset: number) => u64(table, at + offset);
  return bits === 64
    ? { type: word(0), offset: long(8), vaddr: long(16), paddr: long(24), filesz: long(32), memsz: long(40) }
    : { type: word(0), offset: word(4), vaddr: word(8), paddr: word(12), filesz: word(16), memsz: word(20) };
}

/** e_entry is physical in a vmlinux; kernels linked the ordinary way have a virtual one, which its segment translates. */
function physicalEntry(loads: readonly ProgramHeader[], entry: number): Gpa {
  const holds = (start: number, size: number) => entry >= start && entry - start < size;
  if (loads.some(({ paddr, memsz }) => holds(paddr, memsz))) return entry;
  const segment = loads.find(({ vaddr, memsz }) => holds(vaddr, memsz));
  return segment === undefined ? entry : segment.paddr + (entry - segment.vaddr);
}

function findPvhEntry(source: ByteSource, name: string, headers: readonly ProgramHeader[]): Gpa | undefined {
  let budget = MAX_NOTE_BYTES;
  for (const header of headers) {
    if (header.type !== PT_NOTE || header.filesz === 0 || budget <= 0) continue;
    if (!inside(header.offset, header.filesz, source.size)) {
      throw new KernelError(
        `${name} is truncated: its notes at offset ${hex(header.offset)} lie beyond its end at ${hex(source.size)}`,
        {
          code: 'KERNEL_TRUNCATED',
          hint: 'copy or build the file again; it is shorter than its own headers say',
        },
      );
    }
    const length = Math.min(header.filesz, budget);
    budget -= length;
    const entry = pvhEntryIn(source.read(header.offset, length));
    if (entry !== undefined) return entry;
  }
  return undefined;
}

/** Walks Elf_Nhdr records (namesz, descsz, type, name and descriptor padded to 4 bytes) to the Xen entry note. */
function pvhEntryIn(notes: Uint8Array): Gpa | undefined {
  const view = viewOf(notes);
  const padded = (size: number) => Math.ceil(size / 4) * 4;
  for (let at = 0; at + 12 <= notes.length; ) {
    const namesz = view.getUint32(at, true);
    const descsz = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const desc = at + 12 + padded(namesz);
    const next = desc + padded(descsz);
    // The last descriptor may go without its padding.
    if (desc + descsz > notes.length) return undefined;
    const isXen = namesz === 4 && view.getUint32(at + 12, false) === 0x58656e00;
    if (isXen && type === XEN_ELFNOTE_PHYS32_ENTRY) {
      if (descsz === 4) return view.getUint32(desc, true);
      if (descsz === 8) return u64(view, desc);
    }
    at = next;
  }
  return undefined;
}

function badElf(message: string): KernelError {
  return new KernelError(message, {
    code: 'KERNEL_BAD_ELF',
    hint: 'the file is damaged; copy or build it again',
  });
}

/** `not a kernel: "X" looks like a …`. */
export function notAKernel(name: string, looksLike: string, hint?: string): KernelError {
  return new KernelError(`not a kernel: "${name}" looks like ${article(looksLike)} ${looksLike}`, {
    code: 'KERNEL_NOT_A_KERNEL',
    hint: hint ?? 'give an x86-64 vmlinux (ELF) or bzImage, such as a distribution keeps in /boot/vmlinuz-*',
  });
}

function article(noun: string): string {
  return /^[aeiou]/i.test(noun) ? 'an' : 'a';
}
