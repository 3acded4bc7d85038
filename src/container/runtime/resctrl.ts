/**
 * Intel RDT (config-linux.md, "IntelRdt"): the class of service that a container's processes join, a folder of the resctrl file system, and
 * its monitoring group. What was made for the container alone is on record before it is made, and goes with it. A class that was there
 * before is joined as it is: one whose schemata differ from the configuration's is refused.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { OciIntelRdt } from '../spec/types.js';
import { CreateError, DeleteError, errnoOf } from './errors.js';
import { hostFacts } from './host.js';

/** Plain JSON: part of the container's record. */
export interface ResctrlState {
  /** The files that each process writes `0` to, in this order. */
  readonly tasks: readonly string[];
  /** Folders that go with the container, inner ones first. */
  readonly remove: readonly string[];
}

function schemataOf({ l3CacheSchema, memBwSchema, schemata = [] }: OciIntelRdt): readonly string[] {
  return [l3CacheSchema, memBwSchema, ...schemata].filter((line) => line !== undefined);
}

/**
 * What {@link makeResctrl} will do. Changes nothing.
 *
 * @param mount where resctrl is mounted
 */
export function planResctrl(mount: string, id: string, rdt: OciIntelRdt): ResctrlState {
  const group = groupOf(mount, id, rdt);
  const monitor = join(group, 'mon_groups', id);
  const own = rdt.closID === undefined && !existsSync(group);
  const monitored = rdt.enableMonitoring === true;
  return {
    // A monitoring group takes only processes that are in its class already.
    tasks: [join(group, 'tasks'), ...(monitored ? [join(monitor, 'tasks')] : [])],
    remove: [...(monitored ? [monitor] : []), ...(own ? [group] : [])],
  };
}

/** A container's class of service, made later. */
export interface ClassOfService {
  readonly state: ResctrlState;
  /** @throws CreateError */
  make(): void;
  /** @throws DeleteError */
  remove(): void;
}

/** Undefined without resctrl: the compiler refuses then. */
export function classOfService(id: string, rdt: OciIntelRdt): ClassOfService | undefined {
  const { resctrl: mount } = hostFacts();
  if (mount === undefined) return undefined;
  const state = planResctrl(mount, id, rdt);
  return { state, make: () => makeResctrl(mount, id, rdt), remove: () => removeResctrl(state) };
}

function groupOf(mount: string, id: string, { closID }: OciIntelRdt): string {
  return closID === '/' ? mount : join(mount, closID ?? id);
}

/** @throws CreateError; what {@link ResctrlState.remove} names may exist then */
export function makeResctrl(mount: string, id: string, rdt: OciIntelRdt): void {
  const group = groupOf(mount, id, rdt);
  const schemata = schemataOf(rdt);
  const existed = existsSync(group);
  if (!existed && rdt.closID !== undefined && schemata.length === 0) {
    throw new CreateError(`linux.intelRdt.closID: there is no class of service ${rdt.closID} in ${mount}`, {
      hint: 'Make it before, or give the schemata that it is to have.',
    });
  }
  if (!existed) makeFolder(group, 'class of service');
  if (existed && rdt.closID !== undefined) compareSchemata(group, schemata);
  else for (const line of schemata) writeLine(group, line);
  if (rdt.enableMonitoring === true) makeFolder(join(group, 'mon_groups', id), 'monitoring group');
}

function makeFolder(folder: string, what: string): void {
  try {
    mkdirSync(folder);
  } catch (cause) {
    const why = errnoOf(cause);
    throw new CreateError(`cannot make the ${what} ${folder}: ${why}`, {
      cause,
      ...(why === 'ENOSPC'
        ? { hint: 'The processor has no more of them: remove one that is not used.' }
        : {}),
    });
  }
}

function writeLine(group: string, line: string): void {
  try {
    writeFileSync(join(group, 'schemata'), `${line}\n`, { flag: 'a' });
  } catch (cause) {
    throw new CreateError(`cannot write ${JSON.stringify(line)} to ${group}/schemata: ${errnoOf(cause)}`, {
      cause,
      hint: lastStatus(group),
    });
  }
}

/** What resctrl itself says of the last write. */
function lastStatus(group: string): string {
  for (const folder of [group, dirname(group)]) {
    try {
      return readFileSync(join(folder, 'info/last_cmd_status'), 'utf8').trim();
    } catch {
      // Not the root of the file system.
    }
  }
  return 'info/ in the resctrl file system has what this processor can.';
}

/** Every part that the configuration names must be as the class has it: `L3:0=7f;1=1f`, leading zeros aside. */
function compareSchemata(group: string, wanted: readonly string[]): void {
  if (wanted.length === 0) return;
  const there = partsOf(readFileSync(join(group, 'schemata'), 'utf8').split('\n'));
  for (const [part, value] of partsOf(wanted)) {
    if (there.get(part) === value) continue;
    throw new CreateError(
      `linux.intelRdt: the class of service ${group} has ${part}=${there.get(part) ?? 'nothing'}, not ${part}=${value}`,
      { hint: 'Name another closID, leave the schemata out, or change that class.' },
    );
  }
}

/** `L3:0` to `7f`. */
function partsOf(lines: readonly string[]): Map<string, string> {
  const parts = new Map<string, string>();
  for (const line of lines) {
    const [resource = '', domains] = line.split(':');
    for (const domain of domains?.split(';') ?? []) {
      const [name = '', value = ''] = domain.split('=');
      parts.set(
        `${resource.trim()}:${name.trim()}`,
        value
          .trim()
          .toLowerCase()
          .replace(/^0+(?=.)/, ''),
      );
    }
  }
  return parts;
}

/** What is gone already is fine. @throws DeleteError after having tried all */
export function removeResctrl({ remove }: ResctrlState): void {
  const failures: DeleteError[] = [];
  for (const folder of remove) {
    try {
      rmdirSync(folder);
    } catch (cause) {
      if (errnoOf(cause) !== 'ENOENT')
        failures.push(new DeleteError(`cannot remove ${folder}: ${errnoOf(cause)}`, { cause }));
    }
  }
  if (failures[0] !== undefined) throw failures[0];
}
