/**
 * Takes `linux.resources` to the controllers: for each group of fields the v1 hierarchy if there is one, else cgroup v2, else an error if
 * the group was asked for. Order matters only in that cpuset comes before any process can enter.
 */
import {
  blkioV1,
  cpuset,
  cpuV1,
  hugetlb,
  memoryV1,
  networkClass,
  networkPriorities,
  pids,
  rdma,
} from './apply-v1.js';
import { cpuV2, ioV2, memoryV2, unified, unifiedController } from './apply-v2.js';
import { setDevicesV1 } from './devices-v1.js';
import { setDevicesV2 } from './devices-v2.js';
import { CgroupDevicesError, CgroupLimitError } from './errors.js';
import { type CgroupFiles, FolderFiles, readOptional } from './files.js';
import { enableControllers, words } from './make.js';
import type { OciResources } from './resources.js';
import type { CgroupState } from './state.js';

/** A group of fields that one controller answers for. */
interface Group {
  /** The controller's name on v1 and v2; undefined where that version has none. */
  readonly v1?: string;
  readonly v2?: string;
  /** The part of `linux.resources` that its fields are in. */
  readonly section: keyof OciResources;
  /** The first field that asks for something. */
  readonly asked: (resources: OciResources) => string | undefined;
  readonly applyV1?: (files: CgroupFiles, resources: OciResources) => void;
  readonly applyV2?: (files: CgroupFiles, resources: OciResources) => void;
}

/** Zero is a request only here. */
const ZERO_ASKS = ['swappiness', 'pids.limit'];

/**
 * The first field of an object that asks for something: `memory.limit`. What is empty, zero, false or -1 (unlimited) is what a machine
 * without the controller does anyway.
 */
function firstField(name: string, value: object | undefined, only?: readonly string[]): string | undefined {
  for (const [field, content] of Object.entries(value ?? {})) {
    const full = `${name}.${field}`;
    if (only !== undefined && !only.includes(field)) continue;
    if (content === 0 && !ZERO_ASKS.some((one) => one === field || one === full)) continue;
    if ([undefined, '', false, -1].includes(content)) continue;
    if (Array.isArray(content) && content.length === 0) continue;
    return full;
  }
  return undefined;
}

const CPUSET_FIELDS = ['cpus', 'mems'];
const CPU_FIELDS = ['shares', 'quota', 'burst', 'period', 'realtimeRuntime', 'realtimePeriod', 'idle'];

const GROUPS: readonly Group[] = [
  {
    v1: 'cpuset',
    v2: 'cpuset',
    section: 'cpu',
    asked: ({ cpu }) => firstField('cpu', cpu, CPUSET_FIELDS),
    applyV1: (files, { cpu = {} }) => cpuset(files, cpu),
    applyV2: (files, { cpu = {} }) => cpuset(files, cpu),
  },
  {
    v1: 'memory',
    v2: 'memory',
    section: 'memory',
    asked: ({ memory }) => firstField('memory', memory),
    applyV1: (files, { memory = {} }) => memoryV1(files, memory),
    applyV2: (files, { memory = {} }) => memoryV2(files, memory),
  },
  {
    v1: 'cpu',
    v2: 'cpu',
    section: 'cpu',
    asked: ({ cpu }) => firstField('cpu', cpu, CPU_FIELDS),
    applyV1: (files, { cpu = {} }) => cpuV1(files, cpu),
    applyV2: (files, { cpu = {} }) => cpuV2(files, cpu),
  },
  {
    v1: 'pids',
    v2: 'pids',
    section: 'pids',
    asked: (resources) => firstField('pids', resources.pids),
    applyV1: (files, resources) => pids(files, resources.pids ?? {}),
    applyV2: (files, resources) => pids(files, resources.pids ?? {}),
  },
  {
    v1: 'blkio',
    v2: 'io',
    section: 'blockIO',
    asked: ({ blockIO }) => firstField('blockIO', blockIO),
    applyV1: (files, { blockIO = {} }) => blkioV1(files, blockIO),
    applyV2: (files, { blockIO = {} }) => ioV2(files, blockIO),
  },
  {
    v1: 'hugetlb',
    v2: 'hugetlb',
    section: 'hugepageLimits',
    asked: ({ hugepageLimits = [] }) => (hugepageLimits.length > 0 ? 'hugepageLimits' : undefined),
    applyV1: (files, { hugepageLimits = [] }) => hugetlb(files, hugepageLimits, 'limit_in_bytes'),
    applyV2: (files, { hugepageLimits = [] }) => hugetlb(files, hugepageLimits, 'max'),
  },
  {
    v1: 'net_cls',
    section: 'network',
    asked: ({ network }) => firstField('network', network, ['classID']),
    applyV1: (files, { network = {} }) => networkClass(files, network),
  },
  {
    v1: 'net_prio',
    section: 'network',
    asked: ({ network }) => firstField('network', network, ['priorities']),
    applyV1: (files, { network = {} }) => networkPriorities(files, network),
  },
  {
    v1: 'rdma',
    v2: 'rdma',
    section: 'rdma',
    asked: (resources) => (Object.keys(resources.rdma ?? {}).length > 0 ? 'rdma' : undefined),
    applyV1: (files, resources) => rdma(files, resources.rdma ?? {}),
    applyV2: (files, resources) => rdma(files, resources.rdma ?? {}),
  },
];

