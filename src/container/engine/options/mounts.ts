/**
 * `-v`, `--mount` and `--tmpfs` to mounts of config.json (docker's syntax). Sources are names of volumes, or absolute paths that exist: a
 * missing one is an error that names it, and is not made. Refuses destinations that are not absolute, that are named twice, or that would hide all of /.
 */
import type { OciMount } from '../../spec/types.js';
import { OptionError } from '../errors.js';
import type { VolumeUse } from '../record.js';

export interface MountFacts {
  /** What a path of the host is; undefined where there is nothing. */
  kindOf(path: string): 'directory' | 'other' | undefined;
  /** The container's volumes; empty while they are being planned. */
  readonly volumes: readonly VolumeUse[];
  /** The folder of a volume's contents. */
  volumeData(name: string): string;
}

const PROPAGATIONS = new Set(['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave']);
/** Options of `-v` that are mount options as they stand. */
const BIND_OPTIONS = new Set([...PROPAGATIONS, 'nosuid', 'nodev', 'noexec', 'suid', 'dev', 'exec']);

function destination(option: string, path: string): string {
  if (!path.startsWith('/'))
    throw new OptionError(
      option,
      `${JSON.stringify(path)} is no absolute path in the container`,
      'for instance -v /srv/data:/data, or -v data:/data for a volume',
    );
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..') || path.includes('\0'))
    throw new OptionError(option, `${JSON.stringify(path)} may not hold ".."`);
  if (parts.length === 0) throw new OptionError(option, 'the container’s / itself cannot be mounted over');
  return `/${parts.join('/')}`;
}

function source(option: string, path: string, facts: MountFacts): string {
  if (!path.startsWith('/')) {
    throw new OptionError(
      option,
      `${JSON.stringify(path)} is no absolute path of the host`,
      'there are no named volumes: give a folder, for instance -v "$PWD/data:/data"',
    );
  }
  if (facts.kindOf(path) === undefined)
    throw new OptionError(option, `${path} does not exist on the host`, `make it first: mkdir -p ${path}`);
  return path;
}

function bind(from: string, to: string, readonly: boolean, options: readonly string[]): OciMount {
  const propagation = options.some((one) => PROPAGATIONS.has(one)) ? [] : ['rprivate'];
  // Device nodes and set-uid programs of the host are no use for a container that did not ask for them.
  const safe = ['nosuid', 'nodev'].filter((one) => !options.includes(one.slice(2)));
  return {
    destination: to,
    type: 'bind',
    source: from,
    options: ['rbind', ...(readonly ? ['ro', 'rro'] : ['rw']), ...safe, ...options, ...propagation].filter(
      (one, index, all) => all.indexOf(one) === index && !['suid', 'dev', 'exec'].includes(one),
    ),
  };
}

/** What an option asks for: a mount as it stands, or a volume, which gets its name and its folder elsewhere. */
export type UserMount =
  | { readonly kind: 'mount'; readonly mount: OciMount }
  | {
      readonly kind: 'volume';
      /** Undefined: one that the container gets for itself. */
      readonly name: string | undefined;
      readonly destination: string;
      readonly options: readonly string[];
      readonly copyUp: boolean;
    };

function volume(
  option: string,
  name: string | undefined,
  to: string,
  readonly: boolean,
  options: readonly string[],
  copyUp: boolean,
): UserMount {
  if (name !== undefined && !/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/.test(name)) {
    throw new OptionError(
      option,
      `${JSON.stringify(name)} is neither an absolute path of the host nor a name of a volume`,
      'a folder: -v "$PWD/data:/data"; a volume: -v data:/data',
    );
  }
  const words = bind('', to, readonly, options).options ?? [];
  return { kind: 'volume', name, destination: to, options: words, copyUp };
}

