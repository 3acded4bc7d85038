/**
 * What of a container's mounts and open files lies outside of its images: found at the dump by looking at the container, written beside the
 * images, and put in again from the configuration at hand at the restore. Bind mounts and what was mounted below their sources, masked
 * files, devices that are the host's, cgroups of version 1 where the container has no cgroup namespace; the standard streams.
 */
import { readFileSync, readlinkSync, statSync } from 'node:fs';
import { basename, join, posix } from 'node:path';
import type { CgroupState } from '../../cgroup/state.js';
import { SpecError, type SpecProblem } from '../../spec/errors.js';
import { Field } from '../../spec/field.js';
import { parseMountOptions } from '../../spec/mount-options.js';
import type { OciSpec } from '../../spec/types.js';
import { CheckpointError } from '../errors.js';

const KINDS = ['bind', 'null', 'host', 'cgroup'] as const;

/** A mount that criu takes from the host. */
export interface ExternalMount {
  /** Where it is in the container. */
  readonly point: string;
  /** `bind`: of config.json; `null`: /dev/null; `host`: the host's file of the same path; `cgroup`: the container's folder of a hierarchy. */
  readonly kind: (typeof KINDS)[number];
  /** Of a `bind` the destination in config.json, of a `cgroup` its v1 controller, or nothing for version 2. */
  readonly of?: string;
  /** Below that one's source: `/sub`, or nothing. */
  readonly below: string;
}

/** What stands in `tvmm.json` beside criu's images. */
export interface CheckpointNote {
  readonly mounts: readonly ExternalMount[];
  /** What the standard streams are to criu, by number; empty for those that it restores itself. */
  readonly streams: readonly string[];
  /** The folders in the root file system, and files, on which something is mounted. */
  readonly points: readonly { readonly path: string; readonly folder: boolean }[];
}

export const NOTE_FILE = 'tvmm.json';
const NOTE_VERSION = 1;

/** A line of /proc/PID/mountinfo (proc(5)). */
export interface MountLine {
  readonly id: number;
  readonly parent: number;
  /** The folder of its file system that it shows. */
  readonly root: string;
  readonly point: string;
  readonly type: string;
  /** Of the file system. */
  readonly options: string;
}

export function parseMountinfo(text: string): MountLine[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [id, parent, , root, point] = before.split(' ');
    const [type = '', , options = ''] = after.split(' ');
    return root === undefined || point === undefined
      ? []
      : [
          {
            id: Number(id),
            parent: Number(parent),
            root: plainPath(root),
            point: plainPath(point),
            type,
            options,
          },
        ];
  });
}

