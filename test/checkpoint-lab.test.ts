/**
 * Checkpoint and restore by the distribution's criu, in the lab: its kernel is one that this criu knows, which the host's need not be. A command
 * takes seconds in there, so that one container's way answers everything.
 */
import { join } from 'node:path';
import { packageRoot } from 'tvmm';
import { expect, test } from 'vitest';
import { sharedLab } from './support/lab.js';
import { needs } from './support/needs.js';

/** What criu looks for in a kernel when it starts; crc32c is one that modprobe does not know of. */
const MODULES =
  'crc32c_generic nf_tables nf_conntrack_netlink veth tun inet_diag tcp_diag udp_diag unix_diag af_packet_diag netlink_diag';

const CONFIG = {
  ociVersion: '1.0.2',
  process: {
    user: { uid: 0, gid: 0 },
    args: ['sh', '-c', 'i=0; while true; do i=$((i+1)); echo $i $$ > /data/count; sleep 0.2; done'],
    env: ['PATH=/bin'],
    cwd: '/',
  },
  root: { path: 'rootfs', readonly: true },
  hostname: 'frozen',
  mounts: [
    { destination: '/proc', type: 'proc', source: 'proc' },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
    { destination: '/data', type: 'bind', source: '/tmp/checkpoint/data', options: ['bind', 'nosuid'] },
  ],
  linux: {
    namespaces: ['pid', 'network', 'ipc', 'uts', 'mount', 'cgroup'].map((type) => ({ type })),
    maskedPaths: ['/proc/keys'],
    readonlyPaths: ['/proc/sys'],
    resources: { pids: { limit: 50 } },
  },
};

const SCRIPT = `
  for module in ${MODULES}; do modprobe $module; done
  mkdir -p /tmp/checkpoint/rootfs/bin /tmp/checkpoint/data && cd /tmp/checkpoint && cat > config.json
  for folder in proc dev data; do mkdir rootfs/$folder; done
  cp "$(command -v busybox)" rootfs/bin/busybox
  for name in sh sleep; do ln -s busybox rootfs/bin/$name; done
  oci() { node ${join(packageRoot(), 'dist/oci.cjs')} --root /run/checkpoint "$@" 2>> errors; }
  say() { echo "@ $*"; }
  count() { read number pid < data/count; echo $number; }
  pid() { oci state one | sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p'; }
  oci run -d one < /dev/null > /dev/null; say run $?
  oci checkpoint --empty-ns network --image-path images one; say checkpoint $?
  say left $(ls /run/checkpoint) $(ls -d /sys/fs/cgroup/one 2>/dev/null)
  before=$(count); sleep 1; say still $(($(count) - before)); say before $before
  # What create had made is not there in a copy of the root.
  rmdir rootfs/proc rootfs/dev rootfs/data
  oci restore -d --empty-ns network --image-path images --pid-file pid one < /dev/null > /dev/null; say restore $?
  for try in 1 2 3 4 5 6 7 8 9 10; do [ "$(count)" -gt $((before + 2)) ] && break; sleep 1; done
  say after $(count) $(sed 's/.* //' data/count); say state $(pid) $(cat pid)
  say limit $(cat /sys/fs/cgroup/one/pids.max) $(grep -c . /sys/fs/cgroup/one/cgroup.procs)
  say parent $(sed 's/.*) . \\([0-9]*\\) .*/\\1/' /proc/$(cat pid)/stat)
  say root $(sed -n 's/.* \\/ \\(r[ow]\\),.*/\\1/p' /proc/$(cat pid)/mountinfo | head -n 1)
  say mounts $(grep -c checkpoint/criu-root /proc/self/mountinfo)
  oci delete -f one; say delete $?
  say end $(ls /run/checkpoint) $(ls -d /sys/fs/cgroup/one 2>/dev/null)
  cat errors; grep -B 4 Error images/*.log`;

test('a container goes on from its checkpoint with its memory, mounts and limits, and nothing is left of either', async (context) => {
  needs(context, 'lab');
  const lab = await sharedLab();
  const { stdout, stderr } = await lab.exec(['sh', '-c', SCRIPT], {
    stdin: Buffer.from(JSON.stringify(CONFIG)),
    timeoutMs: 240_000,
  });
  const said = Object.fromEntries(
    [...stdout.matchAll(/^@ (\S+) ?(.*)$/gm)].map(([, key, value]) => [key, value]),
  );
  const all = `${stdout}\n${stderr}`;
  expect(said, all).toMatchObject({ run: '0', checkpoint: '0', left: '', still: '0', restore: '0' });
  const [after = 0, inside] = (said.after ?? '').split(' ').map(Number);
  expect(after, all).toBeGreaterThan(Number(said.before));
  expect(inside).toBe(1);
  expect(said.state).toMatch(/^([0-9]+) \1$/);
  expect(said).toMatchObject({ limit: '50 2', root: 'ro', mounts: '0', delete: '0', end: '' });
}, 250_000);
