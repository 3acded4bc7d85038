/** The bundles of bench/run.ts: a root with busybox alone, and configurations that differ by namespaces and seccomp. */
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultProfile } from '../../src/container/seccomp/default-profile.js';
import { ensureBusybox } from '../../src/guest/busybox.js';

export const SIX_NAMESPACES = ['pid', 'mount', 'ipc', 'uts', 'network', 'cgroup'] as const;

const CAPABILITIES = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'];
const CLOSED = ['nosuid', 'noexec', 'nodev'];

export interface BundleOptions {
  readonly namespaces: readonly string[];
  readonly seccomp?: boolean;
}

/**
 * The default profile, but for what it refuses on certain arguments: crun 1.8 cannot load two actions for one call that together leave
 * nothing to the default ("File exists").
 */
function profile(): unknown {
  const whole = defaultProfile(CAPABILITIES);
  return {
    ...whole,
    syscalls: whole.syscalls?.filter(({ action, args }) => action === 'SCMP_ACT_ALLOW' || args === undefined),
  };
}

/** What `runc spec` writes, with /bin/true for the shell. */
function configuration({ namespaces, seccomp = false }: BundleOptions): unknown {
  const ids = [{ containerID: 0, hostID: 100000, size: 65536 }];
  return {
    ociVersion: '1.0.2',
    process: {
      user: { uid: 0, gid: 0 },
      args: ['/bin/true'],
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'TERM=xterm'],
      cwd: '/',
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
      noNewPrivileges: true,
    },
    root: { path: 'rootfs', readonly: true },
    ...(namespaces.includes('uts') ? { hostname: 'bench' } : {}),
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
      },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'],
      },
      {
        destination: '/dev/shm',
        type: 'tmpfs',
        source: 'shm',
        options: [...CLOSED, 'mode=1777', 'size=65536k'],
      },
      ...(namespaces.includes('ipc')
        ? [{ destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: CLOSED }]
        : []),
      ...(namespaces.includes('network')
        ? [{ destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...CLOSED, 'ro'] }]
        : []),
    ],
    linux: {
      ...(namespaces.includes('user') ? { uidMappings: ids, gidMappings: ids } : {}),
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      namespaces: namespaces.map((type) => ({ type })),
      maskedPaths: ['/proc/kcore', '/proc/keys', '/proc/timer_list', '/sys/firmware'],
      readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
      ...(seccomp ? { seccomp: profile() } : {}),
    },
  };
}

/** Writes a bundle into a new folder. @returns its path */
export async function makeBundle(folder: string, name: string, options: BundleOptions): Promise<string> {
  const path = join(folder, name);
  mkdirSync(join(path, 'rootfs/bin'), { recursive: true });
  copyFileSync(await ensureBusybox(), join(path, 'rootfs/bin/busybox'));
  symlinkSync('busybox', join(path, 'rootfs/bin/true'));
  for (const mountPoint of ['proc', 'dev', 'sys']) mkdirSync(join(path, 'rootfs', mountPoint));
  writeFileSync(join(path, 'config.json'), JSON.stringify(configuration(options)));
  return path;
}
