/**
 * Mount points inside the root, resolved by descriptor. procfs is where a misled mount does most harm (an image's link from a volume's place
 * into /proc would hide /proc/self/attr or /proc/sys): nothing is mounted there but what is known to belong there.
 */
import { posix } from 'node:path';
import { data, fsType, NO_LINKS, named, type ProgramBuilder, register } from './builder.js';
import { CompileError } from './errors.js';
import { MAGIC } from './numbers.js';

/** Files of procfs that are mounted over: lxcfs emulates the first eight, the others are set for tests and FIPS mode. */
const ALLOWED_IN_PROC: ReadonlySet<string> = new Set([
  '/proc/cpuinfo',
  '/proc/diskstats',
  '/proc/meminfo',
  '/proc/stat',
  '/proc/swaps',
  '/proc/uptime',
  '/proc/loadavg',
  '/proc/slabinfo',
  '/proc/sys/kernel/ns_last_pid',
  '/proc/sys/crypto/fips_enabled',
]);

/** A destination as an absolute path without `.`, `..` and double slashes. Relative ones are taken from the root (config.md, "Mounts"). */
export function destinationPath(destination: string): string {
  const path = posix.resolve('/', destination);
  return path;
}

/** @throws CompileError for the root itself and for places inside of /proc that must not be hidden */
export function checkDestination(path: string, index: number): void {
  if (path === '/')
    throw new CompileError(`mounts[${index}].destination`, "is the container's root itself: use root.path");
  if (path.startsWith('/proc/') && !ALLOWED_IN_PROC.has(path))
    throw new CompileError(
      `mounts[${index}].destination`,
      `is ${path}, inside of /proc: what is hidden there protects the container`,
      `Only ${[...ALLOWED_IN_PROC].join(', ')} may be mounted over.`,
    );
}

/** Opens or makes a mount point as `target`. */
export function ensureTarget(init: ProgramBuilder, path: string, kind: 'directory' | 'file'): void {
  init.add({
    op: 'ensure',
    what: `make the mount point ${path}`,
    root: 'root',
    path: path.slice(1),
    kind,
    mode: kind === 'file' ? 0o644 : 0o755,
    result: 'target',
  });
}

/** Opens or makes it as a directory or a file, whichever `source` is. */
export function ensureTargetLike(init: ProgramBuilder, path: string, isDirectory: string): void {
  const file = init.newLabel('file');
  const done = init.newLabel('target');
  init.jump('zero', isDirectory, file);
  ensureTarget(init, path, 'directory');
  init.goto(done);
  init.label(file);
  ensureTarget(init, path, 'file');
  init.label(done);
}

/** Fails if `target` lies in a procfs, where the destination's name did not say so: a link led there. */
export function refuseProc(init: ProgramBuilder, path: string): void {
  if (ALLOWED_IN_PROC.has(path)) return;
  const what = `mount anything at ${path}, which leads into /proc`;
  const statfs = init.statfs(`look what is at ${path}`, 'target');
  init.compare(`look what is at ${path}`, fsType(statfs), MAGIC.PROC, 'is-proc');
  init.unless('zero', 'is-proc', 'not-proc', () => {
    init.expect(
      what,
      fsType(statfs),
      0,
      'EPERM',
      `A link in the root leads from ${path} into /proc: mount it elsewhere, or mend the image.`,
    );
  });
}

/** For procfs and sysfs: a directory that no link leads to, opened or made, so that they are where their name says. */
export function ensurePlainTarget(init: ProgramBuilder, path: string): void {
  const parent = posix.dirname(path);
  const name = posix.basename(path);
  const what = `make the mount point ${path}`;
  const hint = `${path} must be mounted on ordinary directory of the root, not on a link; if it is missing, the container's root must be able to make it.`;
  if (parent !== '/') {
    init.add({
      op: 'ensure',
      what,
      root: 'root',
      path: parent.slice(1),
      kind: 'directory',
      mode: 0o755,
      result: 'parent',
    });
    init.call(what, 'mkdirat', [register('parent'), data(name), named(0o755, '0755')], {
      allow: ['EEXIST'],
      hint,
    });
    init.close('parent');
  } else {
    init.call(what, 'mkdirat', [register('root'), data(name), named(0o755, '0755')], {
      allow: ['EEXIST'],
      hint,
    });
  }
  init.openAt2(what, register('root'), path.slice(1), ['PATH', 'DIRECTORY'], NO_LINKS, {
    result: 'target',
    hint,
  });
}
