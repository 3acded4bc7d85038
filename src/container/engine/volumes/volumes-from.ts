/** `--volumes-from CONTAINER[:ro]`: the options of another container's mounts in front of a container's own, which win where both want a place. */
import type { EngineContext } from '../context.js';
import { ContainerNotFoundError, OptionError } from '../errors.js';
import type { MountOptions } from '../options/mounts.js';
import { parseMounts } from '../options/mounts.js';
import type { ContainerOptions } from '../options/options.js';

/** Other containers' sources were there when they were made; whether they still are is asked at the start. */
const ANY = { kindOf: () => 'directory' as const, volumes: [], volumeData: () => '/' };

function places(options: MountOptions): Set<string> {
  return new Set(
    parseMounts(options, ANY).map((one) => (one.kind === 'mount' ? one.mount.destination : one.destination)),
  );
}

/** @throws OptionError, ContainerNotFoundError */
export function withVolumesFrom(context: EngineContext, options: ContainerOptions): ContainerOptions {
  let { volume, mount } = options;
  for (const value of options.volumesFrom) {
    const [word = '', access = 'rw', ...more] = value.split(':');
    if (more.length > 0 || (access !== 'rw' && access !== 'ro'))
      throw new OptionError('--volumes-from', `${JSON.stringify(value)} is not CONTAINER[:ro|:rw]`);
    const other = context.store.read(context.store.resolve(word));
    if (other === undefined)
      throw new ContainerNotFoundError(`there is no container ${word}`, { code: 'CONTAINER_NOT_FOUND' });
    const taken = places({ ...options, volume, mount });
    const isFree = (one: Partial<MountOptions>) =>
      [...places({ volume: [], mount: [], tmpfs: [], ...one })].every((place) => !taken.has(place));
    const ro = access === 'ro';
    const binds = other.options.volume.filter((one) => one.startsWith('/') && one.includes(':'));
    const named = other.volumes.map(
      ({ name, destination, options: words }) =>
        `${name}:${destination}${words.includes('ro') || ro ? ':ro' : ''}`,
    );
    volume = [
      ...volume,
      ...[...binds.map((one) => (ro ? readOnly(one) : one)), ...named].filter((one) =>
        isFree({ volume: [one] }),
      ),
    ];
    mount = [
      ...mount,
      ...other.options.mount
        .filter((one) => /(^|,)type=bind(,|$)/.test(one) && isFree({ mount: [one] }))
        .map((one) => (ro && !/(^|,)(ro|readonly)(=|,|$)/.test(one) ? `${one},readonly` : one)),
    ];
  }
  return { ...options, volume, mount };
}

function readOnly(volume: string): string {
  const [from = '', to = '', words = ''] = volume.split(':');
  const kept = words.split(',').filter((word) => word !== '' && word !== 'rw' && word !== 'ro');
  return [from, to, ['ro', ...kept].join(',')].join(':');
}
