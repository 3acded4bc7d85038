/** What people do with volumes: create, list, remove, prune; and what removing a container does with its own. */
import { randomBytes } from 'node:crypto';
import type { EngineContext } from '../context.js';
import { VolumeError } from '../errors.js';
import type { ContainerRecord } from '../record.js';
import { checkVolumeName, type Volume, VolumeStore } from './volume-store.js';

export function volumeStore(context: EngineContext): VolumeStore {
  return new VolumeStore(context.paths);
}

/** A name for a volume that nobody has named: 64 hexadecimal digits. */
export function anonymousName(): string {
  return randomBytes(32).toString('hex');
}

/** @throws VolumeError when there is one of that name */
export async function createVolume(
  context: EngineContext,
  name: string | undefined,
  labels: Readonly<Record<string, string>>,
): Promise<Volume> {
  const store = volumeStore(context);
  const wanted = name === undefined ? anonymousName() : checkVolumeName(name);
  return store.locked(() => {
    if (store.read(wanted) !== undefined) {
      throw new VolumeError(`there is a volume ${wanted} already`, {
        code: 'VOLUME_EXISTS',
        hint: `use it as it is, or remove it: tvmm volume rm ${wanted}`,
      });
    }
    return store.ensure(wanted, { labels, anonymous: name === undefined });
  });
}

/** Makes those of a new container's volumes that are not there. Its record is written. */
export async function makeVolumes(context: EngineContext, { volumes }: ContainerRecord): Promise<void> {
  if (volumes.length === 0) return;
  const store = volumeStore(context);
  await store.locked(() => {
    for (const { name, anonymous } of volumes) store.ensure(name, { anonymous });
  });
}

/** Containers that mount a volume, running or not. */
export function usersOf(context: EngineContext, name: string): ContainerRecord[] {
  return context.store.all().filter(({ volumes }) => volumes.some((use) => use.name === name));
}

/** @throws VolumeError when it is not there, or a container uses it */
export async function removeVolume(context: EngineContext, name: string): Promise<void> {
  const store = volumeStore(context);
  await store.locked(() => {
    store.find(name);
    const users = usersOf(context, name);
    if (users.length > 0) {
      throw new VolumeError(`volume ${name} is in use by ${users.map((one) => one.name).join(', ')}`, {
        code: 'VOLUME_IN_USE',
        hint: 'remove these containers first',
      });
    }
    store.remove(name);
  });
}

/** Removes volumes that no container uses: those without a name, or all. @returns their names */
export async function pruneVolumes(
  context: EngineContext,
  { all = false, matches = () => true }: { all?: boolean; matches?: (volume: Volume) => boolean } = {},
): Promise<string[]> {
  const store = volumeStore(context);
  return store.locked(() => {
    for (const name of store.rubbish()) store.remove(name);
    const used = new Set(context.store.all().flatMap(({ volumes }) => volumes.map(({ name }) => name)));
    const going = store
      .all()
      .filter((volume) => !used.has(volume.name) && (all || volume.anonymous) && matches(volume))
      .map(({ name }) => name);
    for (const name of going) store.remove(name);
    return going;
  });
}

/** Removes a container's volumes without a name that no other container has taken over. The container's record is gone already. */
export async function removeAnonymous(context: EngineContext, record: ContainerRecord): Promise<void> {
  const own = record.volumes.filter(({ anonymous }) => anonymous);
  if (own.length === 0) return;
  const store = volumeStore(context);
  await store.locked(() => {
    for (const { name } of own) if (usersOf(context, name).length === 0) store.remove(name);
  });
}
