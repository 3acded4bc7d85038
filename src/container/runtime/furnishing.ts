/**
 * What a container has besides its processes: the record, and the cgroup with its limits. Planned first, so that the launch can be planned, and
 * made while that begins. The record is on disk before anything is made that would have to be found after a crash.
 */
import { resolve } from 'node:path';
import { Cgroup } from '../cgroup/cgroup.js';
import { createCgroup } from '../cgroup/create.js';
import { containerDeviceRules } from '../cgroup/device-rules.js';
import type { CgroupLayout } from '../cgroup/layout.js';
import type { PathRequest } from '../cgroup/path.js';
import { locateCgroup, withMissing } from '../cgroup/state.js';
import type { OciIdMapping, OciLinux, OciSpec } from '../spec/types.js';
import type { Bundle } from './bundle.js';
import { removeFolder } from './delete.js';
import type { RuntimeEnvironment } from './environment.js';
import type { PrepareOptions } from './prepare.js';
import type { ContainerRecord } from './record.js';
import type { ClassOfService } from './resctrl.js';
import type { ContainerFolder } from './store.js';

export class Furnishing {
  readonly #request: PathRequest;
  /** The host's ids of the container's root; undefined without mappings. */
  readonly owner: Ids | undefined;
  /** Set before it is finished. */
  resctrl: ClassOfService | undefined;
  #record: ContainerRecord;
  #cgroup: Cgroup;
  #made = false;

  /** @throws CgroupPathError */
  constructor(
    environment: RuntimeEnvironment,
    readonly folder: ContainerFolder,
    readonly bundle: Bundle,
    options: Pick<PrepareOptions, 'noNewKeyring'>,
    readonly layout: CgroupLayout,
  ) {
    const { linux = {} } = bundle.spec;
    const { cgroupsPath } = linux;
    this.#request = {
      id: folder.id,
      ...(cgroupsPath === undefined ? {} : { cgroupsPath }),
      manager: environment.cgroupManager,
      rootless: environment.rootless,
    };
    this.owner = hostIds(linux, { uid: 0, gid: 0 });
    this.#record = newRecord(folder.id, bundle, options);
    this.#cgroup = new Cgroup(locateCgroup({ layout, ...this.#request }));
  }

  get record(): ContainerRecord {
    return this.#record;
  }

  /** As it was made, or will be. */
  get cgroup(): Cgroup {
    return this.#cgroup;
  }

  /** Makes it; a second call does nothing. @throws CgroupError, SystemError */
  finish(): void {
    if (this.#made) return;
    this.#made = true;
    const { folder, bundle, layout, resctrl } = this;
    const { linux } = bundle.spec;
    folder.writeConfig(bundle.text);
    const plan = withMissing(this.#cgroup.state);
    this.#record = {
      ...this.#record,
      cgroup: plan,
      ...(resctrl === undefined ? {} : { resctrl: resctrl.state }),
    };
    folder.writeRecord(this.#record);
    this.#cgroup = createCgroup(layout, {
      ...this.#request,
      plan,
      resources: { ...linux?.resources, devices: containerDeviceRules(linux?.resources?.devices) },
    });
    this.#record = { ...this.#record, cgroup: this.#cgroup.state };
    const owner = cgroupOwnerOf(bundle.spec);
    if (owner !== undefined) this.#cgroup.giveTo(owner.uid, owner.gid);
    resctrl?.make();
  }

  /** Takes it back where no process has been in it. */
  async undo(): Promise<void> {
    if (this.#record.cgroup !== undefined && this.#cgroup.state === this.#record.cgroup)
      await this.#cgroup.remove();
    if (this.#made) this.resctrl?.remove();
    removeFolder(this.folder);
  }
}

function newRecord(
  id: string,
  { path, rootfs, spec }: Bundle,
  options: Pick<PrepareOptions, 'noNewKeyring'>,
): ContainerRecord {
  const { hooks, annotations } = spec;
  const later = {
    ...(hooks?.poststart === undefined ? {} : { poststart: hooks.poststart }),
    ...(hooks?.poststop === undefined ? {} : { poststop: hooks.poststop }),
  };
  return {
    ociVersion: spec.ociVersion,
    id,
    bundle: path,
    rootfs,
    created: new Date().toISOString(),
    phase: 'creating',
    ownPidNamespace:
      spec.linux?.namespaces?.some(
        (namespace) => namespace.type === 'pid' && namespace.path === undefined,
      ) === true,
    hasProcess: spec.process !== undefined,
    newKeyring: options.noNewKeyring !== true,
    ...(Object.keys(later).length === 0 ? {} : { hooks: later }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}

interface Ids {
  readonly uid: number;
  readonly gid: number;
}

/** The host's ids of a user of the container; undefined without mappings, and where they leave that user out. */
function hostIds({ uidMappings, gidMappings }: OciLinux, { uid, gid }: Ids): Ids | undefined {
  const onHost = (id: number, mappings: readonly OciIdMapping[] = []) => {
    const found = mappings.find(({ containerID, size }) => id >= containerID && id < containerID + size);
    return found === undefined ? undefined : found.hostID + id - found.containerID;
  };
  const ids = { uid: onHost(uid, uidMappings), gid: onHost(gid, gidMappings) };
  return ids.uid === undefined || ids.gid === undefined ? undefined : { uid: ids.uid, gid: ids.gid };
}

/**
 * The host's ids of whoever runs the container's program, where its cgroup of version 2 is to be theirs: in a cgroup namespace of its own, with
 * the cgroup file system mounted writable (config-linux.md, "Cgroup ownership").
 */
export function cgroupOwnerOf({
  process,
  linux = {},
  mounts = [],
}: Pick<OciSpec, 'process' | 'linux' | 'mounts'>): Ids | undefined {
  const own = linux.namespaces?.some(({ type, path }) => type === 'cgroup' && path === undefined) === true;
  const writable = mounts.some(
    ({ destination, source, options = [] }) =>
      source === 'cgroup' && resolve('/', destination) === '/sys/fs/cgroup' && !options.includes('ro'),
  );
  if (!own || !writable) return undefined;
  const user = process?.user ?? { uid: 0, gid: 0 };
  if (linux.namespaces?.some(({ type }) => type === 'user') === true) return hostIds(linux, user);
  return user.uid === 0 ? undefined : { uid: user.uid, gid: user.gid };
}
