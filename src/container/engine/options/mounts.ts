/**
 * `-v`, `--mount` and `--tmpfs` to mounts of config.json (docker's syntax). Sources are absolute paths that exist: a missing one is an
 * error that names it, and is not made. Refuses destinations that are not absolute, that are named twice, or that would hide all of /.
 */
import type { OciMount } from '../../spec/types.js';
import { OptionError } from '../errors.js';

export interface MountFacts {
  /** What a path of the host is; undefined where there is nothing. */
  kindOf(path: string): 'directory' | 'other' | undefined;
}

const PROPAGATIONS = new Set(['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave']);
/** Options of `-v` that are mount options as they stand. */
const BIND_OPTIONS = new Set([...PROPAGATIONS, 'nosuid', 'nodev', 'noexec', 'suid', 'dev', 'exec']);

function destination(option: string, path: string): string {
  if (!path.startsWith('/'))
    throw new OptionError(option, `${JSON.stringify(path)} is no absolute path in the container`);
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

/** `-v SOURCE:DESTINATION[:OPTIONS]`. @throws OptionError */
export function parseVolume(value: string, facts: MountFacts): OciMount {
  const parts = value.split(':');
  const [from = '', to = '', optionText, ...more] = parts;
  if (parts.length < 2 || more.length > 0)
    throw new OptionError('-v', `${JSON.stringify(value)} is not SOURCE:DESTINATION[:OPTIONS]`);
  const options = optionText === undefined || optionText === '' ? [] : optionText.split(',');
  let readonly = false;
  const kept: string[] = [];
  for (const option of options) {
    if (option === 'ro') readonly = true;
    else if (BIND_OPTIONS.has(option)) kept.push(option);
    // Labels of SELinux, which is not there, and what is the default anyway.
    else if (option !== 'rw' && option !== 'z' && option !== 'Z')
      throw new OptionError(
        '-v',
        `${JSON.stringify(option)} is no option of a volume`,
        'ro, rw, nosuid, nodev, noexec, rslave, rshared',
      );
  }
  return bind(source('-v', from, facts), destination('-v', to), readonly, kept);
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
export function parseTmpfs(value: string): OciMount {
  const [to = '', options = ''] = value.split(/:(.*)/s);
  return tmpfs('--tmpfs', destination('--tmpfs', to), options === '' ? [] : options.split(','));
}

const SOURCE_KEYS = ['source', 'src'];
const TARGET_KEYS = ['target', 'destination', 'dst'];

/** `--mount type=bind|tmpfs,source=…,target=…[,readonly]`. @throws OptionError */
export function parseMount(value: string, facts: MountFacts): OciMount {
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
  const type = take('type') ?? 'bind';
  const to = destination('--mount', take('target') ?? '');
  const readonlyText = take('readonly');
  const readonly = readonlyText === '' || readonlyText === 'true' || readonlyText === '1';
  let mount: OciMount;
  if (type === 'bind') {
    const propagation = take('bind-propagation');
    if (propagation !== undefined && !PROPAGATIONS.has(propagation))
      throw new OptionError('--mount', `${JSON.stringify(propagation)} is no propagation`);
    const from = source('--mount', take('source') ?? '', facts);
    mount = bind(from, to, readonly, propagation === undefined ? [] : [propagation]);
  } else if (type === 'tmpfs') {
    const size = take('tmpfs-size');
    const mode = take('tmpfs-mode');
    mount = tmpfs('--mount', to, [
      ...(size === undefined ? [] : [`size=${size}`]),
      ...(mode === undefined ? [] : [`mode=${mode}`]),
      ...(readonly ? ['ro'] : []),
    ]);
  } else throw new OptionError('--mount', `type ${JSON.stringify(type)} is not bind or tmpfs`);
  const [unknown] = fields.keys();
  if (unknown !== undefined)
    throw new OptionError('--mount', `${JSON.stringify(unknown)} is no field of a ${type} mount`);
  return mount;
}

/** All of a container's mounts, shallow ones first, so that none hides another. @throws OptionError */
export function userMounts(
  options: {
    readonly volume: readonly string[];
    readonly mount: readonly string[];
    readonly tmpfs: readonly string[];
  },
  facts: MountFacts,
): readonly OciMount[] {
  const mounts = [
    ...options.volume.map((one) => parseVolume(one, facts)),
    ...options.mount.map((one) => parseMount(one, facts)),
    ...options.tmpfs.map(parseTmpfs),
  ];
  const seen = new Set<string>();
  for (const { destination: to } of mounts) {
    if (seen.has(to)) throw new OptionError('-v', `${to} is mounted twice`);
    seen.add(to);
  }
  return mounts.sort((a, b) => a.destination.split('/').length - b.destination.split('/').length);
}
