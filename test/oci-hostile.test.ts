/**
 * What images, programs and configurations have done to container runtimes in the last years, tried on ours from end to end. Each test is named
 * for the attack; the published ones with their number. What a compiled plan does about links, devices and terminals is tested
 * step by step beside the compiler.
 */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from 'tvmm';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from './support/needs.js';
import { type Config, OciTest } from './support/oci.js';

let t: OciTest;
beforeEach((context) => {
  needs(context, 'root');
  t = new OciTest();
});
afterEach(() => t?.end());

const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

const bind = (source: string, destination: string, ...options: string[]) => ({
  source,
  destination,
  type: 'bind',
  options: ['bind', ...options],
});

test('CVE-2019-5736: a program that is /proc/self/exe, or writes to the programs that enter, changes no file of the host', async () => {
  const files = [
    process.execPath,
    join(packageRoot(), 'dist/firmware/launcher'),
    join(packageRoot(), 'dist/oci.cjs'),
  ];
  const before = files.map(digest);
  const self = await t.bundle('true', (config) => {
    config.process.args = [
      '/proc/self/exe',
      '--init',
      'sh',
      '-c',
      'echo x >/proc/1/exe; echo x >/proc/self/exe',
    ];
  });
  expect((await t.oci(['run', '-b', self, 'self'])).status).not.toBe(0);
  const script =
    'while :; do for exe in /proc/[0-9]*/exe; do case $exe in /proc/1/*) ;; *) (echo evil >$exe) 2>/dev/null && echo $exe >>/tmp/written;; esac; done; done';
  await t.ok(
    'run',
    '-d',
    '-b',
    await t.bundle(script, (config) => {
      config.root.readonly = false;
      const all = ['CAP_DAC_OVERRIDE', 'CAP_SYS_PTRACE', 'CAP_SYS_ADMIN'];
      config.process.capabilities = { bounding: all, effective: all, permitted: all };
    }),
    'evil',
  );
  for (let i = 0; i < 5; i++)
    expect((await t.oci(['exec', 'evil', '/proc/self/exe', 'x'])).stderr).not.toContain('internal');
  for (let i = 0; i < 5; i++) await t.oci(['exec', 'evil', 'true']);
  await t.ok('delete', '--force', 'evil');
  expect(files.map(digest)).toEqual(before);
});

