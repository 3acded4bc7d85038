import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../sys/package-root.js';
import { CAPABILITIES } from '../spec/capabilities.js';
import { NAMESPACE_TYPES } from '../spec/namespaces.js';
import type { OciLinux, OciMount, OciProcess } from '../spec/types.js';
import { assess, CHECKS } from './assess.js';
import { TO_MASK, TO_PROTECT } from './checks/kernel.js';
import { isWithin, normalize } from './subject.js';
import type { AssessedSpec, AssessFacts, Severity } from './types.js';

const FACTS: AssessFacts = { rootless: false, securityModules: ['capability', 'apparmor'] };

const PROC: OciMount = { destination: '/proc', type: 'proc', source: 'proc' };
const SYSFS: OciMount = { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'ro'] };
const CGROUP: OciMount = { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['ro'] };

/** A container to which nothing can be said. */
const HARD = {
  root: { path: 'rootfs', readonly: true },
  process: {
    user: { uid: 1000, gid: 1000 },
    args: ['sh'],
    cwd: '/',
    capabilities: {},
    noNewPrivileges: true,
    apparmorProfile: 'tvmm-default',
  },
  mounts: [PROC, SYSFS, CGROUP],
  linux: {
    namespaces: NAMESPACE_TYPES.filter((type) => type !== 'time').map((type) => ({ type })),
    uidMappings: [{ containerID: 0, hostID: 100_000, size: 65_536 }],
    gidMappings: [{ containerID: 0, hostID: 100_000, size: 65_536 }],
    resources: {
      devices: [{ allow: false, access: 'rwm' }],
      memory: { limit: 2 ** 30 },
      pids: { limit: 100 },
      cpu: { quota: 100_000, period: 100_000 },
    },
    seccomp: { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [{ names: ['read'], action: 'SCMP_ACT_ALLOW' }] },
    maskedPaths: TO_MASK,
    readonlyPaths: TO_PROTECT,
  },
} satisfies AssessedSpec;

const withLinux = (change: Partial<OciLinux>): AssessedSpec => ({
  ...HARD,
  linux: { ...HARD.linux, ...change },
});
const withProcess = (change: Partial<OciProcess>): AssessedSpec => ({
  ...HARD,
  process: { ...HARD.process, ...change },
});
const withMount = (...mounts: OciMount[]): AssessedSpec => ({ ...HARD, mounts: [...HARD.mounts, ...mounts] });
const bind = (source: string, ...options: string[]): OciMount => ({
  destination: '/mnt',
  type: 'bind',
  source,
  options: ['bind', ...options],
});
const without = (type: string) => HARD.linux.namespaces.filter((namespace) => namespace.type !== type);
const hold = (...names: string[]): Partial<OciProcess> => ({
  capabilities: { bounding: names, permitted: names, effective: names },
});

/** The same container without a user namespace, as root: how most run. */
const rooted = (spec: AssessedSpec): AssessedSpec => {
  const { uidMappings: _uids, gidMappings: _gids, ...linux } = spec.linux ?? {};
  const namespaces = linux.namespaces?.filter((namespace) => namespace.type !== 'user');
  const user = { uid: 0, gid: 0 };
  return {
    ...spec,
    ...(spec.process === undefined ? {} : { process: { ...spec.process, user } }),
    linux: { ...linux, ...(namespaces === undefined ? {} : { namespaces }) },
  };
};

const finding = (spec: AssessedSpec, id: string, facts = FACTS) =>
  assess(spec, facts).findings.find((entry) => entry.id === id);

interface Row {
  readonly id: string;
  readonly severity: Severity;
  readonly spec: AssessedSpec;
  readonly objects: readonly string[] | undefined;
  readonly facts: AssessFacts;
}

const row = (
  id: string,
  severity: Severity,
  spec: AssessedSpec,
  objects?: readonly string[],
  facts = FACTS,
): Row => ({
  id,
  severity,
  spec,
  objects,
  facts,
});

