/**
 * Devices for containers in user namespaces (config-linux.md, "Devices"): the root of one may not make nodes, so the launcher makes those that
 * the configuration lists before it gives birth, with owner and mode, in a closed folder of the container's state, and keeps a mount of
 * each at a descriptor of its own. The nodes go with the folder: what has been unlinked could not be mounted any more. Where the launcher
 * may not make nodes either, none is kept, and the host's node of the same path is what there is.
 */
import { posix } from 'node:path';
import { MOUNT_ATTR, MS } from '../spec/mount-options.js';
import type { OciDevice, OciIdMapping, OciSpec } from '../spec/types.js';
import { data, FDCWD, named, type ProgramBuilder, register } from './builder.js';
import type { CreateContext } from './context.js';
import { DEVICE_ATTRIBUTES, DEVICE_TYPES, devIsBound, listedDevices } from './devices.js';
import { attributesOf } from './mount-context.js';
import type { NamespacePlan } from './namespaces.js';
import { AT, makedev, O } from './numbers.js';
import { cloneTree, setAttributes } from './trees.js';

/** Descriptors by the devices' paths; below each there may be nothing. */
export type MadeDevices = ReadonlyMap<string, number>;

/** Each takes a descriptor, of which there are usually 1,024. */
const MOST = 256;
/** In the state folder. */
const FOLDER = 'devices';

/** @param first the lowest descriptor that is free for them */
export function openDevices(
  launcher: ProgramBuilder,
  spec: OciSpec,
  context: CreateContext,
  namespaces: NamespacePlan,
  first: number,
): MadeDevices {
  const made = new Map<string, number>();
  const { host, scratch } = context;
  // A namespace that is joined has maps that nobody here knows; other namespaces' roots may make no nodes that work.
  if (!namespaces.created.has('user') || host.rootless || host.userNamespace === true) return made;
  if (scratch === undefined || !namespaces.has('mount') || devIsBound(spec)) return made;
  const devices = listedDevices(spec).slice(0, MOST);
  if (devices.length === 0) return made;
  const folder = posix.join(scratch, FOLDER);
  launcher.call(`make ${folder}`, 'mkdirat', [FDCWD, data(folder), named(0o700, '0700')], {
    allow: ['EEXIST'],
  });
  launcher.open(`open ${folder}`, folder, ['PATH', 'DIRECTORY', 'NOFOLLOW'], 'scratch');
  for (const [index, device] of devices.entries()) {
    const descriptor = first + index;
    make(launcher, device, `device-${index}`, descriptor, spec);
    made.set(device.path, descriptor);
  }
  launcher.close('scratch');
  return made;
}

function make(
  launcher: ProgramBuilder,
  device: OciDevice,
  name: string,
  descriptor: number,
  spec: OciSpec,
): void {
  const { path, type, major = 0, minor = 0, fileMode = 0o666, uid = 0, gid = 0 } = device;
  const what = `make the device ${path} (${type} ${major}:${minor}) outside of the user namespace`;
  const at = [register('scratch'), data(name)];
  const mode = DEVICE_TYPES[type] | fileMode;
  // Of a launch that was killed.
  launcher.call(what, 'unlinkat', [...at, 0], { allow: ['ENOENT'] });
  launcher.call(
    what,
    'mknodat',
    [...at, named(mode, `0${mode.toString(8)}`), named(makedev(major, minor), `${type} ${major}:${minor}`)],
    { allow: ['EPERM'], result: 'made' },
  );
  launcher.unless('negative', 'made', 'device', () => {
    // The umask is the caller's.
    launcher.call(what, 'fchmodat', [...at, named(fileMode, `0${fileMode.toString(8)}`)]);
    const owner = [hostId(spec.linux?.uidMappings, uid), hostId(spec.linux?.gidMappings, gid)] as const;
    if (owner[0] !== undefined && owner[1] !== undefined)
      launcher.call(`give ${path} to ${uid}:${gid}`, 'fchownat', [
        ...at,
        owner[0],
        owner[1],
        named(AT.SYMLINK_NOFOLLOW, 'AT_SYMLINK_NOFOLLOW'),
      ]);
    cloneTree(launcher, what, register('scratch'), name, 'one', 'tree');
    setAttributes(launcher, what, 'tree', {
      ...attributesOf(DEVICE_ATTRIBUTES, MOUNT_ATTR.NODEV | MOUNT_ATTR.RDONLY),
      propagation: MS.PRIVATE,
    });
    launcher.call(what, 'dup3', [register('tree'), descriptor, named(O.CLOEXEC, 'O_CLOEXEC')]);
    launcher.close('tree');
  });
}

function hostId(mappings: readonly OciIdMapping[] | undefined, id: number): number | undefined {
  const range = mappings?.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  return range === undefined ? undefined : range.hostID + id - range.containerID;
}
