/** A new file system as a detached tree: fsopen(2), fsconfig(2), fsmount(2). An option that is wrong fails by its own name. */
import type { Register } from '../plan/plan.js';
import { MOUNT_ATTR } from '../spec/mount-options.js';
import { data, NULL, named, type ProgramBuilder, register } from './builder.js';
import { FSCONFIG, FSPICK, MAX_FSCONFIG_VALUE } from './numbers.js';

export interface Filesystem {
  readonly type: string;
  readonly source?: string;
  /** The superblock's flags: `ro`, `sync`. */
  readonly flags?: readonly string[];
  /** The file system's own options: `size=1m`, `newinstance`. */
  readonly data?: readonly string[];
  /** MOUNT_ATTR_* of the mount. */
  readonly attributes?: number;
}

/** Names of attributes, for the printed plan. */
export function attributeNames(attributes: number): string {
  const atime = attributes & MOUNT_ATTR._ATIME;
  const names = (['RDONLY', 'NOSUID', 'NODEV', 'NOEXEC', 'NODIRATIME', 'NOSYMFOLLOW'] as const).filter(
    (name) => (attributes & MOUNT_ATTR[name]) !== 0,
  );
  const times =
    atime === MOUNT_ATTR._ATIME
      ? ['_ATIME']
      : atime === 0
        ? []
        : [atime === MOUNT_ATTR.NOATIME ? 'NOATIME' : 'STRICTATIME'];
  return [...names, ...times].map((name) => `MOUNT_ATTR_${name}`).join('|') || '0';
}

/** Options that stand several in one string, as fstab(5) writes them, one by one; commas inside of quotes part nothing. */
export function splitOptions(options: readonly string[]): readonly string[] {
  return options.flatMap((option) =>
    option === '' || option.includes(',') ? (option.match(/(?:[^,"]|"[^"]*"?)+/g) ?? []) : option,
  );
}

/** Whether fsconfig(2) takes all of it. */
export function fitsFsconfig(filesystem: Filesystem): boolean {
  const values = splitOptions(filesystem.data ?? []).map((option) => option.slice(option.indexOf('=') + 1));
  return [...values, filesystem.source ?? ''].every(
    (value) => Buffer.byteLength(value) <= MAX_FSCONFIG_VALUE,
  );
}

/** One option of the file system that `fs` is to become. */
function configure(program: ProgramBuilder, what: string, option: string, hint: string): void {
  const equals = option.indexOf('=');
  if (equals < 0) {
    program.call(
      what,
      'fsconfig',
      [register('fs'), named(FSCONFIG.SET_FLAG, 'FSCONFIG_SET_FLAG'), data(option), NULL, 0],
      { hint },
    );
    return;
  }
  const quoted = option.slice(equals + 1);
  const value = quoted.startsWith('"') ? quoted.replace(/^"(.*)"$/, '$1') : quoted;
  program.call(
    what,
    'fsconfig',
    [
      register('fs'),
      named(FSCONFIG.SET_STRING, 'FSCONFIG_SET_STRING'),
      data(option.slice(0, equals)),
      data(value),
      0,
    ],
    { hint },
  );
}

/** Makes it, as the detached mount `result`. `allow` is for its making: what the kernel refuses there leaves a negative `result`. */
export function makeFilesystem(
  program: ProgramBuilder,
  what: string,
  filesystem: Filesystem,
  result: Register,
  allow?: readonly string[],
): void {
  const { type, source, attributes = 0 } = filesystem;
  program.call(what, 'fsopen', [data(type), named(1, 'FSOPEN_CLOEXEC')], {
    result: 'fs',
    hint: `The kernel must have the file system ${type} (see /proc/filesystems).`,
  });
  if (source !== undefined)
    configure(program, what, `source=${source}`, 'The source does not fit this file system.');
  for (const option of [...(filesystem.flags ?? []), ...splitOptions(filesystem.data ?? [])])
    configure(
      program,
      `${what}: option ${option}`,
      option,
      `The file system ${type} must know the option ${option}.`,
    );
  const finish = () => {
    program.call(
      what,
      'fsmount',
      [register('fs'), named(1, 'FSMOUNT_CLOEXEC'), named(attributes, attributeNames(attributes))],
      { result },
    );
  };
  program.call(
    what,
    'fsconfig',
    [register('fs'), named(FSCONFIG.CMD_CREATE, 'FSCONFIG_CMD_CREATE'), NULL, NULL, 0],
    {
      hint: 'In a user namespace the kernel lets one mount only what belongs to the namespaces that one owns.',
      ...(allow === undefined ? {} : { allow, result }),
    },
  );
  if (allow === undefined) finish();
  else program.unless('negative', result, 'refused', finish);
  program.close('fs');
}

/** Changes the flags and options of the file system that is mounted at `target`. */
export function reconfigure(program: ProgramBuilder, what: string, options: readonly string[]): void {
  program.call(
    what,
    'fspick',
    [
      register('target'),
      data(''),
      named(FSPICK.CLOEXEC | FSPICK.EMPTY_PATH, 'FSPICK_CLOEXEC|FSPICK_EMPTY_PATH'),
    ],
    { result: 'fs' },
  );
  for (const option of splitOptions(options))
    configure(
      program,
      `${what}: option ${option}`,
      option,
      'The file system must let this option be changed.',
    );
  program.call(what, 'fsconfig', [
    register('fs'),
    named(FSCONFIG.CMD_RECONFIGURE, 'FSCONFIG_CMD_RECONFIGURE'),
    NULL,
    NULL,
    0,
  ]);
  program.close('fs');
}
