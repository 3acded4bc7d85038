/**
 * A small writer of ACPI Machine Language (ACPI 6.5, chapter 20): only the constructs that this machine's DSDT uses.
 *
 * Each function returns the bytes of one term, so that a table reads like its ASL. It checks what the encoding cannot
 * express (names, lengths), and knows nothing of namespaces or of what a name means.
 */
import { MachineDescriptionError } from '../errors.js';

/** The encoding of one term or of a list of terms. */
export type Aml = readonly number[];

/** AML byte encodings (ACPI 6.5, table 20.1). */
const OP = {
  zero: 0x00,
  one: 0x01,
  name: 0x08,
  bytePrefix: 0x0a,
  wordPrefix: 0x0b,
  dwordPrefix: 0x0c,
  stringPrefix: 0x0d,
  qwordPrefix: 0x0e,
  scope: 0x10,
  buffer: 0x11,
  package: 0x12,
  method: 0x14,
  dualNamePrefix: 0x2e,
  multiNamePrefix: 0x2f,
  extPrefix: 0x5b,
  rootChar: 0x5c,
  device: 0x82,
  return: 0xa4,
} as const;

/** A fixed-width little-endian number. */
export function little(value: number, bytes: 1 | 2 | 4 | 8): number[] {
  if (!Number.isSafeInteger(value) || value < 0 || (bytes < 8 && value >= 2 ** (8 * bytes))) {
    throw encodingError(`${value} is not an unsigned number of ${bytes} bytes`);
  }
  return Array.from({ length: bytes }, (_, index) => Math.floor(value / 2 ** (8 * index)) % 256);
}

/** An integer constant in its shortest form. */
export function int(value: number): Aml {
  if (value === 0) return [OP.zero];
  if (value === 1) return [OP.one];
  if (value < 2 ** 8) return [OP.bytePrefix, ...little(value, 1)];
  if (value < 2 ** 16) return [OP.wordPrefix, ...little(value, 2)];
  if (value < 2 ** 32) return [OP.dwordPrefix, ...little(value, 4)];
  return [OP.qwordPrefix, ...little(value, 8)];
}

/** A string constant: printable ASCII. */
export function str(text: string): Aml {
  if (!/^[ -~]*$/.test(text)) throw encodingError(`${JSON.stringify(text)} is not printable ASCII`);
  return [OP.stringPrefix, ...ascii(text), 0];
}

/**
 * A compressed EISA id such as `PNP0A08`: three letters of five bits, four hexadecimal digits, stored big-endian
 * (ACPI 6.5, 19.3.4).
 */
export function eisaId(id: string): Aml {
  if (!/^[A-Z]{3}[0-9A-F]{4}$/.test(id)) throw encodingError(`"${id}" is not an EISA id`);
  const [a = 0, b = 0, c = 0] = ascii(id).map((code) => code - 0x40);
  const letters = (a << 10) | (b << 5) | c;
  const product = Number.parseInt(id.slice(3), 16);
  return [OP.dwordPrefix, letters >> 8, letters & 0xff, product >> 8, product & 0xff];
}

/** `Name (path, value)`. */
export function name(path: string, value: Aml): Aml {
  return [OP.name, ...nameString(path), ...value];
}

/** `Scope (path) { … }`. */
export function scope(path: string, ...terms: readonly Aml[]): Aml {
  return [OP.scope, ...packaged([...nameString(path), ...terms.flat()])];
}

/** `Device (path) { … }`. */
export function device(path: string, ...terms: readonly Aml[]): Aml {
  return [OP.extPrefix, OP.device, ...packaged([...nameString(path), ...terms.flat()])];
}

/** `Method (path, args) { … }`, not serialized. */
export function method(path: string, args: number, ...terms: readonly Aml[]): Aml {
  if (args > 7) throw encodingError(`method ${path} has ${args} arguments; AML has at most 7`);
  return [OP.method, ...packaged([...nameString(path), ...little(args, 1), ...terms.flat()])];
}

/** `Return (value)`. */
export function returns(value: Aml): Aml {
  return [OP.return, ...value];
}

/** `Package () { … }`. */
export function pkg(...elements: readonly Aml[]): Aml {
  if (elements.length > 255)
    throw encodingError(`a package has ${elements.length} elements; AML has at most 255`);
  return [OP.package, ...packaged([elements.length, ...elements.flat()])];
}

/** `Buffer () { … }`. */
export function buffer(bytes: readonly number[]): Aml {
  return [OP.buffer, ...packaged([...int(bytes.length), ...bytes])];
}

/**
 * A NameString: `_CRS`, `\_SB`, `\_SB.PCI0`. Segments shorter than four characters are filled with underscores
 * (ACPI 6.5, 20.2.2).
 */
export function nameString(path: string): Aml {
  const absolute = path.startsWith('\\');
  const segments = (absolute ? path.slice(1) : path).split('.').map(nameSegment);
  const prefix = absolute ? [OP.rootChar] : [];
  if (segments.length === 1) return [...prefix, ...segments.flat()];
  if (segments.length === 2) return [...prefix, OP.dualNamePrefix, ...segments.flat()];
  return [...prefix, OP.multiNamePrefix, segments.length, ...segments.flat()];
}

function nameSegment(segment: string): Aml {
  if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment)) throw encodingError(`"${segment}" is not an AML name`);
  return ascii(segment.padEnd(4, '_'));
}

/**
 * PkgLength and content. The length counts itself; one byte up to 63, else four bits and one to three bytes more
 * (ACPI 6.5, 20.2.4).
 */
function packaged(content: Aml): Aml {
  if (content.length + 1 < 0x40) return [content.length + 1, ...content];
  for (const extra of [1, 2, 3]) {
    const total = content.length + 1 + extra;
    if (total >= 2 ** (4 + 8 * extra)) continue;
    const tail = Array.from({ length: extra }, (_, index) => (total >> (4 + 8 * index)) & 0xff);
    return [(extra << 6) | (total & 0x0f), ...tail, ...content];
  }
  throw encodingError(`a term of ${content.length} bytes is longer than AML can say`);
}

function ascii(text: string): number[] {
  return [...text].map((char) => char.charCodeAt(0));
}

function encodingError(message: string): MachineDescriptionError {
  return new MachineDescriptionError(`cannot encode ACPI: ${message}`, {
    code: 'ACPI_ENCODING',
    hint: 'check the addresses and names in the machine configuration',
  });
}
