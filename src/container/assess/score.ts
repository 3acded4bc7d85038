/**
 * The isolation-strength score: seven layers earn up to 100 points, and the most severe finding takes a factor off, since a wall with a
 * door in it is as strong as the door. docs/assess.md explains the numbers; this file is where they are.
 */
import type { NamespaceType } from '../spec/namespaces.js';
import { CAPABILITY_SEVERITY } from './checks/capabilities.js';
import { isConfined, mountsWritable, seccompKind, TO_MASK } from './checks/kernel.js';
import { limitsCpu, limitsMemory, limitsPids } from './checks/resources.js';
import type { Subject } from './subject.js';
import type { Finding, LayerScore, Severity } from './types.js';

/** Points of each namespace; the user namespace is the layer of identity. */
const NAMESPACE_POINTS: readonly (readonly [NamespaceType, number])[] = [
  ['mount', 5],
  ['pid', 5],
  ['network', 5],
  ['ipc', 2],
  ['cgroup', 2],
  ['uts', 1],
];
const SEPARATION_SHARE = { own: 1, joined: 0.5, host: 0 } as const;

/** What a capability costs of the 20 points of its layer, by its severity in checks/capabilities.ts. */
const CAPABILITY_COST: Readonly<Record<Severity | 'ordinary', number>> = {
  critical: 20,
  high: 10,
  medium: 3,
  low: 1,
  ordinary: 0.4,
};
/** Over a user namespace of its own a capability costs this much of that. */
const COST_IN_USER_NAMESPACE = 0.25;

const SECCOMP_POINTS = { 'allow-list': 14, 'deny-list': 5, none: 0 } as const;

/** What is left of the points in the presence of a finding. */
const FACTORS: Readonly<Record<Severity, number>> = { critical: 0.2, high: 0.6, medium: 1, low: 1 };

interface Layer {
  readonly id: string;
  readonly title: string;
  readonly of: number;
  readonly points: (subject: Subject) => number;
}

function capabilityPoints({ capabilities, namespaces, facts }: Subject): number {
  const share = namespaces.user === 'host' && !facts.rootless ? 1 : COST_IN_USER_NAMESPACE;
  let cost = 0;
  for (const name of capabilities) cost += CAPABILITY_COST[CAPABILITY_SEVERITY[name] ?? 'ordinary'] * share;
  return Math.max(0, 20 - cost);
}

function interfacePoints(subject: Subject): number {
  const { spec } = subject;
  const has = (type: string) => (spec.mounts ?? []).some((mount) => mount.type === type);
  // What is not mounted needs no protection.
  const hidden = TO_MASK.filter(
    (path) => !has(path.startsWith('/proc') ? 'proc' : 'sysfs') || subject.isMasked(path),
  );
  return (
    (mountsWritable(subject, 'proc').length === 0 || subject.isReadonly('/proc/sys') ? 3 : 0) +
    (mountsWritable(subject, 'sysfs').length === 0 ? 1 : 0) +
    (mountsWritable(subject, 'cgroup', 'cgroup2').length === 0 ? 1 : 0) +
    (3 * hidden.length) / TO_MASK.length
  );
}

const LAYERS: readonly Layer[] = [
  {
    id: 'namespaces',
    title: 'Namespaces',
    of: 20,
    points: ({ namespaces }) =>
      NAMESPACE_POINTS.reduce((sum, [type, points]) => sum + points * SEPARATION_SHARE[namespaces[type]], 0),
  },
  {
    id: 'identity',
    title: 'Users',
    of: 20,
    points: ({ ownIds, root }) => (ownIds ? 14 : 0) + (root ? 0 : 6),
  },
  { id: 'capabilities', title: 'Capabilities', of: 20, points: capabilityPoints },
  {
    id: 'system-calls',
    title: 'System calls and privileges',
    of: 20,
    points: (subject) => SECCOMP_POINTS[seccompKind(subject)] + (subject.noNewPrivileges ? 6 : 0),
  },
  { id: 'kernel-interfaces', title: '/proc, /sys and cgroups', of: 8, points: interfacePoints },
  {
    id: 'mandatory-access-control',
    title: 'AppArmor or SELinux',
    of: 4,
    points: (subject) => (isConfined(subject) ? 4 : 0),
  },
  {
    id: 'resources',
    title: 'Limits',
    of: 8,
    points: (subject) =>
      (limitsMemory(subject) ? 3 : 0) + (limitsPids(subject) ? 3 : 0) + (limitsCpu(subject) ? 2 : 0),
  },
];

/** The score of a container with these findings: 0 to 100, rounded down. */
export function scoreOf(
  subject: Subject,
  findings: readonly Finding[],
): { score: number; layers: LayerScore[]; factor: number } {
  const layers = LAYERS.map(({ id, title, of, points }) => ({
    id,
    title,
    points: Math.round(points(subject) * 10) / 10,
    of,
  }));
  const sum = layers.reduce((total, layer) => total + layer.points, 0);
  const factor = findings.reduce((least, finding) => Math.min(least, FACTORS[finding.severity]), 1);
  return { score: Math.floor(sum * factor + 1e-9), layers, factor };
}
