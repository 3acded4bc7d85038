/**
 * Device nodes and links of /dev (config-linux.md, "Devices", "Default Devices"; runtime-linux.md, "Dev symbolic links"). Nodes are made; where
 * that is not allowed (a user namespace, a container that may not mknod), the host's own are bound. A file that stands there already
 * must be that very device.
 */
import { posix } from 'node:path';
import { MOUNT_ATTR, parseMountOptions } from '../spec/mount-options.js';
import type { OciDevice, OciSpec } from '../spec/types.js';
import { data, deviceNumber, FDCWD, fileType, named, type ProgramBuilder, register } from './builder.js';
import { attributesOf } from './mount-context.js';
import { AT, makedev, S } from './numbers.js';
import { destinationPath } from './targets.js';
import { attachTree, cloneTree, setAttributes } from './trees.js';

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

/** What a device's mount allows: to be used as a device, and nothing that a file could be used for. */
export const DEVICE_ATTRIBUTES = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC;

export const DEVICE_TYPES = { c: S.IFCHR, u: S.IFCHR, b: S.IFBLK, p: S.IFIFO } as const;

/** Where /dev is the host's own folder, nothing is made in it. */
export function devIsBound(spec: OciSpec): boolean {
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

/** Character and block devices of the configuration that every container does not have anyway. */
export function listedDevices(spec: OciSpec): readonly OciDevice[] {
  const isDefault = ({ path, major, minor, uid = 0, gid = 0 }: OciDevice) =>
    DEFAULT_DEVICES.some((one) => one.path === path && one.major === major && one.minor === minor) &&
    uid === 0 &&
    gid === 0;
  return devicesOf(spec).filter((device) => device.type !== 'p' && !isDefault(device));
}

/** @param made the launcher's descriptors, in a user namespace */
export function makeDevices(
  init: ProgramBuilder,
  spec: OciSpec,
  userNamespace: boolean,
  made: ReadonlyMap<string, number> = new Map(),
): void {
  if (devIsBound(spec)) return;
  openFolder(init, '/dev', 'dev');
  for (const device of devicesOf(spec)) {
    const folder = posix.dirname(device.path);
    const kept = made.get(device.path);
    if (folder === '/dev') makeDevice(init, device, 'dev', userNamespace, kept);
    else {
      openFolder(init, folder, 'folder');
      makeDevice(init, device, 'folder', userNamespace, kept);
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

function makeDevice(
  init: ProgramBuilder,
  device: OciDevice,
  folder: string,
  userNamespace: boolean,
  kept: number | undefined,
): void {
  const { path, type, major = 0, minor = 0, fileMode = 0o666 } = device;
  const name = posix.basename(path);
  const number = type === 'p' ? 0 : makedev(major, minor);
  const text = type === 'p' ? 'fifo' : `${type} ${major}:${minor}`;
  const what = `make the device ${path} (${text})`;
  const done = init.newLabel('device');
  // A user namespace may not make devices, but pipes.
  if (!userNamespace || type === 'p') {
    const mode = DEVICE_TYPES[type] | fileMode;
    init.call(
      what,
      'mknodat',
      [register(folder), data(name), named(mode, `0${mode.toString(8)}`), named(number, text)],
      {
        allow: ['EEXIST', 'EPERM'],
        result: 'made',
      },
    );
    // A new one is root's, with the mode asked for (the umask is 0). What was there already may be the host's, bound: never given away.
    if ((device.uid ?? 0) === 0 && (device.gid ?? 0) === 0) init.jump('not-negative', 'made', done);
    else
      init.unless('negative', 'made', 'not-made', () => {
        chown(init, device, folder, name);
        init.goto(done);
      });
  }
  init.openAt2(what, register(folder), name, ['PATH', 'NOFOLLOW'], ['BENEATH', 'NO_MAGICLINKS'], {
    allow: ['ENOENT'],
    result: 'target',
  });
  const missing = init.newLabel('missing');
  init.jump('negative', 'target', missing);
  verify(init, `use ${path}: another file is there than the device ${text}`, 'target', device, 'EEXIST');
  init.close('target');
  init.goto(done);
  init.label(missing);
  if (type === 'p') init.call(what, 'mknodat', [register(folder), data(name), DEVICE_TYPES.p | fileMode, 0]);
  else bindDevice(init, device, folder, name, kept);
  init.label(done);
}

function verify(init: ProgramBuilder, what: string, at: string, device: OciDevice, error: string): void {
  const stat = init.stat(what, at);
  const hint = `Remove ${device.path} from the root, or mount a tmpfs at /dev.`;
  init.expect(what, fileType(stat), DEVICE_TYPES[device.type], error, hint);
  if (device.type !== 'p')
    init.expect(what, deviceNumber(stat), makedev(device.major ?? 0, device.minor ?? 0), error, hint);
}

function chown(init: ProgramBuilder, device: OciDevice, folder: string, name: string): void {
  const { path, uid = 0, gid = 0 } = device;
  const what = `give ${path} to ${uid}:${gid}`;
  init.openAt2(what, register(folder), name, ['PATH', 'NOFOLLOW'], ['BENEATH', 'NO_MAGICLINKS'], {
    result: 'target',
  });
  verify(init, what, 'target', device, 'EEXIST');
  init.call(
    what,
    'fchownat',
    [register('target'), data(''), uid, gid, named(AT.EMPTY_PATH, 'AT_EMPTY_PATH')],
    { allow: ['EPERM', 'EINVAL'] },
  );
  init.close('target');
}

/** The launcher's node, where it could make one; else the host's of the same path. It must be that device. */
function bindDevice(
  init: ProgramBuilder,
  device: OciDevice,
  folder: string,
  name: string,
  kept: number | undefined,
): void {
  const { path } = device;
  const what = `bind the host's device ${path}`;
  const taken = init.newLabel('taken');
  if (kept !== undefined) {
    init.duplicate(`take ${path} from the launcher`, kept, 'tree', { allow: ['EBADF'] });
    init.jump('not-negative', 'tree', taken);
  }
  cloneTree(init, what, FDCWD, path, 'one', 'tree', {
    hint: 'Without the right to make devices, a container can only have those that the host has at the same path.',
  });
  setAttributes(init, what, 'tree', attributesOf(DEVICE_ATTRIBUTES, 0));
  if (kept !== undefined) init.label(taken);
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
