/**
 * What images, volumes and configurations put in the place of /proc, /sys and /dev, so that what a runtime writes, binds or hides there ends up
 * elsewhere: the published attacks by their number, from end to end. The others are in oci-hostile.test.ts; labels of AppArmor are tried
 * where there is AppArmor, in oci-lab.test.ts.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ConsoleListener, readUntil } from './support/console-listener.js';
import { needs } from './support/needs.js';
import { type Config, OciTest } from './support/oci.js';

let t: OciTest;
beforeEach((context) => {
  needs(context, 'root');
  t = new OciTest();
});
afterEach(() => t?.end());

const bind = (source: string, destination: string, ...options: string[]) => ({
  source,
  destination,
  type: 'bind',
  options: ['rbind', ...options],
});

/** Lets two names of a folder take turns, by rename(2), until it is told to stop. */
function swapping(folder: string, one: string, other: string): Disposable {
  const script = `cd ${folder}; while :; do mv -T ${one} kept; mv -T ${other} ${one}; mv -T ${one} ${other}; mv -T kept ${one}; done 2>/dev/null`;
  const child = spawn('sh', ['-c', script], { stdio: 'ignore', detached: true });
  return {
    [Symbol.dispose]() {
      process.kill(-(child.pid ?? 0), 'SIGKILL');
    },
  };
}