/** `-v [SOURCE:]DESTINATION[:OPTIONS]`. @throws OptionError */
function parseVolume(value: string, facts: MountFacts): UserMount {
  const parts = value.split(':');
  const [from = '', to = '', optionText, ...more] = parts;
  if (more.length > 0 || value === '')
    throw new OptionError('-v', `${JSON.stringify(value)} is not SOURCE:DESTINATION[:OPTIONS]`);
  if (parts.length === 1) return volume('-v', undefined, destination('-v', from), false, [], true);
  let readonly = false;
  let copyUp = true;
  const kept: string[] = [];
  for (const option of optionText === undefined || optionText === '' ? [] : optionText.split(',')) {
    if (option === 'ro') readonly = true;
    else if (option === 'nocopy' && !from.startsWith('/')) copyUp = false;
    else if (BIND_OPTIONS.has(option)) kept.push(option);
    // Labels of SELinux, which is not there, and what is the default anyway.
    else if (option !== 'rw' && option !== 'z' && option !== 'Z')
      throw new OptionError(
        '-v',
        `${JSON.stringify(option)} is no option of a volume`,
        'ro, rw, nocopy (of volumes), nosuid, nodev, noexec, rslave, rshared',
      );
  }
  if (!from.startsWith('/')) return volume('-v', from, destination('-v', to), readonly, kept, copyUp);
  return {
    kind: 'mount',
    mount: bind(source('-v', from, facts), destination('-v', to), readonly, kept),
  };
}

function tmpfs(option: string, to: string, options: readonly string[]): OciMount {
  const has = (name: string) => options.some((one) => one === name || one.startsWith(`${name}=`));
  const defaults = ['nosuid', 'nodev', 'noexec'].filter((one) => !has(one) && !has(one.slice(2)));
  for (const one of options) {
    if (
      !/^(size|mode|uid|gid|nr_inodes)=[0-9]+[kmgKMG%]?$|^(ro|rw|exec|noexec|suid|nosuid|dev|nodev)$/.test(
        one,
      )
    )
      throw new OptionError(
        option,
        `${JSON.stringify(one)} is no option of a tmpfs`,
        'size=64m, mode=1777, uid=, gid=, ro, exec',
      );
  }
  return { destination: to, type: 'tmpfs', source: 'tmpfs', options: [...defaults, ...options] };
}

/** `--tmpfs DESTINATION[:OPTIONS]`. @throws OptionError */
function parseTmpfs(value: string): OciMount {
  const [to = '', options = ''] = value.split(/:(.*)/s);
  return tmpfs('--tmpfs', destination('--tmpfs', to), options === '' ? [] : options.split(','));
}

const SOURCE_KEYS = ['source', 'src'];
const TARGET_KEYS = ['target', 'destination', 'dst'];

type Take = (key: string) => string | undefined;

function isOn(value: string | undefined): boolean {
  return value === '' || value === 'true' || value === '1';
}

function bindMount(to: string, readonly: boolean, take: Take, facts: MountFacts): UserMount {
  const propagation = take('bind-propagation');
  if (propagation !== undefined && !PROPAGATIONS.has(propagation))
    throw new OptionError('--mount', `${JSON.stringify(propagation)} is no propagation`);
  const recursive = take('bind-recursive');
  if (recursive !== undefined && !['enabled', 'disabled'].includes(recursive))
    throw new OptionError('--mount', 'bind-recursive is enabled or disabled');
  const alone = recursive === 'disabled' || isOn(take('bind-nonrecursive'));
  const from = source('--mount', take('source') ?? '', facts);
  const mount = bind(from, to, readonly, propagation === undefined ? [] : [propagation]);
  const options = (mount.options ?? []).map((one) => (alone && one === 'rbind' ? 'bind' : one));
  return { kind: 'mount', mount: { ...mount, options } };
}

function tmpfsMount(to: string, readonly: boolean, take: Take): UserMount {
  const size = take('tmpfs-size');
  const mode = take('tmpfs-mode');
  const words = [
    ...(size === undefined ? [] : [`size=${size}`]),
    ...(mode === undefined ? [] : [`mode=${mode}`]),
    ...(readonly ? ['ro'] : []),
  ];
  return { kind: 'mount', mount: tmpfs('--mount', to, words) };
}