/** Blanks and backslashes stand as octal numbers. */
function plainPath(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/**
 * The external ones of a container's mounts.
 *
 * @param resolve finds the place in the container that a path of config.json means, its symbolic links followed
 * @param cgroup the container's, where it sees the host's hierarchies
 */
export function findExternal(
  lines: readonly MountLine[],
  spec: OciSpec,
  resolve: (path: string) => string,
  cgroup: CgroupState | undefined,
): ExternalMount[] {
  const { mounts = [], linux = {} } = spec;
  const configured = new Map(mounts.map((mount) => [resolve(mount.destination), mount]));
  const masked = new Set((linux.maskedPaths ?? []).map(resolve));
  const ownCgroups = linux.namespaces?.some(({ type }) => type === 'cgroup') === true;
  const found = new Map<number, ExternalMount>();
  for (const { id, parent, root, point, type, options } of lines) {
    const mount = configured.get(point);
    const around = found.get(parent);
    const add = (one: Omit<ExternalMount, 'point'>) => found.set(id, { point, ...one });
    if (mount !== undefined) {
      if (parseMountOptions(mount.options ?? []).bind !== undefined)
        add({ kind: 'bind', of: mount.destination, below: '' });
    } else if (masked.has(point) && basename(root) === 'null') {
      add({ kind: 'null', below: '' });
    } else if (/^cgroup2?$/.test(type) && root !== '/' && !ownCgroups) {
      const controller = type === 'cgroup2' ? '' : controllerOf(options, cgroup);
      if (controller !== undefined) add({ kind: 'cgroup', of: controller, below: '' });
    } else if (around?.kind === 'bind') {
      const above = lines.find((line) => line.id === parent)?.point ?? '';
      add({
        kind: 'bind',
        ...(around.of === undefined ? {} : { of: around.of }),
        below: `${around.below}/${posix.relative(above, point)}`,
      });
    } else if (point.startsWith('/dev/') && root !== '/' && ['devtmpfs', 'tmpfs'].includes(type)) {
      // What a container with user ids of its own has of the host's devices; /dev/console is a terminal's, of type devpts.
      if (!isOwn(lines, id)) add({ kind: 'host', below: '' });
    }
  }
  return [...found.values()];
}

function controllerOf(options: string, cgroup: CgroupState | undefined): string | undefined {
  return Object.keys(cgroup?.v1 ?? {}).find((name) => options.split(',').includes(name));
}

/** Whether another mount of the container shows all of the same file system: then criu finds it in there. */
function isOwn(lines: readonly MountLine[], id: number): boolean {
  const own = lines.find((line) => line.id === id);
  return lines.some((line) => line.root === '/' && line.type === own?.type && line.options === own.options);
}

/** Where criu gets an external mount from. @throws CheckpointError when config.json has none such */
export function sourceOf(
  { point, kind, of, below }: ExternalMount,
  { mounts = [] }: OciSpec,
  bundle: string,
  cgroup: CgroupState | undefined,
): string {
  if (kind === 'null') return '/dev/null';
  if (kind === 'host') return point;
  if (kind === 'cgroup') {
    const place = of === '' ? cgroup?.v2 : cgroup?.v1[of ?? ''];
    // The container's own folder has another name now; what is above it is there under the same.
    if (place !== undefined) return place.folder;
  } else {
    const source = mounts.find(
      (mount) => mount.destination === of && parseMountOptions(mount.options ?? []).bind !== undefined,
    )?.source;
    if (source !== undefined)
      return join(bundle === '' || source.startsWith('/') ? '' : bundle, source + below);
  }
  throw new CheckpointError(
    `the checkpoint has a ${kind} mount at ${point} that this configuration does not have`,
    {
      hint: `Add a bind mount at ${of ?? point} to config.json, or restore with the bundle of the checkpoint.`,
    },
  );
}

/** What criu calls the standard streams of a process that stand for something outside. */
export function outsideStreams(pid: number, lines: readonly MountLine[]): string[] {
  const inside = new Set(lines.map(({ id }) => id));
  return [0, 1, 2].map((fd) => {
    const path = `/proc/${pid}/fd/${fd}`;
    try {
      const target = readlinkSync(path);
      if (/^(pipe|socket):\[\d+\]$/.test(target)) return target;
      const mount = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1];
      // A pseudoterminal of the host would be one that we hold the other side of: criu refuses it with a sentence of its own.
      if (mount === undefined || inside.has(Number(mount)) || !target.startsWith('/')) return '';
      return `file[${Number(mount).toString(16)}:${statSync(path, { bigint: true }).ino.toString(16)}]`;
    } catch {
      // Closed.
      return '';
    }
  });
}

/** The places in the root file system that must be there before anything is mounted. */
export function mountPoints(
  lines: readonly MountLine[],
  isFolder: (path: string) => boolean,
): CheckpointNote['points'] {
  const root = lines.find(({ point }) => point === '/');
  return lines
    .filter(({ parent, point }) => parent === root?.id && point !== '/')
    .map(({ point: path }) => ({ path, folder: isFolder(path) }));
}

export function noteText(note: CheckpointNote): string {
  return JSON.stringify({ tvmmCheckpoint: NOTE_VERSION, ...note });
}

/** @param path of the file, for messages @throws CheckpointError */
export function parseNote(text: string, path: string): CheckpointNote {
  const problems: SpecProblem[] = [];
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError(`${path} is not JSON`, { cause, hint: 'The checkpoint is damaged.' });
  }
  const root = new Field(json, '', problems);
  if (root.member('tvmmCheckpoint').value !== NOTE_VERSION)
    throw new CheckpointError(`${path} was not written by this version of tvmm`, {
      hint: 'Restore a checkpoint with the runtime that made it.',
    });
  const clean = (field: Field): string => {
    const place = field.absolutePath();
    if (posix.normalize(place) !== place) field.problem('must be a path without . and ..');
    return place;
  };
  const mounts = root.member('mounts').list((field): ExternalMount => {
    const of = field.member('of').text();
    const below = field.member('below').text() ?? '';
    if (below.split('/').includes('..')) field.member('below').problem('must not hold ..');
    return {
      point: clean(field.member('point')),
      kind: field.member('kind').requiredOneOf(KINDS),
      below,
      ...(of === undefined ? {} : { of }),
    };
  });
  const streams = root.member('streams').list((field) => field.text());
  const points = root.member('points').list((field) => ({
    path: clean(field.member('path')),
    folder: field.member('folder').boolean() ?? true,
  }));
  if (problems.length > 0)
    throw new CheckpointError(`${path} is damaged: ${new SpecError(problems).message}`, {
      hint: 'Make the checkpoint again.',
    });
  return { mounts: mounts ?? [], streams: streams ?? [], points: points ?? [] };
}
