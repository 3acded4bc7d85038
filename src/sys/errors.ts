/**
 * The error vocabulary of the whole project (design.md section 7).
 *
 * Every failure that a user may see is a {@link TvmmError}: one sentence that names the object, a stable `code`
 * for programs, and a `hint` that says what to do next. A failed system call is a {@link SystemError}.
 */
import { errnoName } from './errno.js';

export { errnoName } from './errno.js';

/** Options of every tvmm error. */
export interface TvmmErrorOptions {
  /** Stable, machine-readable name of the failure, e.g. `KERNEL_NOT_FOUND`. */
  code: string;
  /** What the user can do about it: a sentence, without a trailing period problem of its own. */
  hint?: string;
  cause?: unknown;
}

/** What steers a terminal (controls of both sets, and what turns the direction of text), or ends a line, written as `\\xNN` or `\\u{NNNN}`. */
export function escaped(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (one) => {
    const code = one.codePointAt(0) ?? 0;
    const hex = code.toString(16).padStart(2, '0');
    return code < 0x100 ? `\\x${hex}` : `\\u{${hex}}`;
  });
}

/** JSON's own text: the same characters as its escapes, so that it stays the same document. */
export function escapedJson(text: string): string {
  return text.replace(
    /[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Base class: `message` is one clear sentence, `code` is stable, `hint` says what to do next. */
export class TvmmError extends Error {
  readonly code: string;
  readonly hint: string | undefined;

  constructor(message: string, options: TvmmErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = options.code;
    this.hint = options.hint;
  }
}

/** A system call that failed: `KVM_SET_USER_MEMORY_REGION slot 0: EINVAL`. */
export class SystemError extends TvmmError {
  /** The call's name, e.g. `KVM_RUN`, `mmap`, `open`. */
  readonly syscall: string;
  /** What it was called on, e.g. `slot 0` or a path; may be empty. */
  readonly object: string;
  readonly errno: number;

  constructor(syscall: string, object: string, errno: number, hint?: string) {
    const name = errnoName(errno);
    super(`${syscall}${object === '' ? '' : ` ${object}`}: ${name}`, { code: name, hint });
    this.syscall = syscall;
    this.object = object;
    this.errno = errno;
  }
}
