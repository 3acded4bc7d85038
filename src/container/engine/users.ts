/**
 * `--user` and `--group-add` by the passwd and group files of a root file system (passwd(5), group(5)): files that are not ours to trust. They
 * are reached without ever leaving the root, and read up to a bound.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { openat2, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS } from '../../sys/at.js';
import { OptionError } from './errors.js';
import type { ContainerUser } from './options/compile.js';

const MAX_BYTES = 4 * 2 ** 20;
const MAX_ID = 2 ** 32 - 2;

interface Entry {
  readonly name: string;
  readonly id: number;
  readonly fields: readonly string[];
}

/** Lines `name:password:id:…`; others are passed over. */
function entries(text: string): Entry[] {
  return text.split('\n').flatMap((line) => {
    const fields = line.split(':');
    const [name = '', , id = ''] = fields;
    return name === '' || !/^\d{1,10}$/.test(id) ? [] : [{ name, id: Number(id), fields }];
  });
}

function numeric(word: string): number | undefined {
  return /^\d{1,10}$/.test(word) && Number(word) <= MAX_ID ? Number(word) : undefined;
}

/**
 * Resolves `USER[:GROUP]`, names or numbers.
 *
 * @throws OptionError for a name that the files do not have
 */
export function resolveUser(
  user: string,
  groupAdd: readonly string[],
  passwd: string,
  group: string,
): ContainerUser {
  const users = entries(passwd);
  const groups = entries(group);
  const [userWord = '', groupWord, ...more] = user.split(':');
  if (more.length > 0) throw new OptionError('--user', `${JSON.stringify(user)} is not USER[:GROUP]`);
  const uidNumber = userWord === '' ? 0 : numeric(userWord);
  // A name wins over a number: names may consist of digits.
  const found = users.find(({ name }) => name === userWord) ?? users.find(({ id }) => id === uidNumber);
  const uid = found?.id ?? uidNumber;
  if (uid === undefined) {
    throw new OptionError(
      '--user',
      `there is no user ${JSON.stringify(userWord)} in the container's /etc/passwd`,
      'a number works for any user',
    );
  }
  const gidOf = (word: string, option: string): number => {
    const id = groups.find(({ name }) => name === word)?.id ?? numeric(word);
    if (id !== undefined) return id;
    throw new OptionError(option, `there is no group ${JSON.stringify(word)} in the container's /etc/group`);
  };
  const gid =
    groupWord === undefined || groupWord === '' ? Number(found?.fields[3] ?? 0) : gidOf(groupWord, '--user');
  const memberOf =
    found === undefined || (groupWord !== undefined && groupWord !== '')
      ? []
      : groups
          .filter(({ fields }) => fields[3]?.split(',').includes(found.name) === true)
          .map(({ id }) => id);
  const additional = new Set([...memberOf, ...groupAdd.map((word) => gidOf(word, '--group-add'))]);
  const home = found?.fields[5];
  return {
    uid,
    gid: Number.isInteger(gid) && gid <= MAX_ID ? gid : 0,
    additionalGids: [...additional].filter((id) => id <= MAX_ID).sort((a, b) => a - b),
    home: home?.startsWith('/') === true ? home : '/',
  };
}

/** A file below a root; empty where there is none. */
export function readBelow(root: string, path: string): string {
  const directory = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    // Not blocking: a FIFO could stand there.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
    const fd = openat2(directory, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    if (fd === -1) return '';
    try {
      if (!fstatSync(fd).isFile()) return '';
      const bytes = Buffer.alloc(Math.min(MAX_BYTES, fstatSync(fd).size));
      return bytes.toString('utf8', 0, readSync(fd, bytes));
    } finally {
      closeSync(fd);
    }
  } finally {
    closeSync(directory);
  }
}
