/**
 * Which ids a user may map into user namespaces: subuid(5) and subgid(5), lines of `NAME-OR-UID:FIRST:COUNT`, as newuidmap(1) reads them. The
 * parsing is pure. Ids of a directory service (nsswitch `subid:`) are not looked up.
 */
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { OciIdMapping } from '../spec/types.js';

export interface Range {
  readonly first: number;
  readonly count: number;
}

const MAX_ID = 0xffff_fffe;
/** The kernel takes 340 lines (user_namespaces(7)); the first is the user's own. */
const MAX_RANGES = 339;

/** The ranges of a user, ascending, without those that overlap an earlier one or the user's own id. */
export function subordinateRanges(text: string, owner: { name: string | undefined; uid: number }): Range[] {
  const found = text.split('\n').flatMap((line): Range[] => {
    const [who, firstText = '', countText = '', ...rest] = line.trim().split(':');
    const [first, count] = [Number(firstText), Number(countText)];
    const mine = who !== undefined && who !== '' && (who === owner.name || who === String(owner.uid));
    const sound =
      rest.length === 0 &&
      /^\d+$/.test(firstText) &&
      /^\d+$/.test(countText) &&
      count > 0 &&
      first + count - 1 <= MAX_ID &&
      !(first <= owner.uid && owner.uid < first + count);
    return mine && sound ? [{ first, count }] : [];
  });
  const kept: Range[] = [];
  for (const range of found.sort((a, b) => a.first - b.first)) {
    const last = kept.at(-1);
    if (last === undefined || range.first >= last.first + last.count) kept.push(range);
  }
  return kept.slice(0, MAX_RANGES);
}

/** Inside: 0 is the user, everything from 1 on comes from the ranges, one after the other. */
export function idMapOf(own: number, ranges: readonly Range[]): OciIdMapping[] {
  const mappings: OciIdMapping[] = [{ containerID: 0, hostID: own, size: 1 }];
  let next = 1;
  for (const { first, count } of ranges) {
    mappings.push({ containerID: next, hostID: first, size: count });
    next += count;
  }
  return mappings;
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** The name of a user in /etc/passwd. */
function userName(uid: number): string | undefined {
  return readIfThere('/etc/passwd')
    .split('\n')
    .map((line) => line.split(':'))
    .find((fields) => fields[2] === String(uid))?.[0];
}

export interface IdMaps {
  readonly uids: readonly OciIdMapping[];
  readonly gids: readonly OciIdMapping[];
  /** Why there is only one id; undefined where there are more. */
  readonly single?: string;
}

const TOOL_FOLDERS = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** A program in the PATH or where distributions put it. */
function findTool(name: string, path = process.env.PATH ?? ''): string | undefined {
  return [...path.split(delimiter), ...TOOL_FOLDERS.split(':')]
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, name))
    .find((file) => existsSync(file));
}

/** What this user's namespace can map: its subordinate ids where newuidmap(1) is there to map them, else itself alone. */
export function ownIdMaps(uid: number, gid: number): IdMaps {
  const owner = { name: userName(uid), uid };
  const uids = subordinateRanges(readIfThere('/etc/subuid'), owner);
  const gids = subordinateRanges(readIfThere('/etc/subgid'), owner).filter(
    ({ first, count }) => !(first <= gid && gid < first + count),
  );
  const missing = ['newuidmap', 'newgidmap'].find((tool) => findTool(tool) === undefined);
  const who = owner.name ?? String(uid);
  const single =
    missing !== undefined
      ? `${missing} is not installed (Debian package uidmap)`
      : uids.length === 0
        ? `/etc/subuid has no ids for ${who}`
        : gids.length === 0
          ? `/etc/subgid has no ids for ${who}`
          : undefined;
  return single === undefined
    ? { uids: idMapOf(uid, uids), gids: idMapOf(gid, gids) }
    : { uids: idMapOf(uid, []), gids: idMapOf(gid, []), single };
}