/** `--mount type=bind|volume|tmpfs,source=…,target=…[,readonly]`; a volume without a type. @throws OptionError */
export function parseMount(value: string, facts: MountFacts): UserMount {
  const fields = new Map<string, string>();
  for (const part of value.split(',')) {
    const [key = '', ...rest] = part.split('=');
    const name = SOURCE_KEYS.includes(key)
      ? 'source'
      : TARGET_KEYS.includes(key)
        ? 'target'
        : key === 'ro'
          ? 'readonly'
          : key;
    if (fields.has(name))
      throw new OptionError('--mount', `${key} is there twice in ${JSON.stringify(value)}`);
    fields.set(name, rest.join('='));
  }
  const take = (key: string): string | undefined => {
    const found = fields.get(key);
    fields.delete(key);
    return found;
  };
  const type = take('type') ?? 'volume';
  const to = destination('--mount', take('target') ?? '');
  const readonly = isOn(take('readonly'));
  let mount: UserMount;
  if (type === 'bind') mount = bindMount(to, readonly, take, facts);
  else if (type === 'tmpfs') mount = tmpfsMount(to, readonly, take);
  else if (type === 'volume') {
    const driver = take('volume-driver');
    if (driver !== undefined && driver !== 'local')
      throw new OptionError('--mount', `there is no volume driver ${driver}`, 'local is the only one');
    mount = volume('--mount', take('source'), to, readonly, [], !isOn(take('volume-nocopy')));
  } else throw new OptionError('--mount', `type ${JSON.stringify(type)} is not bind, volume or tmpfs`);
  const [unknown] = fields.keys();
  if (unknown !== undefined)
    throw new OptionError('--mount', `${JSON.stringify(unknown)} is no field of a ${type} mount`);
  return mount;
}

function destinationOf(mount: UserMount): string {
  return mount.kind === 'mount' ? mount.mount.destination : mount.destination;
}

/** All that a container's options mount. @throws OptionError */
export function parseMounts(options: MountOptions, facts: MountFacts): readonly UserMount[] {
  const mounts: readonly UserMount[] = [
    ...options.volume.map((one) => parseVolume(one, facts)),
    ...options.mount.map((one) => parseMount(one, facts)),
    ...options.tmpfs.map((one) => ({ kind: 'mount' as const, mount: parseTmpfs(one) })),
  ];
  const seen = new Set<string>();
  for (const mount of mounts) {
    const to = destinationOf(mount);
    if (seen.has(to)) throw new OptionError('-v', `${to} is mounted twice`);
    seen.add(to);
  }
  return mounts;
}

export interface MountOptions {
  readonly volume: readonly string[];
  readonly mount: readonly string[];
  readonly tmpfs: readonly string[];
}

/**
 * The volumes of a new container: those that its options name, and new ones for folders that the options or the image want a volume for.
 *
 * @param imageVolumes absolute folders, as the image says
 * @param newName of a volume that nobody has named
 */
export function planVolumes(
  options: MountOptions,
  imageVolumes: readonly string[],
  newName: () => string,
  facts: MountFacts,
): readonly VolumeUse[] {
  const mounts = parseMounts(options, facts);
  const taken = new Set(mounts.map(destinationOf));
  const asked = mounts.flatMap((one) =>
    one.kind === 'mount'
      ? []
      : [
          {
            name: one.name ?? newName(),
            destination: one.destination,
            anonymous: one.name === undefined,
            options: one.options,
            copyUp: one.copyUp,
          },
        ],
  );
  const own = [...new Set(imageVolumes.map((one) => destination('VOLUME of the image', one)))]
    .filter((to) => !taken.has(to))
    .map((to) => ({
      name: newName(),
      destination: to,
      anonymous: true,
      options: bind('', to, false, []).options ?? [],
      copyUp: true,
    }));
  return [...asked, ...own];
}

/** All of a container's mounts, shallow ones first, so that none hides another. @throws OptionError */
export function userMounts(options: MountOptions, facts: MountFacts): readonly OciMount[] {
  const mounts = [
    ...parseMounts(options, facts).flatMap((one) => (one.kind === 'mount' ? [one.mount] : [])),
    ...facts.volumes.map((use) => ({
      destination: use.destination,
      type: 'bind',
      source: facts.volumeData(use.name),
      options: use.options,
    })),
  ];
  return mounts.sort((a, b) => a.destination.split('/').length - b.destination.split('/').length);
}