test('CVE-2024-21626: no working directory leads to a folder that the runtime has open, at create or at exec', async () => {
  const folders = Array.from({ length: 12 }, (_, fd) => `/proc/self/fd/${fd}`);
  for (const cwd of [...folders.slice(3, 8), '/proc/self/fd/7/../../..', '/link']) {
    const bundle = await t.bundle('cat /proc/self/mountinfo >/dev/null; pwd', (config) => {
      config.process.cwd = cwd;
      config.root.readonly = false;
    });
    symlinkSync('/proc/self/fd/5', join(bundle, 'rootfs/link'));
    const { status, stdout } = await t.oci(['run', '-b', bundle, 'cwd']);
    if (status === 0) expect(stdout, cwd).toMatch(/^\/[^(]*\n$/);
  }
  await t.ok('run', '-d', '-b', await t.bundle('exec sleep 1000'), 'one');
  for (const cwd of folders) {
    const { status, stdout } = await t.oci([
      'exec',
      '--cwd',
      cwd,
      'one',
      'sh',
      '-c',
      'ls ../../../../../..; pwd',
    ]);
    if (status === 0) expect(stdout, cwd).not.toContain('tvmm-oci');
  }
  const links = (await t.ok('exec', 'one', 'ls', '-l', '/proc/self/fd')).match(/ -> \/(?!dev|proc)/g);
  expect(links).toBeNull();
});

test('CVE-2022-29162: no process begins with inheritable capabilities that its configuration does not name', async () => {
  const bundle = await t.bundle('grep CapInh /proc/self/status; exec sleep 1000');
  await t.ok('run', '-d', '-b', bundle, 'one');
  expect(await t.ok('exec', '--cap', 'CAP_NET_RAW', 'one', 'grep', 'CapInh', '/proc/self/status')).toBe(
    'CapInh:\t0000000000000000\n',
  );
});

test('CVE-2025-31133: an image’s /dev/null that leads elsewhere is not what masked paths are covered with', async () => {
  const victim = join(t.folder, 'victim');
  writeFileSync(victim, 'untouched');
  const bundle = await t.bundle('cat /masked; cat /proc/kcore | head -c 4; echo x >/masked', (config) => {
    config.root.readonly = false;
    config.mounts = config.mounts.filter(({ destination }: Config) => destination === '/proc');
    config.mounts.push(bind(victim, '/bound'));
    config.linux.maskedPaths = ['/masked', '/proc/kcore'];
  });
  rmSync(join(bundle, 'rootfs/dev'), { recursive: true });
  mkdirSync(join(bundle, 'rootfs/dev'));
  symlinkSync('/bound', join(bundle, 'rootfs/dev/null'));
  writeFileSync(join(bundle, 'rootfs/masked'), 'secret');
  const { stdout } = await t.oci(['run', '-b', bundle, 'one']);
  expect(stdout).not.toContain('secret');
  expect(stdout).not.toContain('untouched');
  expect(readFileSync(victim, 'utf8')).toBe('untouched');
});

test('CVE-2021-30465, CVE-2024-45310: a volume whose folders become links while mounts are made on them', async () => {
  const volume = join(t.folder, 'volume');
  mkdirSync(join(volume, 'real'), { recursive: true });
  const outside = join(t.folder, 'outside');
  mkdirSync(outside);
  // Both at once, by rename(2): there is always one of the two.
  const script = `cd ${volume}; while :; do ln -sT ${outside} link 2>/dev/null; mv -T real kept; mv -T link real; mv -T real link; mv -T kept real; done`;
  const swapper = spawn('sh', ['-c', script], { stdio: 'ignore', detached: true });
  try {
    for (let round = 0; round < 12; round++) {
      const bundle = await t.bundle('true', (config) => {
        config.root.readonly = false;
        config.mounts.push(bind(volume, '/volume', 'rbind'));
        config.mounts.push({ destination: '/volume/real/deep/er', type: 'tmpfs', source: 'tmpfs' });
        config.mounts.push(bind('/etc/hostname', '/volume/real/file'));
      });
      await t.oci(['run', '-b', bundle, 'one']);
      await t.oci(['delete', '--force', 'one']);
      expect(readdirSync(outside), `round ${round}`).toEqual([]);
    }
  } finally {
    process.kill(-(swapper.pid ?? 0), 'SIGKILL');
  }
});

test('CVE-2019-19921, CVE-2023-27561: an image whose /proc or /sys is a link does not get them mounted elsewhere', async () => {
  for (const name of ['proc', 'sys']) {
    const bundle = await t.bundle('true', (config) => {
      config.root.readonly = false;
    });
    rmSync(join(bundle, 'rootfs', name), { recursive: true });
    mkdirSync(join(bundle, 'rootfs/fake'));
    symlinkSync('/fake', join(bundle, 'rootfs', name));
    const { status, stderr } = await t.oci(['run', '-b', bundle, 'one']);
    expect(status, name).not.toBe(0);
    expect(stderr).toContain(`/${name}`);
  }
});

test('CVE-2025-52881: what is written into /proc for a container goes into the kernel’s, whatever it mounts there', async () => {
  const decoy = join(t.folder, 'decoy');
  mkdirSync(join(decoy, 'sys/net/ipv4'), { recursive: true });
  writeFileSync(join(decoy, 'sys/net/ipv4/ip_forward'), 'decoy');
  const bundle = await t.bundle('true', (config) => {
    config.linux.sysctl = { 'net.ipv4.ip_forward': '1' };
    config.mounts = config.mounts.map((mount: Config) =>
      mount.destination === '/proc' ? bind(decoy, '/proc') : mount,
    );
  });
  await t.oci(['run', '-b', bundle, 'one']);
  expect(readFileSync(join(decoy, 'sys/net/ipv4/ip_forward'), 'utf8')).toBe('decoy');
});

test('CVE-2020-15257: a container in the host’s network finds no abstract socket of ours', async () => {
  const bundle = await t.bundle('exec sleep 1000', (config) => {
    config.linux.namespaces = config.linux.namespaces.filter(({ type }: Config) => type !== 'network');
  });
  await t.ok('run', '-d', '-b', bundle, 'one');
  expect(await t.ok('exec', 'one', 'cat', '/proc/net/unix')).not.toMatch(
    /@[^\n]*(?:engine|minder|oci|serve)/,
  );
});

test('CVE-2022-0811: kernel parameters name what belongs to the container, and nothing beside it', async () => {
  for (const [name, value] of [
    ['net.ipv4.ip_forward', '1\nkernel.core_pattern=|/x'],
    ['kernel.shm_rmid_forced', '1+kernel.core_pattern=|/x'],
    ['net/../kernel/core_pattern', '|/x'],
    ['net.../kernel.core_pattern', '|/x'],
    ['kernel.core_pattern', '|/x'],
    ['net.ipv4.ip_forward\0', '1'],
  ] as const) {
    const before = readFileSync('/proc/sys/kernel/core_pattern', 'utf8');
    const bundle = await t.bundle('true', (config) => {
      config.linux.sysctl = { [name]: value };
    });
    const { stderr } = await t.oci(['run', '-b', bundle, 'one']);
    if (!value.includes('\n')) expect(stderr, name).not.toBe('');
    expect(readFileSync('/proc/sys/kernel/core_pattern', 'utf8')).toBe(before);
  }
});

test('kernel parameters of the host’s network stay, by whatever path the container joins it', async () => {
  const before = readFileSync('/proc/sys/net/ipv4/ip_default_ttl', 'utf8');
  const bundle = await t.bundle('true', (config) => {
    for (const namespace of config.linux.namespaces)
      if (namespace.type === 'network') namespace.path = `/proc/${process.pid}/ns/net`;
    config.linux.sysctl = { 'net.ipv4.ip_default_ttl': '99' };
  });
  const { status, stderr } = await t.oci(['run', '-b', bundle, 'one']);
  expect(readFileSync('/proc/sys/net/ipv4/ip_default_ttl', 'utf8')).toBe(before);
  expect(status).not.toBe(0);
  expect(stderr).toContain('belongs to the network namespace, and the container has none of its own');
});

test('CVE-2024-40635: ids that do not fit into 32 bits are no ids, least of all root’s', async () => {
  for (const uid of [2 ** 32, 2 ** 32 - 1, -1, 1.5, 2 ** 53]) {
    const bundle = await t.bundle('id -u', (config) => {
      config.process.user = { uid, gid: 0 };
    });
    const { status, stdout } = await t.oci(['run', '-b', bundle, 'one']);
    expect(status, String(uid)).not.toBe(0);
    expect(stdout).toBe('');
  }
});

test('paths of devices, mounts and cgroups that climb stay where they belong', async () => {
  const bundle = await t.bundle('ls -d /up /dev/../mounted /x && cat /proc/self/cgroup', (config) => {
    config.root.readonly = false;
    config.linux.cgroupsPath = `/../../${t.name}/c1`;
    config.linux.devices = [{ path: '/../../../up', type: 'c', major: 1, minor: 3 }];
    config.mounts.push({ destination: '/../../../mounted', type: 'tmpfs', source: 'tmpfs' });
    config.mounts.push({ destination: 'x', type: 'tmpfs', source: 'tmpfs' });
  });
  const { status, stdout, stderr } = await t.oci(['run', '-b', bundle, 'one']);
  expect(stderr).toBe('');
  expect(stdout).toContain('/up\n');
  expect(status).toBe(0);
  expect(existsSync('/up') || existsSync('/mounted')).toBe(false);
  for (const id of ['..', '../x', 'a/b', '.', '', 'a\nb'])
    expect((await t.oci(['create', '-b', bundle, id])).status, JSON.stringify(id)).not.toBe(0);
});

test('CVE-2016-9962: root in a container cannot look into processes that enter it, and finds no descriptors of theirs', async () => {
  await t.ok(
    'run',
    '-d',
    '-b',
    await t.bundle('exec sleep 1000', (config) => {
      const all = ['CAP_DAC_OVERRIDE', 'CAP_DAC_READ_SEARCH', 'CAP_SETUID'];
      config.process.capabilities = { bounding: all, effective: all, permitted: all };
    }),
    'one',
  );
  const init = JSON.parse(await t.ok('state', 'one')).pid;
  expect(readdirSync(`/proc/${init}/fd`)).toHaveLength(3);
  const look = 'for i in 1 2 3 4 5 6 7 8 9; do ls -l /proc/[0-9]*/fd/ 2>/dev/null; done';
  for (let i = 0; i < 6; i++) {
    const [, { stdout }] = await Promise.all([
      t.oci(['exec', 'one', 'true']),
      t.oci(['exec', 'one', 'sh', '-c', look]),
    ]);
    expect(stdout.split('\n').filter((line) => / -> \/(?!dev\/null|proc\/\d)/.test(line))).toEqual([]);
  }
});

test('a null device of the host stays whose it is, as standard streams, as a mount and as a device', async () => {
  // Once the host's own was found to be 100000's: what is tried here is a node of our own.
  const node = join(t.folder, 'null');
  execFileSync('mknod', ['-m', '666', node, 'c', '1', '3']);
  const ids = [{ containerID: 0, hostID: 100000, size: 65536 }];
  const streams = ['sh', '-c', `exec "$@" <${node} >${node} 2>${node}`, 'sh'];
  for (const user of [0, 1000])
    for (const mapped of [false, true])
      for (const bound of [false, true]) {
        const bundle = await t.bundle('true', (config) => {
          config.process.user = { uid: user, gid: user };
          if (mapped) {
            config.linux.namespaces.push({ type: 'user' });
            config.linux.uidMappings = ids;
            config.linux.gidMappings = ids;
          }
          if (!bound) return;
          config.mounts.push(bind(node, '/dev/null'));
          config.linux.devices = [{ path: '/dev/null', type: 'c', major: 1, minor: 3, uid: 1000, gid: 1000 }];
        });
        if (mapped) execFileSync('chown', ['-hR', '100000:100000', join(bundle, 'rootfs')]);
        const { status } = await t.oci(['run', '-b', bundle, 'one'], { under: streams });
        const what = `user ${user}, mapped ${mapped}, bound ${bound}`;
        expect(status, what).toBe(0);
        const { uid, gid, mode } = statSync(node);
        expect([uid, gid, mode & 0o777], what).toEqual([0, 0, 0o666]);
      }
});
