/**
 * Writes the steps of one program. Every method adds steps and says what for; nothing here knows containers. Paths that a container may have
 * made are only ever opened below a descriptor of its root, without magic links (openat2(2)).
 */
import type { Argument, Program, Register, Step, Struct } from '../plan/plan.js';
import type { SyscallName } from '../plan/syscalls.js';
import { AT, O, RESOLVE, S, STAT, STATFS } from './numbers.js';

interface CallOptions {
  readonly result?: Register;
  readonly allow?: readonly string[] | 'any';
  readonly hint?: string;
}

/** Flags by their names: `bits('O_', {PATH: 1}, {CLOEXEC: 2})` would print `O_PATH|O_CLOEXEC`. */
export function bits(
  prefix: string,
  table: Readonly<Record<string, number>>,
  ...names: readonly string[]
): { value: number; text: string } {
  let value = 0;
  for (const name of names) value += table[name] ?? 0;
  return { value, text: names.map((name) => `${prefix}${name}`).join('|') || '0' };
}

type Open = keyof typeof O;
type Resolve = keyof typeof RESOLVE;

/** Kept for the process's life: there are few different ones, and a plan holds each once. Nobody writes to them. */
const hows = new Map<string, Struct>();

/** struct open_how (linux/openat2.h). */
function openHow(flags: readonly Open[], resolve: readonly Resolve[]): Struct {
  const how = bits('O_', O, ...flags, 'CLOEXEC');
  const limit = bits('RESOLVE_', RESOLVE, ...resolve);
  const text = `{flags: ${how.text}, resolve: ${limit.text}}`;
  const known = hows.get(text);
  if (known !== undefined) return known;
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, how.value, true);
  view.setUint32(16, limit.value, true);
  const made = { bytes, text };
  hows.set(text, made);
  return made;
}

/** A field of what a call has written. */
export interface Place {
  readonly from: Struct;
  readonly at: number;
  readonly size: 1 | 4 | 8;
  readonly mask?: number;
}

/** The S_IFMT bits of a struct stat. */
export function fileType(stat: Struct): Place {
  return { from: stat, at: STAT.mode, size: 4, mask: S.IFMT };
}

/** The device that a device node stands for. */
export function deviceNumber(stat: Struct): Place {
  return { from: stat, at: STAT.rdev, size: 8 };
}

/** The f_type of a struct statfs. */
export function fsType(statfs: Struct): Place {
  return { from: statfs, at: STATFS.type, size: 8 };
}

const OPEN_HOW_SIZE = 24;

/** Resolution that a container's own links may take part in, but not lead out of its root. */
export const IN_ROOT: readonly Resolve[] = ['IN_ROOT', 'NO_MAGICLINKS'];
/** Resolution that follows no link at all. */
export const NO_LINKS: readonly Resolve[] = ['IN_ROOT', 'NO_MAGICLINKS', 'NO_SYMLINKS'];

export function register(name: Register): Argument {
  return { register: name };
}

export function data(value: string | readonly string[] | Struct): Argument {
  return { data: value };
}

export function named(value: number | bigint, text: string): Argument {
  return { value, text };
}

export const FDCWD: Argument = named(AT.FDCWD, 'AT_FDCWD');
export const NULL: Argument = named(0, 'NULL');

const F_DUPFD_CLOEXEC = 1030;

export class ProgramBuilder {
  readonly #steps: Step[] = [];
  /** One place for every answer: each is looked at before the next call. */
  readonly #stat: Struct = { bytes: new Uint8Array(STAT.size), text: '{stat}' };
  readonly #statfs: Struct = { bytes: new Uint8Array(STATFS.size), text: '{statfs}' };
  #labels = 0;

  constructor(readonly name: string) {}