/** Controllers of cgroup v2 that `resources` need, given the v1 hierarchies that exist. */
export function requiredV2(resources: OciResources, v1: Readonly<Record<string, unknown>>): string[] {
  const groups = GROUPS.filter(
    (group) => group.asked(resources) !== undefined && (group.v1 === undefined || !(group.v1 in v1)),
  ).flatMap(({ v2 }) => (v2 === undefined ? [] : [v2]));
  const files = Object.keys(resources.unified ?? {})
    .map(unifiedController)
    .filter((controller) => controller !== 'cgroup');
  return [...new Set([...groups, ...files])];
}

/**
 * Sets every limit that `resources` ask for.
 *
 * @param state folders; a hierarchy that could not be made is not in it
 * @throws CgroupLimitError, CgroupDevicesError; what was set before the failure stays set
 */
export function applyResources(state: CgroupState, resources: OciResources): void {
  const { v2 } = state;
  const required = requiredV2(resources, state.v1);
  const lacking = v2 === undefined || required.length === 0 ? undefined : enableControllers(v2, required);
  const v2Files = v2 === undefined ? undefined : new FolderFiles(v2.folder);
  const present = words(v2Files && readOptional(v2Files, 'cgroup.controllers'));
  for (const group of GROUPS) {
    if (resources[group.section] === undefined) continue;
    const v1 = group.v1 === undefined ? undefined : state.v1[group.v1];
    if (v1 !== undefined && group.applyV1 !== undefined) {
      group.applyV1(new FolderFiles(v1.folder), resources);
    } else if (v2Files !== undefined && group.v2 !== undefined && present.includes(group.v2)) {
      group.applyV2?.(v2Files, resources);
    } else {
      refuseIfAsked(group, resources, lacking);
    }
  }
  if (resources.devices !== undefined) devices(state, resources.devices);
  if (resources.unified !== undefined && Object.keys(resources.unified).length > 0) {
    if (state.v2 === undefined)
      throw new CgroupLimitError('cannot set resources.unified: no cgroup v2 hierarchy is mounted', {
        controller: 'unified',
        hint: 'unified speaks of cgroup v2 files; on cgroup v1 use the other fields of resources.',
      });
    const files = new FolderFiles(state.v2.folder);
    unified(files, resources.unified, words(readOptional(files, 'cgroup.controllers')));
  }
}

function refuseIfAsked(
  group: Group,
  resources: OciResources,
  lacking: ReadonlyMap<string, string> | undefined,
): void {
  const field = group.asked(resources);
  if (field === undefined) return;
  const name = group.v2 ?? group.v1 ?? '';
  const reason = lacking?.get(name);
  throw new CgroupLimitError(
    reason === undefined
      ? `cannot set ${field}: this machine has no ${group.v2 === undefined ? 'cgroup v1 ' : ''}${name} controller`
      : `cannot set ${field}: no ${name} controller: ${reason}`,
    {
      controller: name,
      hint:
        reason === undefined
          ? `Leave ${field} out, or mount the controller.`
          : `Leave ${field} out, or have the controller handed down (cgroup.subtree_control).`,
    },
  );
}

function devices(state: CgroupState, rules: NonNullable<OciResources['devices']>): void {
  const v1 = state.v1.devices;
  if (v1 !== undefined) setDevicesV1(new FolderFiles(v1.folder), rules);
  else if (state.v2 !== undefined) setDevicesV2(state.v2.folder, rules);
  else throw new CgroupDevicesError('cannot set the allowed devices: this machine has no devices controller');
}