test('CVE-2019-16884, CVE-2023-28642: a volume in the place of /proc is not taken for it, nor is a link to one', async () => {
  const decoy = join(t.folder, 'decoy');
  mkdirSync(join(decoy, 'self/attr/apparmor'), { recursive: true });
  mkdirSync(join(decoy, 'self/fd'));
  for (const file of [
    'attr/exec',
    'attr/apparmor/exec',
    'attr/keycreate',
    'oom_score_adj',
    'setgroups',
    'fd/3',
  ])
    writeFileSync(join(decoy, 'self', file), 'decoy');
  writeFileSync(join(decoy, 'kcore'), 'secret');
  const untouched = () =>
    readdirSync(join(decoy, 'self'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => readFileSync(join(parentPath, name), 'utf8'));
  const before = untouched();
  // As a mount, which the configuration may ask for: it hides the kernel's from the container, and from nobody else.
  const mounted = await t.bundle('cat /proc/kcore; echo $?', (config) => {
    config.process.oomScoreAdj = 500;
    config.process.noNewPrivileges = true;
    config.mounts = config.mounts.map((mount: Config) =>
      mount.destination === '/proc' ? bind(decoy, '/proc') : mount,
    );
  });
  const { stdout } = await t.oci(['run', '-b', mounted, 'one']);
  expect(stdout).not.toContain('secret');
  expect(untouched()).toEqual(before);
  // As a link of the image to a volume, absolute, relative, and as a part of the way.
  for (const [name, target] of [
    ['proc', '/volume'],
    ['proc', 'volume'],
    ['proc', '../../../volume'],
    ['sys', '/volume'],
  ] as const) {
    const bundle = await t.bundle('cat /proc/self/status', (config) => {
      config.mounts.unshift(bind(decoy, '/volume'));
    });
    mkdirSync(join(bundle, 'rootfs/volume'));
    rmSync(join(bundle, 'rootfs', name), { recursive: true });
    symlinkSync(target, join(bundle, 'rootfs', name));
    const { status, stderr } = await t.oci(['run', '-b', bundle, 'one']);
    expect(status, `${name} -> ${target}`).not.toBe(0);
    expect(stderr).toContain(`/${name}`);
    expect(untouched()).toEqual(before);
  }
  expect(t.left()).toEqual([]);
});

test('CVE-2025-52881: files that are mounted over the kernel’s are not what sysctls and limits are written into', async () => {
  const decoy = join(t.folder, 'decoy');
  writeFileSync(decoy, 'decoy');
  const bundle = await t.bundle('cat /proc/sys/net/ipv4/ip_unprivileged_port_start', (config) => {
    config.linux.sysctl = { 'net.ipv4.ip_forward': '1', 'net.ipv4.ip_unprivileged_port_start': '77' };
    config.process.oomScoreAdj = 321;
    // In the way of the one, and in that of all.
    config.mounts.push(bind(decoy, '/proc/sys/net/ipv4/ip_forward'));
    config.mounts.push(bind(decoy, '/proc/self/oom_score_adj'));
  });
  const { stdout } = await t.oci(['run', '-b', bundle, 'one']);
  expect(['77\n', '']).toContain(stdout);
  expect(readFileSync(decoy, 'utf8')).toBe('decoy');
});

test('CVE-2025-31133: /dev/null that becomes a link, and back, while paths are masked', async () => {
  const volume = join(t.folder, 'volume');
  const victim = join(t.folder, 'victim');
  mkdirSync(volume);
  writeFileSync(victim, 'secret of the host');
  execFileSync('mknod', ['-m', '666', join(volume, 'null'), 'c', '1', '3']);
  symlinkSync('/proc/sys/kernel/core_pattern', join(volume, 'link'));
  const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8');
  using _swapping = swapping(volume, 'null', 'link');
  for (let round = 0; round < 8; round++) {
    const bundle = await t.bundle(
      'cat /masked; cat /proc/kcore | head -c 4; echo x >/masked; echo x >/proc/kcore',
      (config) => {
        config.root.readonly = false;
        config.mounts = config.mounts.filter(({ destination }: Config) => !destination.startsWith('/dev'));
        config.mounts.push(bind(volume, '/dev'));
        config.linux.maskedPaths = ['/masked', '/proc/kcore'];
      },
    );
    writeFileSync(join(bundle, 'rootfs/masked'), 'masked');
    const { stdout } = await t.oci(['run', '-b', bundle, 'one']);
    expect(stdout, `round ${round}`).toBe('');
    expect(readFileSync('/proc/sys/kernel/core_pattern', 'utf8')).toBe(pattern);
  }
});

test('CVE-2025-52565: /dev/console that is a link, or becomes one, is not what the terminal is bound to', async () => {
  const volume = join(t.folder, 'volume');
  mkdirSync(volume);
  writeFileSync(join(volume, 'console'), '');
  symlinkSync('/proc/sys/kernel/domainname', join(volume, 'link'));
  const script =
    'grep -c " /proc/sys/kernel" /proc/self/mountinfo; cat /proc/sys/kernel/domainname | head -c 64; echo; echo the-end';
  const attempt = async (prepare: (config: Config) => void, link: boolean) => {
    const path = join(t.folder, `console-${Math.random().toString(36).slice(2)}`);
    using listener = new ConsoleListener(path);
    const bundle = await t.bundle(script, (config) => {
      config.process.terminal = true;
      config.root.readonly = false;
      prepare(config);
    });
    if (link) {
      mkdirSync(join(bundle, 'rootfs/dev/pts'));
      symlinkSync('/proc/sys/kernel/domainname', join(bundle, 'rootfs/dev/console'));
    }
    const created = await t.oci(['create', '-b', bundle, '--console-socket', path, 'one']);
    if (created.status === 0) {
      using master = listener.take();
      await t.ok('start', 'one');
      const text = await readUntil(master, 'the-end');
      // Only the read-only path that every container has.
      expect(text).toMatch(/^[01]\r?\n/);
      await t.ok('delete', '--force', 'one');
    }
    expect(t.left().filter((one) => !one.includes('mv -T'))).toEqual([]);
  };
  // The image's own /dev.
  const withoutDev = (config: Config) => {
    config.mounts = config.mounts.filter(({ destination }: Config) => destination !== '/dev');
  };
  await attempt(withoutDev, true);
  using _swapping = swapping(volume, 'console', 'link');
  for (let round = 0; round < 6; round++)
    await attempt((config) => {
      config.mounts = config.mounts.filter(({ destination }: Config) => !destination.startsWith('/dev'));
      config.mounts.push(bind(volume, '/dev'));
    }, false);
});

test('CVE-2023-25809: without a cgroup namespace the cgroups that a container sees are not for it to change', async () => {
  for (const mapped of [false, true]) {
    const script =
      'for d in $(grep " cgroup2\\? " /proc/mounts | while read -r _ at _; do echo $at; done) /sys/fs/cgroup; do mkdir $d/tvmm-made 2>/dev/null && echo made $d; (echo 0 >$d/cgroup.procs) 2>/dev/null && echo moved $d; (: >>$d/tasks) 2>/dev/null && echo opened $d; done; mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo remounted; echo done';
    const bundle = await t.bundle(script, (config) => {
      config.linux.namespaces = config.linux.namespaces.filter(({ type }: Config) => type !== 'cgroup');
      if (!mapped) return;
      const ids = [{ containerID: 0, hostID: 100000, size: 65536 }];
      config.linux.namespaces.push({ type: 'user' });
      config.linux.uidMappings = ids;
      config.linux.gidMappings = ids;
    });
    if (mapped) execFileSync('chown', ['-hR', '100000:100000', join(bundle, 'rootfs')]);
    const { stdout, stderr } = await t.oci(['run', '-b', bundle, 'one']);
    expect(stdout, `${mapped}: ${stderr}`).toBe('done\n');
  }
});

test('CVE-2021-43784: lists and paths that are longer than a field of a message are used whole or refused', async () => {
  const mapped = async (ranges: number) => {
    const bundle = await t.bundle('cat /proc/self/uid_map', (config) => {
      const ids = Array.from({ length: ranges }, (_, i) => ({
        containerID: i,
        hostID: 100000 + 2 * i,
        size: 1,
      }));
      config.linux.namespaces.push({ type: 'user' });
      config.linux.uidMappings = ids;
      config.linux.gidMappings = ids;
    });
    execFileSync('chown', ['-hR', '100000:100000', join(bundle, 'rootfs')]);
    return await t.oci(['run', '-b', bundle, 'one']);
  };
  // user_namespaces(7): at most 340 lines, and less than a page.
  const most = await mapped(300);
  expect(most.stderr).not.toContain('failed');
  const lines = most.stdout.trim().split('\n');
  expect(lines).toHaveLength(300);
  expect(lines.at(-1)?.trim().split(/\s+/)).toEqual(['299', '100598', '1']);
  for (const ranges of [341, 5000]) {
    const { status, stdout, stderr } = await mapped(ranges);
    expect([status === 0, stdout], `${ranges}`).toEqual([false, '']);
    expect(stderr).toContain('Mappings');
  }
  for (const path of [`/${'x/'.repeat(33_000)}`, `/proc/self/ns/${'../ns/'.repeat(11_000)}net`]) {
    const bundle = await t.bundle('echo ran', (config) => {
      const network = config.linux.namespaces.find(({ type }: Config) => type === 'network');
      network.path = path;
    });
    const { status, stdout } = await t.oci(['run', '-b', bundle, 'one']);
    expect([status === 0, stdout]).toEqual([false, '']);
  }
  const groups = await t.bundle('echo ran', (config) => {
    config.process.user.additionalGids = Array.from({ length: 65_537 }, (_, i) => i);
  });
  expect((await t.oci(['run', '-b', groups, 'one'])).stdout).toBe('');
  expect(t.left()).toEqual([]);
});