/** One weakness each. */
const WEAKNESSES: readonly Row[] = [
  row('host-mount-namespace', 'critical', withLinux({ namespaces: without('mount') })),
  row('host-pid-namespace', 'high', withLinux({ namespaces: without('pid') })),
  row(
    'host-pid-namespace',
    'high',
    withLinux({ namespaces: [...without('pid'), { type: 'pid', path: '/proc//1/ns/pid' }] }),
  ),
  row('host-network-namespace', 'high', withLinux({ namespaces: without('network') })),
  row('host-ipc-namespace', 'medium', withLinux({ namespaces: without('ipc') })),
  row('host-uts-namespace', 'low', withLinux({ namespaces: without('uts') })),
  row('host-cgroup-namespace', 'low', withLinux({ namespaces: without('cgroup') })),
  row(
    'shared-namespaces',
    'low',
    withLinux({ namespaces: [...without('ipc'), { type: 'ipc', path: '/run/ns/1' }] }),
    ['ipc'],
  ),
  row('root-is-host-root', 'medium', rooted(HARD)),
  row('no-user-namespace', 'low', { ...rooted(HARD), process: HARD.process }),
  row(
    'user-namespace-maps-host-root',
    'medium',
    withLinux({ uidMappings: [{ containerID: 0, hostID: 0, size: 1 }] }),
  ),
  row('root-group', 'low', {
    ...rooted(HARD),
    process: { ...HARD.process, user: { uid: 1, gid: 1, additionalGids: [0] } },
  }),
  row('capabilities-own-the-host', 'critical', rooted(withProcess(hold('CAP_SYS_MODULE', 'CAP_CHOWN'))), [
    'CAP_SYS_MODULE',
  ]),
  row(
    'ptrace-host-processes',
    'critical',
    rooted({ ...withProcess(hold('CAP_SYS_PTRACE')), linux: { ...HARD.linux, namespaces: without('pid') } }),
  ),
  row('capabilities-powerful', 'high', rooted(withProcess(hold('CAP_DAC_READ_SEARCH'))), [
    'CAP_DAC_READ_SEARCH',
  ]),
  row(
    'administer-host-network',
    'high',
    rooted({
      ...withProcess(hold('CAP_NET_ADMIN')),
      linux: { ...HARD.linux, namespaces: without('network') },
    }),
  ),
  row('capabilities-of-administrators', 'medium', rooted(withProcess(hold('CAP_SYS_TIME'))), [
    'CAP_SYS_TIME',
  ]),
  row('capabilities-in-user-namespace', 'medium', withProcess(hold('CAP_SYS_ADMIN')), ['CAP_SYS_ADMIN']),
  row('capabilities-convenient', 'low', rooted(withProcess(hold('CAP_NET_RAW'))), ['CAP_NET_RAW']),
  row('inheritable-capabilities', 'low', withProcess({ capabilities: { inheritable: ['CAP_KILL'] } }), [
    'CAP_KILL',
  ]),
  row('engine-socket', 'critical', rooted(withMount(bind('/var/run/docker.sock', 'ro'))), [
    '/var/run/docker.sock',
  ]),
  row('engine-socket', 'high', withMount(bind('/run/containerd/containerd.sock'))),
  row('host-files-critical', 'critical', rooted(withMount(bind('/', 'rw'))), ['/ at /mnt']),
  row('host-files-critical', 'critical', rooted(withMount(bind('/etc/cron.d')))),
  row('host-files-critical', 'critical', rooted(withMount(bind('/home/../etc//')))),
  row('host-files-critical', 'critical', rooted(withMount(bind('/dev', 'ro')))),
  row('host-files-critical', 'high', withMount(bind('/usr/local/bin'))),
  row('host-files-high', 'high', rooted(withMount(bind('/', 'ro'))), ['/ at /mnt (read-only)']),
  row('host-files-high', 'high', rooted(withMount(bind('/etc/shadow', 'ro')))),
  row('host-files-medium', 'medium', rooted(withMount(bind('/var/log')))),
  row('host-files-low', 'low', rooted(withMount(bind('/sys/fs/cgroup', 'ro')))),
  row('readonly-not-recursive', 'low', withMount(bind('/srv', 'rbind', 'ro')), ['/srv']),
  row('shared-propagation', 'medium', withMount(bind('/srv', 'rshared')), ['/mnt']),
  row('shared-propagation', 'medium', withLinux({ rootfsPropagation: 'rshared' }), ['/']),
  row('writable-root', 'low', { ...HARD, root: { path: 'rootfs' } }),
  row('no-seccomp', 'high', { ...HARD, linux: { ...HARD.linux, seccomp: undefined } as OciLinux }),
  row('seccomp-deny-list', 'medium', withLinux({ seccomp: { defaultAction: 'SCMP_ACT_ALLOW' } })),
  row(
    'risky-system-calls',
    'low',
    withLinux({
      seccomp: {
        defaultAction: 'SCMP_ACT_ERRNO',
        syscalls: [{ names: ['keyctl', 'read'], action: 'SCMP_ACT_ALLOW' }],
      },
    }),
    ['keyctl'],
  ),
  row('new-privileges', 'medium', withProcess({ noNewPrivileges: false })),
  row('writable-kernel-settings', 'critical', rooted(withLinux({ readonlyPaths: [] })), ['/proc/sys']),
  row('writable-kernel-settings', 'low', withLinux({ readonlyPaths: [] })),
  row(
    'writable-proc',
    'high',
    rooted(withLinux({ readonlyPaths: ['/proc/sys', '/proc/bus', '/proc/fs', '/proc/irq'] })),
    ['/proc/sysrq-trigger'],
  ),
  row('unmasked-paths', 'medium', rooted(withLinux({ maskedPaths: TO_MASK.slice(1) })), [TO_MASK[0] ?? '']),
  row('writable-sysfs', 'high', rooted({ ...HARD, mounts: [PROC, { ...SYSFS, options: ['ro', 'rw'] }] })),
  row('writable-cgroup', 'medium', rooted({ ...HARD, mounts: [PROC, { ...CGROUP, options: [] }] })),
  row(
    'all-devices',
    'critical',
    rooted({
      ...withProcess(hold('CAP_MKNOD')),
      linux: { ...HARD.linux, resources: { devices: [{ allow: true }] } },
    }),
  ),
  row(
    'dangerous-devices',
    'critical',
    rooted(withLinux({ devices: [{ type: 'b', path: '/dev/sda', major: 8, minor: 0 }] })),
    ['/dev/sda'],
  ),
  row('dangerous-devices', 'high', withMount(bind('/dev/nvme0n1')), ['/dev/nvme0n1']),
  row('devices', 'low', withLinux({ devices: [{ type: 'c', path: '/dev/fuse', major: 10, minor: 229 }] }), [
    '/dev/fuse',
  ]),
  row('no-mandatory-access-control', 'medium', withProcess({ apparmorProfile: 'unconfined' })),
  row('no-mandatory-access-control', 'low', HARD, [], { rootless: false, securityModules: [] }),
  row('hooks', 'medium', { ...HARD, hooks: { poststop: [{ path: '/bin/hook' }] } }, ['/bin/hook']),
  row('host-sysctl', 'high', withLinux({ sysctl: { 'vm/swappiness': '1', 'net.core.somaxconn': '1' } }), [
    'vm/swappiness',
  ]),
  row('no-pids-limit', 'medium', withLinux({ resources: { ...HARD.linux.resources, pids: { limit: -1 } } })),
  row(
    'no-memory-limit',
    'medium',
    withLinux({ resources: { ...HARD.linux.resources, memory: {}, unified: { 'memory.max': 'max' } } }),
  ),
  row('no-cpu-limit', 'low', withLinux({ resources: { ...HARD.linux.resources, cpu: { shares: 2 } } })),
  row('protected-from-oom', 'medium', withProcess({ oomScoreAdj: -500 })),
  row('realtime', 'medium', withProcess({ scheduler: { policy: 'SCHED_FIFO', priority: 1 } })),
];