  get program(): Program {
    return { name: this.name, steps: [...this.#steps] };
  }

  add(step: Step): void {
    this.#steps.push(step);
  }

  call(what: string, call: SyscallName, args: readonly Argument[], options: CallOptions = {}): void {
    this.#steps.push({ op: 'call', what, call, arguments: args, ...options });
  }

  /** A label that no other place has. */
  newLabel(name: string): string {
    this.#labels++;
    return `${name}-${this.#labels}`;
  }

  label(label: string): void {
    this.#steps.push({ op: 'label', label });
  }

  goto(label: string): void {
    this.#steps.push({ op: 'jump', what: 'go on', when: 'always', label });
  }

  jump(when: 'negative' | 'not-negative' | 'zero' | 'not-zero', name: Register, label: string): void {
    this.#steps.push({ op: 'jump', what: 'go on', when, register: name, label });
  }

  /** Steps that run only when a register is as asked. */
  unless(
    when: 'negative' | 'not-negative' | 'zero' | 'not-zero',
    name: Register,
    label: string,
    steps: () => void,
  ): void {
    const end = this.newLabel(label);
    this.jump(when, name, end);
    steps();
    this.label(end);
  }

  close(name: Register): void {
    this.call('close a descriptor', 'close', [register(name)]);
  }

  /** A second descriptor of the same, closed on exec. */
  duplicate(what: string, from: Argument, result: Register, options: CallOptions = {}): void {
    this.call(what, 'fcntl', [from, named(F_DUPFD_CLOEXEC, 'F_DUPFD_CLOEXEC'), 3], { ...options, result });
  }

  /** openat2(2) below a descriptor; the answer's descriptor closes on exec. */
  openAt2(
    what: string,
    folder: Argument,
    path: string | Struct,
    flags: readonly Open[],
    resolve: readonly Resolve[],
    options: CallOptions,
  ): void {
    this.call(what, 'openat2', [folder, data(path), data(openHow(flags, resolve)), OPEN_HOW_SIZE], options);
  }

  /** Opens a path of the host, as the caller sees it. */
  open(
    what: string,
    path: string,
    flags: readonly Open[],
    result: Register,
    options: CallOptions = {},
  ): void {
    this.call(what, 'openat', [FDCWD, data(path), bits('O_', O, ...flags, 'CLOEXEC'), 0], {
      ...options,
      result,
    });
  }

  /** One write(2) of a text. */
  write(what: string, name: Register, text: string, options: CallOptions = {}): void {
    this.call(what, 'write', [register(name), data(text), Buffer.byteLength(text)], options);
  }

  /** Opens a file below a descriptor of procfs, writes it in one go and closes it. */
  writeFile(what: string, folder: Register, path: string, text: string, options: CallOptions = {}): void {
    // Everything on the way must be procfs itself: nothing mounted over it, no link that leads elsewhere.
    this.openAt2(what, register(folder), path, ['WRONLY'], ['BENEATH', 'NO_MAGICLINKS', 'NO_XDEV'], {
      ...options,
      result: 'file',
    });
    const put = () => {
      this.write(what, 'file', text, options);
      this.close('file');
    };
    if (options.allow === undefined) put();
    else this.unless('negative', 'file', 'unwritable', put);
  }

  /** fstat(2) through a descriptor of any kind. */
  stat(what: string, name: Register): Struct {
    this.call(what, 'newfstatat', [
      register(name),
      data(''),
      data(this.#stat),
      named(AT.EMPTY_PATH, 'AT_EMPTY_PATH'),
    ]);
    return this.#stat;
  }

  /** stat(2) of a path of this process's own root. */
  statPath(what: string, path: string): Struct {
    this.call(what, 'stat', [data(path), data(this.#stat)]);
    return this.#stat;
  }

  /** fstat(2) of a descriptor by number. */
  statDescriptor(what: string, descriptor: number): Struct {
    this.call(what, 'fstat', [descriptor, data(this.#stat)]);
    return this.#stat;
  }

  statfs(what: string, name: Register): Struct {
    this.call(what, 'fstatfs', [register(name), data(this.#statfs)]);
    return this.#statfs;
  }

  /** Fails with an errno unless a field is as it should be. */
  expect(what: string, { from, at, size, mask }: Place, equals: number, error: string, hint?: string): void {
    this.#steps.push({
      op: 'expect',
      what,
      from,
      at,
      size,
      equals,
      error,
      ...(mask === undefined ? {} : { mask }),
      ...(hint === undefined ? {} : { hint }),
    });
  }

  /** Whether a field equals a value: 1 or 0 in `result`. */
  compare(what: string, { from, at, size, mask }: Place, equals: number, result: Register): void {
    this.#steps.push({
      op: 'load',
      what,
      from,
      at,
      size,
      equals,
      result,
      ...(mask === undefined ? {} : { mask }),
    });
  }
}
