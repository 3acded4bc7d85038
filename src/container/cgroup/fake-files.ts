/** A cgroup folder made of a map, for tests: files exist when they are named, writes are kept in order and can be refused. */
import type { CgroupFiles, FileWriter } from './files.js';

class ErrnoError extends Error {
  constructor(
    readonly code: string,
    file: string,
  ) {
    super(`${code}: ${file}`);
  }
}

/** Decides about a write: an errno name refuses it. */
export type Judge = (file: string, value: string, content: ReadonlyMap<string, string>) => string | undefined;

export class FakeFiles implements CgroupFiles {
  readonly folder = '/fake';
  /** Every write that went in: `file value`. */
  readonly log: string[] = [];
  readonly content: Map<string, string>;

  /** @param files name to text; `cgroup.procs` is always there */
  constructor(
    files: Readonly<Record<string, string>> = {},
    readonly judge: Judge = () => undefined,
  ) {
    this.content = new Map(Object.entries({ 'cgroup.procs': '', ...files }));
  }

  /** Empty files of these names. */
  static named(...names: string[]): FakeFiles {
    return new FakeFiles(Object.fromEntries(names.map((name) => [name, ''])));
  }

  has(file: string): boolean {
    return this.content.has(file);
  }

  read(file: string): string {
    const text = this.content.get(file);
    if (text === undefined) throw new ErrnoError('ENOENT', file);
    return text;
  }

  write(file: string, value: string): void {
    if (!this.content.has(file)) throw new ErrnoError('ENOENT', file);
    const refusal = this.judge(file, value, this.content);
    if (refusal !== undefined) throw new ErrnoError(refusal, file);
    this.content.set(file, value);
    this.log.push(`${file} ${value}`);
  }

  writing(file: string): FileWriter {
    if (!this.content.has(file)) throw new ErrnoError('ENOENT', file);
    return { write: (value) => this.write(file, value), [Symbol.dispose]: () => {} };
  }
}