describe('an assessment', () => {
  it('has nothing to say of a container behind all walls', () => {
    expect(assess(HARD, FACTS)).toMatchObject({ score: 100, findings: [], factor: 1 });
  });

  it.each(WEAKNESSES)('finds $id ($severity)', ({ id, severity, spec, objects, facts }) => {
    const found = finding(spec, id, facts);
    expect(found?.severity).toBe(severity);
    if (objects !== undefined) expect(found?.objects).toEqual(objects);
    expect(finding(HARD, id)).toBeUndefined();
  });

  it('has a row above for each of its checks', () => {
    expect(new Set(WEAKNESSES.map(({ id }) => id))).toEqual(new Set(CHECKS.map((check) => check.id)));
  });

  it('tells the most severe first', () => {
    const spec = rooted({ root: { path: 'rootfs' }, mounts: [PROC, bind('/etc')] });
    const order = assess(spec, FACTS).findings.map((entry) =>
      ['critical', 'high', 'medium', 'low'].indexOf(entry.severity),
    );
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(order[0]).toBe(0);
  });

  it('counts only capabilities that a process can come to hold', () => {
    const process = { ...HARD.process, capabilities: { bounding: ['CAP_SYS_ADMIN'] } };
    expect(finding(rooted({ ...HARD, process }), 'capabilities-own-the-host')).toBeUndefined();
    const open = rooted({ ...HARD, process: { ...process, noNewPrivileges: false } });
    expect(finding(open, 'capabilities-own-the-host')?.objects).toEqual(['CAP_SYS_ADMIN']);
  });

  it('leaves harmless files of the host alone', () => {
    const mounts = [
      bind('/etc/localtime', 'ro'),
      bind('/srv/data'),
      bind('/dev/null'),
      bind('/run/tvmm-data/resolv.conf'),
    ];
    expect(assess(withMount(...mounts), FACTS).findings).toEqual([]);
  });

  it('trusts a rootless engine to keep ids apart', () => {
    const spec = rooted(withMount(bind('/etc')));
    expect(finding(spec, 'root-is-host-root', { ...FACTS, rootless: true })).toBeUndefined();
    expect(finding(spec, 'host-files-critical', { ...FACTS, rootless: true })?.severity).toBe('high');
  });
});

