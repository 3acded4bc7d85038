/**
 * `linux.maskedPaths` and `linux.readonlyPaths` (config-linux.md): before the root is entered, so that /dev/null is the host's own and not
 * whatever the container's image puts in its place; and those in /proc from the descriptor of the procfs that was mounted.
 */
import { posix } from 'node:path';
import type { OciSpec } from '../spec/types.js';
import { deviceNumber, fileType, IN_ROOT, type ProgramBuilder, register } from './builder.js';
import { makeFilesystem } from './filesystems.js';
import { CONTAINER_PROC } from './mount-context.js';
import { mountsProc } from './mounts.js';
import { makedev, S } from './numbers.js';
import { attachTree, cloneTree, setAttributes } from './trees.js';

const RDONLY = { value: 1, text: 'MOUNT_ATTR_RDONLY' };
/** What is not there needs no hiding. */
const MISSING = ['ENOENT', 'ENOTDIR'];

type Flags = Parameters<ProgramBuilder['openAt2']>[3];

/** Opens a path of the container as `target`, negative where there is none. */
function openTarget(init: ProgramBuilder, spec: OciSpec, what: string, path: string, flags: Flags): void {
  const inProc = path.startsWith('/proc/') && mountsProc(spec);
  const [folder, rest] = inProc ? [CONTAINER_PROC, path.slice('/proc/'.length)] : ['root', path.slice(1)];
  init.openAt2(what, register(folder), rest, flags, inProc ? ['BENEATH', 'NO_MAGICLINKS'] : IN_ROOT, {
    allow: MISSING,
    result: 'target',
  });
}

function clean(paths: readonly string[] | undefined): readonly string[] {
  return [...new Set((paths ?? []).map((path) => posix.resolve('/', path)))].filter((path) => path !== '/');
}

export function makePathsReadonly(init: ProgramBuilder, spec: OciSpec): void {
  for (const path of clean(spec.linux?.readonlyPaths)) {
    const what = `make ${path} read-only`;
    openTarget(init, spec, what, path, ['PATH']);
    init.unless('negative', 'target', 'missing', () => {
      cloneTree(init, what, register('target'), '', 'recursive', 'tree');
      setAttributes(init, what, 'tree', { set: RDONLY });
      attachTree(init, what, 'tree', 'target');
      init.close('tree');
      init.close('target');
    });
  }
}

/** Files become /dev/null, directories an empty read-only tmpfs. */
export function maskPaths(init: ProgramBuilder, spec: OciSpec): void {
  const paths = clean(spec.linux?.maskedPaths);
  if (paths.length === 0) return;
  // Opened once for its check; each mask is a clone of what was checked.
  init.open("open the host's /dev/null", '/dev/null', ['PATH', 'NOFOLLOW'], 'null');
  const stat = init.stat("look at the host's /dev/null", 'null');
  const wrong = "mask paths: the host's /dev/null is no such device";
  init.expect(wrong, fileType(stat), S.IFCHR, 'ENODEV');
  init.expect(wrong, deviceNumber(stat), makedev(1, 3), 'ENODEV');
  // Nothing to clone yet: the first folder that is masked brings it.
  init.call('know of no empty folder', 'close', [-1], { allow: ['EBADF'], result: EMPTY });
  for (const path of paths) maskPath(init, spec, path);
  init.unless('negative', EMPTY, 'no-empty', () => init.close(EMPTY));
  init.close('null');
}

/** The register of the mount that hides a folder. One for all: each is a super block for the kernel. */
const EMPTY = 'empty';

function maskPath(init: ProgramBuilder, spec: OciSpec, path: string): void {
  const what = `mask ${path}`;
  openTarget(init, spec, what, path, ['PATH']);
  init.unless('negative', 'target', 'missing', () => {
    const stat = init.stat(what, 'target');
    init.compare(what, fileType(stat), S.IFDIR, 'is-directory');
    const file = init.newLabel('file');
    const first = init.newLabel('first');
    const attach = init.newLabel('attach');
    init.jump('zero', 'is-directory', file);
    init.jump('negative', EMPTY, first);
    cloneTree(init, what, register(EMPTY), '', 'one', 'tree');
    init.goto(attach);
    init.label(first);
    makeFilesystem(
      init,
      what,
      {
        type: 'tmpfs',
        source: 'tmpfs',
        flags: ['ro'],
        data: ['nr_blocks=1', 'nr_inodes=2'],
        attributes: RDONLY.value,
      },
      'tree',
    );
    // A mount can be cloned once it is attached: the descriptor goes on to name it.
    init.duplicate('keep the empty folder', register('tree'), EMPTY);
    init.goto(attach);
    init.label(file);
    cloneTree(init, what, register('null'), '', 'one', 'tree');
    init.label(attach);
    attachTree(init, what, 'tree', 'target');
    init.close('tree');
    init.close('target');
  });
}

/** Makes a working directory that is missing, as every runtime does: root's, mode 0755. */
export function ensureWorkingDirectory(init: ProgramBuilder, spec: OciSpec): void {
  const cwd = posix.resolve('/', spec.process?.cwd ?? '/');
  if (cwd === '/') return;
  init.add({
    op: 'ensure',
    what: `make the working directory ${cwd}`,
    hint: 'process.cwd must be a directory of the root, or one that can be made in it.',
    root: 'root',
    path: cwd.slice(1),
    kind: 'directory',
    mode: 0o755,
    result: 'folder',
  });
  init.close('folder');
}
