import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { type CheckResult, runCheck } from './check.js';
import { cgroupMounts } from './containers.js';
import { CHECK_GROUPS, examine, Host, verdict } from './index.js';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** A host that has exactly these files. */
function hostWith(files: Record<string, string>, uid = 1000): Host {
  const root = mkdtempSync(join(tmpdir(), 'tvmm-doctor-'));
  folders.push(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text, { mode: 0o755 });
  }
  return new Host(root, { uid, user: 'tester', path: '/usr/bin' });
}

async function look(id: string, host: Host): Promise<CheckResult> {
  const check = CHECK_GROUPS.flatMap(({ checks }) => checks).find((one) => one.id === id);
  if (check === undefined) throw new Error(`no check ${id}`);
  return runCheck(check, host);
}

const AMD = 'model name\t: Test CPU\nflags\t\t: fpu svm npt\n';
const BARE = 'model name\t: Test CPU\nflags\t\t: fpu hypervisor\n';

test('a host without anything is examined without an exception, and every check that is not ok says what to do', async () => {
  const report = await examine(hostWith({}));
  const results = report.groups.flatMap(({ checks }) => checks);
  expect(report.boot).toMatchObject({ possible: false, accel: null });
  for (const { id, status, fix } of results) if (status !== 'ok') expect(fix, id).toMatch(/\w/);
  expect(results.filter(({ detail }) => detail.includes('could not be looked at'))).toEqual([]);
});

test('this host is examined without an exception', async () => {
  const report = await examine();
  expect(
    report.groups
      .flatMap(({ checks }) => checks)
      .filter(({ detail }) => detail.includes('could not be looked at')),
  ).toEqual([]);
});

test('check ids are unique', () => {
  const ids = CHECK_GROUPS.flatMap(({ checks }) => checks.map(({ id }) => id));
  expect(new Set(ids).size).toBe(ids.length);
});

test('a check that throws becomes a finding', async () => {
  const check = {
    id: 'x',
    title: 'x',
    look: () => {
      throw new Error('surprise');
    },
  };
  expect(await runCheck(check, hostWith({}))).toMatchObject({
    status: 'degraded',
    detail: expect.stringContaining('surprise'),
  });
});

test('AMD-V with NPT and a nested module is all there', async () => {
  const host = hostWith({
    '/proc/cpuinfo': AMD,
    '/sys/module/kvm_amd/parameters/nested': '1\n',
    '/sys/module/kvm_amd/parameters/npt': 'Y\n',
  });
  for (const id of ['cpu.virtualization', 'cpu.nested-paging', 'cpu.nested-virtualization'])
    expect((await look(id, host)).status, id).toBe('ok');
});

test('EPT is found in the line of VMX flags, and a module that has it off is told', async () => {
  const cpuinfo = 'flags\t\t: fpu vmx\nvmx flags\t: vnmi ept vpid\n';
  expect((await look('cpu.nested-paging', hostWith({ '/proc/cpuinfo': cpuinfo }))).detail).toBe('EPT');
  const off = hostWith({ '/proc/cpuinfo': cpuinfo, '/sys/module/kvm_intel/parameters/ept': 'N\n' });
  expect(await look('cpu.nested-paging', off)).toMatchObject({
    status: 'degraded',
    fix: expect.stringContaining('kvm_intel ept=1'),
  });
});

test('a KVM that opens on a processor without an extension is a software KVM, and points to the lab', async () => {
  const result = await look('kvm.hardware', hostWith({ '/proc/cpuinfo': BARE, '/dev/kvm': '' }));
  expect(result.status).toBe('degraded');
  expect(result.detail).toContain('software KVM');
  expect(result.fix).toContain('lab');
});

test('a /dev/kvm that is no KVM is missing, not an exception', async () => {
  const host = hostWith({ '/proc/cpuinfo': AMD, '/dev/kvm': '' });
  expect(await look('kvm.api', host)).toMatchObject({
    status: 'missing',
    detail: expect.stringContaining('is not KVM'),
  });
});

test('a virtual machine without virtualization is told to ask its hypervisor, a bare machine its firmware', async () => {
  expect((await look('cpu.virtualization', hostWith({ '/proc/cpuinfo': BARE }))).fix).toContain('hypervisor');
  expect((await look('cpu.virtualization', hostWith({ '/proc/cpuinfo': 'flags : fpu\n' }))).fix).toContain(
    'firmware',
  );
});

const V1 = ['cpu', 'cpuset', 'memory', 'devices', 'freezer', 'blkio', 'pids']
  .map((name) => `32 31 0:29 / /sys/fs/cgroup/${name} rw,relatime - cgroup cgroup rw,${name}\n`)
  .join('');