describe('the score', () => {
  const score = (spec: AssessedSpec, facts = FACTS) => assess(spec, facts).score;

  it('puts usual containers in the order of their strength', () => {
    const usual = rooted({
      ...withProcess({
        ...hold('CAP_CHOWN', 'CAP_KILL', 'CAP_SETUID', 'CAP_SETGID', 'CAP_DAC_OVERRIDE'),
        apparmorProfile: '',
      }),
      root: { path: 'rootfs' },
    });
    const unfiltered: AssessedSpec = { ...usual, linux: { ...usual.linux, seccomp: undefined } as OciLinux };
    const privileged: AssessedSpec = {
      root: { path: 'rootfs' },
      process: {
        ...HARD.process,
        ...hold(...CAPABILITIES),
        noNewPrivileges: false,
        user: { uid: 0, gid: 0 },
        apparmorProfile: 'unconfined',
      },
      mounts: [PROC, { ...SYSFS, options: [] }],
      linux: {
        namespaces: without('user').filter((n) => n.type !== 'cgroup'),
        resources: { devices: [{ allow: true, access: 'rwm' }] },
      },
    };
    const order = [HARD, rooted(HARD), usual, unfiltered, privileged].map((spec) => score(spec));
    expect(order).toEqual([...order].sort((a, b) => b - a));
    expect(new Set(order).size).toBe(order.length);
    expect(score(usual)).toBeGreaterThan(60);
    expect(score(privileged)).toBeLessThan(10);
  });

  it('is the sum of its layers, times the factor of the worst finding', () => {
    const { layers, factor, score: total } = assess(rooted(withMount(bind('/etc'))), FACTS);
    expect(factor).toBe(0.2);
    const sum = layers.reduce((points, layer) => points + layer.points, 0);
    expect(total).toBe(Math.floor(sum * 0.2 + 1e-9));
    expect(layers.reduce((points, layer) => points + layer.of, 0)).toBe(100);
  });

  const variants = fc.record({
    capabilities: fc.subarray([...CAPABILITIES]),
    removed: fc.subarray([...NAMESPACE_TYPES]),
    paths: fc.array(
      fc.constantFrom('/', '/etc', '/srv', '/run/docker.sock', '/var/log', '/dev/sda', '/usr'),
      {
        maxLength: 3,
      },
    ),
    seccomp: fc.boolean(),
    noNewPrivileges: fc.boolean(),
    masked: fc.subarray(TO_MASK),
    readonly: fc.subarray(TO_PROTECT),
    rootless: fc.boolean(),
    uid: fc.constantFrom(0, 1000),
  });
  type Variant = typeof variants extends fc.Arbitrary<infer T> ? T : never;

  function build(v: Variant): readonly [AssessedSpec, AssessFacts] {
    const { seccomp, ...linux } = HARD.linux;
    const spec: AssessedSpec = {
      ...HARD,
      process: {
        ...HARD.process,
        ...hold(...v.capabilities),
        noNewPrivileges: v.noNewPrivileges,
        user: { uid: v.uid, gid: v.uid },
      },
      mounts: [...HARD.mounts, ...v.paths.map((path) => bind(path))],
      linux: {
        ...linux,
        ...(v.seccomp ? { seccomp } : {}),
        namespaces: HARD.linux.namespaces.filter(({ type }) => !v.removed.includes(type)),
        maskedPaths: v.masked,
        readonlyPaths: v.readonly,
      },
    };
    return [spec, { ...FACTS, rootless: v.rootless }];
  }
  const scoreOfVariant = (v: Variant) => score(...build(v));

  it('is never raised by what weakens a container, and stays within 0 and 100', () => {
    fc.assert(
      fc.property(
        variants,
        fc.constantFrom(...CAPABILITIES),
        fc.constantFrom(...NAMESPACE_TYPES),
        (v, capability, type) => {
          const before = scoreOfVariant(v);
          expect(before).toBeGreaterThanOrEqual(0);
          expect(before).toBeLessThanOrEqual(100);
          const weaker: Variant[] = [
            { ...v, capabilities: [...v.capabilities, capability] },
            { ...v, removed: [...v.removed, type] },
            { ...v, paths: [...v.paths, '/usr'] },
            { ...v, seccomp: false },
            { ...v, noNewPrivileges: false },
            { ...v, masked: v.masked.slice(1) },
            { ...v, readonly: v.readonly.slice(1) },
            { ...v, rootless: false },
            { ...v, uid: 0 },
          ];
          for (const variant of weaker) expect(scoreOfVariant(variant)).toBeLessThanOrEqual(before);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('exists for a configuration that says nothing', () => {
    expect(assess({ root: { path: '' } }, { rootless: false, securityModules: [] }).score).toBeLessThan(10);
  });
});

describe('docs/assess.md', () => {
  const page = readFileSync(join(packageRoot(), 'docs/assess.md'), 'utf8');

  it('has a row for each check, with its severity, and none more', () => {
    const rows = [...page.matchAll(/^\| `([a-z-]+)` \| (critical|high|medium|low) \|/gm)].map(
      ([, id, severity]) => [id, severity],
    );
    // Where own ids or the like make a check milder, the page has the worst.
    const worst = (id: string) => WEAKNESSES.find((weakness) => weakness.id === id)?.severity;
    expect(rows).toEqual(CHECKS.map((check) => [check.id, worst(check.id)]));
  });

  it('has the points of each layer', () => {
    const rows = [...page.matchAll(/^\| `([a-z-]+)` \| (\d+) \|/gm)].map(([, id, points]) => [
      id,
      Number(points),
    ]);
    expect(rows).toEqual(assess(HARD, FACTS).layers.map((layer) => [layer.id, layer.of]));
  });
});

describe('paths', () => {
  it('are compared in their shortest form, by whole names', () => {
    expect(normalize('//a/./b/../c/')).toBe('/a/c');
    expect(normalize('/../..')).toBe('/');
    expect(normalize('a/../b')).toBe('a/../b');
    expect(isWithin('/etcetera', '/etc')).toBe(false);
    expect(isWithin('/etc/x', '/etc')).toBe(true);
    expect(isWithin('/x', '/')).toBe(true);
  });
});
