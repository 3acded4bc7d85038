/**
 * What is remembered of a container between commands: state.json in its folder. Written beside and renamed, so that a reader finds the old
 * or the new one and never half of it. What is read back is checked as anything that others could have written.
 */
import { type CgroupState, parseCgroupState } from '../cgroup/state.js';
import { SpecError, type SpecProblem } from '../spec/errors.js';
import { Field } from '../spec/field.js';
import { parseHooks } from '../spec/parse-mounts.js';
import type { OciHooks } from '../spec/types.js';
import { ContainerRecordError } from './errors.js';
import type { ProcessName } from './process-info.js';
import type { ResctrlState } from './resctrl.js';

/** Raised when the meaning of a member changes. */
const RECORD_VERSION = 1;

export interface ContainerRecord {
  readonly ociVersion: string;
  readonly id: string;
  /** Absolute path of the bundle. */
  readonly bundle: string;
  /** Absolute path of the root file system. */
  readonly rootfs: string;
  /** RFC 3339, UTC. */
  readonly created: string;
  readonly annotations?: Readonly<Record<string, string>>;
  /** `creating` until every step of create has been done: what a crash leaves behind says `creating` without a holder of the lock. */
  readonly phase: 'creating' | 'created';
  /** The container's first process, once there is one. */
  readonly init?: ProcessName;
  /** Planned before it is made. */
  readonly cgroup?: CgroupState;
  /** Its class of service, planned before it is made. */
  readonly resctrl?: ResctrlState;
  /** The hooks that are run after create. */
  readonly hooks?: OciHooks;
  /** False: it shares a pid namespace, so that its other processes outlive the first. */
  readonly ownPidNamespace: boolean;
  /** False: nothing can be started in it (config.json has no process). */
  readonly hasProcess: boolean;
  /** It has a session keyring of its own, which its further processes join. */
  readonly newKeyring: boolean;
}

export function recordText(record: ContainerRecord): string {
  return JSON.stringify({ tvmmRecord: RECORD_VERSION, ...record });
}

/** @param path of the file, for messages @throws ContainerRecordError */
export function parseRecord(text: string, path: string): ContainerRecord {
  const problems: SpecProblem[] = [];
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ContainerRecordError(`${path} is not JSON`, { cause });
  }
  const root = new Field(json, '', problems);
  if (root.member('tvmmRecord').value !== RECORD_VERSION)
    throw new ContainerRecordError(`${path} was not written by this version of tvmm`, {
      hint: 'Containers of another runtime or version have to be deleted with that one.',
    });
  const hooks = root.member('hooks').object(parseHooks);
  const annotations = root.member('annotations').map((field) => field.text());
  const init = root.member('init').object((field) => ({
    pid: field.member('pid').requiredInteger(1, 2 ** 31 - 1),
    startTime: field.member('startTime').requiredText(),
    ...(field.member('boot').value === undefined ? {} : { boot: field.member('boot').requiredText() }),
  }));
  const cgroup = root.member('cgroup').object((field) => parseCgroupState(field.value));
  const resctrl = root.member('resctrl').object((field) => {
    const paths = (name: string) => field.member(name).list((path) => path.absolutePath()) ?? [];
    return { tasks: paths('tasks'), remove: paths('remove') };
  });
  const record: ContainerRecord = {
    ociVersion: root.member('ociVersion').requiredText(),
    id: root.member('id').requiredText(),
    bundle: root.member('bundle').absolutePath(),
    rootfs: root.member('rootfs').absolutePath(),
    created: root.member('created').requiredText(),
    phase: root.member('phase').requiredOneOf(['creating', 'created']),
    ownPidNamespace: root.member('ownPidNamespace').boolean() ?? true,
    hasProcess: root.member('hasProcess').boolean() ?? true,
    newKeyring: root.member('newKeyring').boolean() ?? true,
    ...(annotations === undefined ? {} : { annotations }),
    ...(init === undefined ? {} : { init }),
    ...(cgroup === undefined ? {} : { cgroup }),
    ...(resctrl === undefined ? {} : { resctrl }),
    ...(hooks === undefined ? {} : { hooks }),
  };
  if (problems.length > 0)
    throw new ContainerRecordError(`${path} is damaged: ${new SpecError(problems).message}`);
  return record;
}
