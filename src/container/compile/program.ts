/**
 * The container's program (config.md, "Process"): its environment, where it is looked for, the check that it is there, and the execve(2) that
 * ends the launch, with every descriptor of the host's closed before a path of the container's is walked.
 */
import { posix } from 'node:path';
import { CONTROL, type Register } from '../plan/plan.js';
import type { OciProcess } from '../spec/types.js';
import { data, FDCWD, fileType, named, type ProgramBuilder, register } from './builder.js';
import { S } from './numbers.js';

/** Where programs are looked for when the environment has no PATH. */
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const X_OK = 1;
/** With the effective ids and capabilities, as execve(2) looks: faccessat(2) would look with the real ones and, but for root, no capabilities. */
const EFFECTIVE = named(0x200, 'AT_EACCESS');
const LAST_DESCRIPTOR = 0xffff_ffff;
const F_SETFD = 2;
const FD_CLOEXEC = 1;

/** The environment: the configuration's, what the engine adds, and a HOME. Of a variable that stands twice, the last counts. */
export function environmentOf(
  process: OciProcess,
  added: readonly string[],
  home: string | undefined,
): readonly string[] {
  const byName = new Map<string, string>();
  for (const variable of [...(process.env ?? []), ...added]) {
    const equals = variable.indexOf('=');
    byName.set(equals < 0 ? variable : variable.slice(0, equals), variable);
  }
  // An empty HOME is none: as in other runtimes.
  if ((byName.get('HOME') ?? 'HOME=') === 'HOME=') byName.set('HOME', `HOME=${home ?? '/'}`);
  return [...byName.values()];
}

/** Paths at which the program may be, in the order of PATH. A name with a slash is a path already (execvp(3)). */
export function candidatesOf(program: string, environment: readonly string[]): readonly string[] {
  if (program.includes('/')) return [program];
  const path =
    environment.find((variable) => variable.startsWith('PATH='))?.slice('PATH='.length) ?? DEFAULT_PATH;
  // An empty element is the working directory.
  const folders = path.split(':').map((folder) => (folder === '' ? '.' : folder));
  return [...new Set(folders)].map((folder) =>
    folder === '.' ? `./${program}` : posix.join(folder, program),
  );
}

/** Fails where no candidate can be executed: before anybody is told that the container is there. */
export function checkProgram(program: ProgramBuilder, name: string, candidates: readonly string[]): void {
  const what = candidates.length === 1 ? `find the program ${name}` : `find the program ${name} in $PATH`;
  const hint = 'The program (process.args[0]) must be an executable file in the container.';
  const found = program.newLabel('found');
  for (const candidate of candidates) {
    program.call(what, 'faccessat2', [FDCWD, data(candidate), named(X_OK, 'X_OK'), EFFECTIVE], {
      allow: ['ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP'],
      result: 'there',
    });
    program.unless('negative', 'there', 'not-there', () => {
      const stat = program.statPath(what, candidate);
      program.compare(what, fileType(stat), S.IFDIR, 'is-directory');
      program.jump('zero', 'is-directory', found);
    });
  }
  // None: the last one tells why, and a directory of that name is no program either.
  const last = candidates.at(-1) ?? name;
  program.call(what, 'faccessat2', [FDCWD, data(last), named(X_OK, 'X_OK'), EFFECTIVE], { hint });
  program.expect(
    `${what}: it is a directory`,
    { from: { bytes: new Uint8Array(1), text: '{0}' }, at: 0, size: 1 },
    1,
    'EACCES',
    hint,
  );
  program.label(found);
}

/** Where kept descriptors stand, counted from the control socket's: above what a launch opens, below where sources are kept. */
const KEEP_AT = 80;

/** Moves descriptors that are needed to the end where {@link closeOthers} spares them. Before limits are set: one may forbid the numbers. */
export function keepDescriptors(program: ProgramBuilder, names: readonly Register[], control: number): void {
  names.forEach((name, index) => {
    program.call(
      `keep ${name}`,
      'dup3',
      [register(name), control + KEEP_AT + index, named(0o2000000, 'O_CLOEXEC')],
      { result: name, hint: 'EBADF: the limit of open files (RLIMIT_NOFILE) is too low here.' },
    );
  });
}

/**
 * Closes all descriptors of the launch, some of which are folders of the host's (CVE-2024-21626), but the kept ones and the control socket,
 * which goes with execve(2) so that its failure can still be told.
 */
export function closeOthers(program: ProgramBuilder, kept: number, preserved: number, control: number): void {
  const what = "close the host's descriptors";
  const first = 3 + preserved;
  program.call(what, 'fcntl', [
    register(CONTROL),
    named(F_SETFD, 'F_SETFD'),
    named(FD_CLOEXEC, 'FD_CLOEXEC'),
  ]);
  if (control > first) program.call(what, 'close_range', [first, control - 1, 0]);
  if (kept > 0) program.call(what, 'close_range', [control + 1, control + KEEP_AT - 1, 0]);
  const last = kept > 0 ? control + KEEP_AT + kept : control + 1;
  program.call(what, 'close_range', [last, named(LAST_DESCRIPTOR, 'UINT_MAX'), 0]);
}

export function execProgram(
  program: ProgramBuilder,
  process: OciProcess,
  candidates: readonly string[],
  environment: readonly string[],
): void {
  program.add({
    op: 'exec',
    what: `run ${process.args[0]}`,
    hint: 'The program (process.args[0]) must be an executable file in the container, its interpreter and libraries included.',
    candidates,
    argv: process.args,
    environment,
  });
}
