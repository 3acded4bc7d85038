/**
 * Device nodes and links of /dev (config-linux.md, "Devices", "Default Devices"; runtime-linux.md, "Dev symbolic links"). Nodes are made; where
 * that is not allowed (a user namespace, a container that may not mknod), the host's own are bound. A file that stands there already
 * must be that very device.
 */
import { posix } from 'node:path';
import { parseMountOptions } from '../spec/mount-options.js';
import type { OciDevice, OciSpec } from '../spec/types.js';
import { data, deviceNumber, FDCWD, fileType, named, type ProgramBuilder, register } from './builder.js';
import { makedev, S } from './numbers.js';
import { destinationPath } from './targets.js';
import { attachTree, cloneTree } from './trees.js';

/** linux/Documentation/admin-guide/devices.txt */
const DEFAULT_DEVICES: readonly OciDevice[] = [
  ['null', 1, 3],
  ['zero', 1, 5],
  ['full', 1, 7],
  ['random', 1, 8],
  ['urandom', 1, 9],
  ['tty', 5, 0],
].map(([name, major, minor]) => ({
  type: 'c',
  path: `/dev/${name}`,
  major: Number(major),
  minor: Number(minor),
  fileMode: 0o666,
}));

const LINKS: readonly (readonly [name: string, target: string])[] = [
  ['fd', '/proc/self/fd'],
  ['stdin', '/proc/self/fd/0'],
  ['stdout', '/proc/self/fd/1'],
  ['stderr', '/proc/self/fd/2'],
  ['core', '/proc/kcore'],
];

const TYPES = { c: S.IFCHR, u: S.IFCHR, b: S.IFBLK, p: S.IFIFO } as const;

/** Where /dev is the host's own folder, nothing is made in it. */
function devIsBound(spec: OciSpec): boolean {
  return (spec.mounts ?? []).some(
    (mount) =>
      destinationPath(mount.destination) === '/dev' &&
      (mount.type === 'bind' || parseMountOptions(mount.options ?? []).bind !== undefined),
  );
}

/** The devices of a container: those of its configuration, and the default ones that it does not have. */
function devicesOf(spec: OciSpec): readonly OciDevice[] {
  const own = (spec.linux?.devices ?? []).map((device) => ({
    ...device,
    path: posix.resolve('/', device.path),
  }));
  const paths = new Set(own.map(({ path }) => path));
  // /dev/ptmx belongs to the container's own devpts, whatever the configuration lists.
  return [...DEFAULT_DEVICES.filter(({ path }) => !paths.has(path)), ...own].filter(
    ({ path }) => path !== '/dev/ptmx',
  );
}

export function makeDevices(init: ProgramBuilder, spec: OciSpec, userNamespace: boolean): void {
  if (devIsBound(spec)) return;
  openFolder(init, '/dev', 'dev');
  for (const device of devicesOf(spec)) {
    const folder = posix.dirname(device.path);
    if (folder === '/dev') makeDevice(init, device, 'dev', userNamespace);
    else {
      openFolder(init, folder, 'folder');
      makeDevice(init, device, 'folder', userNamespace);
      init.close('folder');
    }
  }
  const there = { allow: ['EEXIST'] };
  for (const [name, target] of LINKS)
    init.call(
      `link /dev/${name} to ${target}`,
      'symlinkat',
      [data(target), register('dev'), data(name)],
      there,
    );
  init.call('remove /dev/ptmx', 'unlinkat', [register('dev'), data('ptmx'), 0], {
    allow: ['ENOENT', 'EBUSY', 'EROFS'],
  });
  init.call(
    'link /dev/ptmx to pts/ptmx',
    'symlinkat',
    [data('pts/ptmx'), register('dev'), data('ptmx')],
    there,
  );
  init.close('dev');
}

function openFolder(init: ProgramBuilder, path: string, result: string): void {
  init.add({
    op: 'ensure',
    what: `make ${path}`,
    root: 'root',
    path: path.slice(1),
    kind: 'directory',
    mode: 0o755,
    result,
  });
}

function makeDevice(init: ProgramBuilder, device: OciDevice, folder: string, userNamespace: boolean): void {
  const { path, type, major = 0, minor = 0, fileMode = 0o666 } = device;
  const name = posix.basename(path);
  const number = type === 'p' ? 0 : makedev(major, minor);
  const text = type === 'p' ? 'fifo' : `${type} ${major}:${minor}`;
  const what = `make the device ${path} (${text})`;
  const done = init.newLabel('device');
  // A user namespace may not make devices, but pipes.
  if (!userNamespace || type === 'p') {
    const mode = TYPES[type] | fileMode;
    init.call(
      what,
      'mknodat',
      [register(folder), data(name), named(mode, `0${mode.toString(8)}`), named(number, text)],
      {
        allow: ['EEXIST', 'EPERM'],
        result: 'made',
      },
    );
    // A new one is root's, with the mode asked for (the umask is 0).
    if ((device.uid ?? 0) === 0 && (device.gid ?? 0) === 0) init.jump('not-negative', 'made', done);
  }
  init.openAt2(what, register(folder), name, ['PATH', 'NOFOLLOW'], ['BENEATH', 'NO_MAGICLINKS'], {
    allow: ['ENOENT'],
    result: 'target',
  });
  const missing = init.newLabel('missing');
  init.jump('negative', 'target', missing);
  verify(init, `use ${path}: another file is there than the device ${text}`, 'target', device, 'EEXIST');
  if (device.uid !== undefined || device.gid !== undefined) chown(init, device);
  init.close('target');
  init.goto(done);
  init.label(missing);
  if (type === 'p') init.call(what, 'mknodat', [register(folder), data(name), TYPES.p | fileMode, 0]);
  else bindDevice(init, device, folder, name);
  init.label(done);
}

function verify(init: ProgramBuilder, what: string, at: string, device: OciDevice, error: string): void {
  const stat = init.stat(what, at);
  const hint = `Remove ${device.path} from the root, or mount a tmpfs at /dev.`;
  init.expect(what, fileType(stat), TYPES[device.type], error, hint);
  if (device.type !== 'p')
    init.expect(what, deviceNumber(stat), makedev(device.major ?? 0, device.minor ?? 0), error, hint);
}

function chown(init: ProgramBuilder, device: OciDevice): void {
  const { path, uid = 0, gid = 0 } = device;
  init.call(
    `give ${path} to ${uid}:${gid}`,
    'fchownat',
    [register('target'), data(''), uid, gid, named(0x1000, 'AT_EMPTY_PATH')],
    // The host's node behind a bind mount belongs to nobody in a user namespace.
    { allow: ['EPERM', 'EINVAL'] },
  );
}

/** The host's node of the same path, which must be that device. */
function bindDevice(init: ProgramBuilder, device: OciDevice, folder: string, name: string): void {
  const { path } = device;
  const what = `bind the host's device ${path}`;
  cloneTree(init, what, FDCWD, path, 'one', 'tree', {
    hint: 'Without the right to make devices, a container can only have those that the host has at the same path.',
  });
  verify(init, `${what}: it is another device`, 'tree', device, 'ENODEV');
  init.call(what, 'mknodat', [register(folder), data(name), named(S.IFREG | 0o644, '0100644'), 0], {
    allow: ['EEXIST'],
  });
  init.openAt2(what, register(folder), name, ['PATH', 'NOFOLLOW'], ['BENEATH', 'NO_SYMLINKS'], {
    result: 'target',
  });
  attachTree(init, what, 'tree', 'target');
  init.close('target');
  init.close('tree');
}