const UNIFIED = '41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n';

test('cgroup mounts are told apart by version, whatever optional fields stand between', () => {
  const mounts = cgroupMounts(`${V1}${UNIFIED}bad line\n`);
  expect(mounts.v2).toBe('/sys/fs/cgroup/unified');
  expect(mounts.v1.get('memory')).toBe('/sys/fs/cgroup/memory');
});

test.each([
  ['v1', V1, {}, 'ok', 'v1 ('],
  ['hybrid', V1 + UNIFIED, {}, 'ok', 'hybrid'],
  [
    'v2',
    '30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n',
    { '/sys/fs/cgroup/cgroup.controllers': 'cpuset cpu io memory pids\n' },
    'ok',
    'v2 with',
  ],
  [
    'v2 without memory',
    '30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n',
    { '/sys/fs/cgroup/cgroup.controllers': 'cpuset cpu io pids\n' },
    'degraded',
    'without memory',
  ],
  ['none', '', {}, 'missing', 'no hierarchy'],
])('the cgroup layout %s is recognised', async (_name, mountinfo, files, status, words) => {
  const result = await look('cgroup.version', hostWith({ '/proc/self/mountinfo': mountinfo, ...files }));
  expect(result.status).toBe(status);
  expect(result.detail).toContain(words);
});

test.each([
  ['/proc/sys/user/max_user_namespaces', '0\n', 'missing'],
  ['/proc/sys/kernel/unprivileged_userns_clone', '0\n', 'missing'],
  ['/proc/sys/kernel/apparmor_restrict_unprivileged_userns', '1\n', 'degraded'],
])('unprivileged user namespaces heed %s', async (path, text, status) => {
  expect((await look('namespaces.unprivileged', hostWith({ [path]: text }))).status).toBe(status);
});

test.each([
  [{}, 1000, 'missing', 'no network but none and host'],
  [{}, 0, 'ok', 'root needs none'],
  [{ '/usr/bin/slirp4netns': '' }, 1000, 'degraded', '/dev/net/tun cannot be opened (ENOENT)'],
  [{ '/usr/bin/slirp4netns': '', '/dev/net/tun': '' }, 1000, 'ok', 'by slirp4netns'],
  [{ '/usr/bin/pasta': '', '/usr/bin/slirp4netns': '', '/dev/net/tun': '' }, 1000, 'ok', 'by pasta'],
] as const)('networks of users, with %j and uid %i, are %s', async (files, uid, status, words) => {
  const result = await look('network.user', hostWith(files, uid));
  expect(result).toMatchObject({ status, detail: expect.stringContaining(words) });
});

test.each([
  ['5.10.0-28-amd64', 'degraded'],
  ['5.11.0', 'ok'],
  ['4.19.0', 'degraded'],
  ['6.1.0-18-amd64', 'ok'],
])('Linux %s: overlays of users are %s', async (release, status) => {
  const host = hostWith({ '/proc/sys/kernel/osrelease': `${release}\n` });
  expect((await look('overlay.user', host)).status).toBe(status);
});

test('a tool that is missing is named with its package', async () => {
  const result = await look('lab.tools', hostWith({ '/usr/bin/setpriv': '' }));
  expect(result).toMatchObject({ status: 'missing', detail: expect.stringContaining('qemu-system-x86_64') });
  expect(result.fix).toContain('qemu-system-x86');
  expect(
    (await look('lab.tools', hostWith({ '/usr/bin/setpriv': '', '/usr/bin/qemu-system-x86_64': '' }))).status,
  ).toBe('ok');
});

const results = (statuses: Record<string, CheckResult['status']>): CheckResult[] =>
  Object.entries(statuses).map(([id, status]) => ({ id, status, title: id, detail: `${id} detail` }));

test.each([
  [{ 'kvm.hardware': 'ok', 'kvm.api': 'ok', 'kvm.capabilities': 'degraded', 'lab.tools': 'missing' }, 'kvm'],
  [{ 'kvm.hardware': 'degraded', 'kvm.api': 'ok', 'kvm.capabilities': 'ok', 'lab.tools': 'ok' }, 'lab'],
  [{ 'kvm.hardware': 'ok', 'kvm.api': 'ok', 'kvm.capabilities': 'missing', 'lab.tools': 'ok' }, 'lab'],
  [{ 'kvm.hardware': 'missing', 'lab.tools': 'missing' }, null],
] as const)('the verdict of %o is %s', (statuses, accel) => {
  expect(verdict(results(statuses))).toMatchObject({ accel, possible: accel !== null });
});
