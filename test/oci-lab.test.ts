/**
 * Containers on pure cgroup v2, in the lab's machine: limits, devices guarded by BPF, freezer, updates, the OOM killer, further processes, a
 * cgroup namespace on a mount with nsdelegate, AppArmor, a bridge with a published port. Through the resident engine, since Node takes seconds to start there.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from 'tvmm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { noLab, type SharedLab, sharedLab } from './support/lab.js';
import type { Config } from './support/oci.js';

const DIST = join(packageRoot(), 'dist');
const PLACE = `/run/oci-lab-${process.pid}`;
const APPLETS = 'sh true sleep ls cat echo id dd head mknod mkdir mount grep tail';
const CGROUP = `/sys/fs/cgroup/oci-lab-${process.pid}`;
const MIB = 2 ** 20;

const PREPARE = `
set -e
mkdir -p ${PLACE}/rootfs/bin
cd ${PLACE}/rootfs
mkdir proc sys dev tmp etc
cp /bin/busybox bin
for applet in ${APPLETS}; do ln -s busybox bin/$applet; done
mkdir -m 700 ${PLACE}/engine
setsid node ${DIST}/cli.cjs serve --socket ${PLACE}/engine/engine.sock >${PLACE}/log 2>&1 </dev/null &
for i in $(seq 600); do [ -S ${PLACE}/engine/engine.sock ] && break; sleep 0.2; done
`;

describe.skipIf(noLab !== undefined)(
  `containers on cgroup v2${noLab === undefined ? '' : ` (skipped: ${noLab})`}`,
  () => {
    let lab: SharedLab;
    let base: Config;

    const sh = (script: string) => lab.exec(['sh', '-c', `cd ${PLACE}; ${script}`]);

    /** Runs the native client of tvmm-oci. */
    async function oci(...words: string[]) {
      const quoted = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
      return await sh(
        `TVMM_ENGINE=${PLACE}/engine/engine.sock ${DIST}/firmware/client --root ${PLACE}/state ${quoted} </dev/null`,
      );
    }

    async function ok(...words: string[]): Promise<string> {
      const { status, stdout, stderr } = await oci(...words);
      if (status !== 0) throw new Error(`${words.join(' ')}: status ${status}: ${stderr}`);
      return stdout;
    }

    /** A bundle that runs `sh -c script`. */
    async function bundle(name: string, script: string, change: (config: Config) => void = () => {}) {
      const config = structuredClone(base);
      config.root.path = `${PLACE}/rootfs`;
      config.process.terminal = false;
      config.process.args = ['sh', '-c', script];
      config.linux.cgroupsPath = `/oci-lab-${process.pid}/${name}`;
      change(config);
      const folder = join(lab.exchange, `oci-lab-${name}`);
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
      return join(lab.exchangeInLab, `oci-lab-${name}`);
    }

    const file = async (name: string, path: string) =>
      (await sh(`cat ${CGROUP}/${name}/${path}`)).stdout.trim();

    beforeAll(async () => {
      lab = await sharedLab();
      const prepared = await lab.exec(['sh', '-c', PREPARE]);
      expect(prepared, (await lab.exec(['cat', `${PLACE}/log`])).stdout).toMatchObject({ status: 0 });
      await ok('spec');
      base = JSON.parse((await sh('cat config.json')).stdout);
    });
    afterAll(async () => {
      await sh(`kill $(cat engine/pid 2>/dev/null) 2>/dev/null; cat log; rm -rf ${PLACE}`);
    });

    it('live under their limits from create to delete, and are changed, held and killed', async () => {
      const script = 'cat /proc/self/cgroup; cat /sys/fs/cgroup/memory.max; exec sleep 1000';
      const at = await bundle('life', script, (config) => {
        config.linux.resources = {
          memory: { limit: 48 * MIB, swap: 48 * MIB },
          cpu: { shares: 512, quota: 50_000, period: 100_000, cpus: '0' },
          pids: { limit: 20 },
          blockIO: { weight: 200 },
          devices: [{ allow: false, access: 'rwm' }],
          unified: { 'memory.high': `${40 * MIB}` },
        };
        config.mounts = config.mounts.filter(({ destination }: Config) => destination !== '/sys/fs/cgroup');
        config.mounts.push({
          destination: '/sys/fs/cgroup',
          type: 'cgroup',
          source: 'cgroup',
          options: ['ro'],
        });
      });
      await ok('create', '-b', at, 'life');
      const { pid } = JSON.parse(await ok('state', 'life'));
      const limits =
        'memory.max memory.swap.max memory.high cpu.max cpu.weight cpuset.cpus pids.max io.weight cgroup.procs';
      expect((await sh(`cd ${CGROUP}/life; tail -qn 1 ${limits}`)).stdout.split('\n')).toEqual([
        ...[48 * MIB, 0, 40 * MIB, '50000 100000', 59, 0, 20, 'default 1920', pid, ''].map(String),
      ]);
      await ok('start', 'life');
      // In its cgroup namespace, whose mount has nsdelegate: that once kept further processes from being born there.
      expect(await ok('exec', 'life', 'cat', '/proc/self/cgroup')).toBe('0::/\n');
      expect(await ok('exec', 'life', 'cat', '/sys/fs/cgroup/pids.max')).toBe('20\n');

      await ok('pause', 'life');
      expect(JSON.parse(await ok('state', 'life')).status).toBe('paused');
      expect(await file('life', 'cgroup.events')).toContain('frozen 1');
      expect((await oci('exec', 'life', 'true')).stderr).toContain('paused');
      await ok('resume', 'life');

      await ok(
        'update',
        '--memory',
        `${64 * MIB}`,
        '--memory-swap',
        `${96 * MIB}`,
        '--pids-limit',
        '30',
        '--cpu-quota',
        '20000',
        'life',
      );
      expect(
        (await sh(`cd ${CGROUP}/life; tail -qn 1 memory.max memory.swap.max pids.max cpu.max`)).stdout,
      ).toBe(`${64 * MIB}\n${32 * MIB}\n30\n20000 100000\n`);
      const { data } = JSON.parse(await ok('events', '--stats', 'life'));
      expect(data.memory.usage.limit).toBe(64 * MIB);
      expect(data.pids).toEqual({ current: 1, limit: 30 });
      expect(await ok('ps', 'life')).toContain('sleep 1000');

      await ok('kill', 'life', 'KILL');
      await sh('sleep 0.3');
      await ok('delete', 'life');
      expect((await sh(`ls -d ${CGROUP}*`)).stdout).toBe('');
    });

    it('reach the devices that their rules allow, and no others', async () => {
      const rules = [
        { allow: false, access: 'rwm' },
        { allow: true, type: 'c', major: 1, minor: 11, access: 'r' },
      ];
      const at = await bundle('devices', 'exec sleep 1000', (config) => {
        config.linux.resources = { devices: rules };
        config.linux.devices = [
          { path: '/dev/kmsg', type: 'c', major: 1, minor: 11 },
          { path: '/dev/mem', type: 'c', major: 1, minor: 1 },
        ];
        const all = ['CAP_MKNOD', 'CAP_SYS_RAWIO', 'CAP_SYSLOG'];
        config.process.capabilities = { bounding: all, effective: all, permitted: all };
      });
      await ok('run', '-d', '-b', at, 'devices');
      const tries = [
        'head -c 1 /dev/zero >/dev/null; echo zero $?',
        'dd if=/dev/kmsg of=/dev/null bs=8192 count=1 2>/dev/null; echo kmsg $?',
        '(echo x >/dev/kmsg) 2>/dev/null; echo write $?',
        'head -c 1 /dev/mem 2>/dev/null; echo mem $?',
        'mknod /dev/pipe p; echo pipe $?',
        'mknod /dev/loop b 7 0; echo made $?; (: </dev/loop) 2>/dev/null; echo loop $?',
      ];
      const { stdout } = await oci('exec', 'devices', 'sh', '-c', tries.join('\n'));
      expect(stdout.split('\n')).toEqual([
        'zero 0',
        'kmsg 0',
        'write 1',
        'mem 1',
        'pipe 0',
        'made 0',
        'loop 1',
        '',
      ]);
      await ok('delete', '--force', 'devices');
    });

    it('are killed when they use more memory than they may, which events tell', async () => {
      const at = await bundle('oom', 'exec sleep 1000', (config) => {
        config.linux.resources = { memory: { limit: 16 * MIB, swap: 16 * MIB } };
      });
      await ok('run', '-d', '-b', at, 'oom');
      const watch = `TVMM_ENGINE=${PLACE}/engine/engine.sock ${DIST}/firmware/client --root ${PLACE}/state events oom >events 2>&1 </dev/null &
        echo $! >watcher; for i in $(seq 300); do grep -q '"stats"' events && break; sleep 0.2; done`;
      await sh(watch);
      const { status } = await oci('exec', 'oom', 'sh', '-c', 'x=0123456789abcdef; while :; do x=$x$x; done');
      expect(status).toBe(137);
      expect(await file('oom', 'memory.events')).toMatch(/oom_kill [1-9]/);
      const told = await sh(
        `for i in $(seq 50); do grep -q '"oom"' events && break; sleep 0.2; done; cat events; kill $(cat watcher)`,
      );
      expect(told.stdout).toContain('"type":"oom"');
      expect(JSON.parse(await ok('state', 'oom')).status).toBe('running');
      await ok('delete', '--force', 'oom');
    });

    it('in a user namespace own their cgroup, and can hand it on', async () => {
      const script =
        'mkdir /sys/fs/cgroup/inner && echo 0 >/sys/fs/cgroup/inner/cgroup.procs && cat /proc/self/cgroup; exec sleep 1000';
      const at = await bundle('own', script, (config) => {
        config.linux.namespaces.push({ type: 'user' });
        config.linux.uidMappings = config.linux.gidMappings = [
          { containerID: 0, hostID: 100000, size: 65536 },
        ];
        config.mounts = config.mounts.filter(({ destination }: Config) => destination !== '/sys/fs/cgroup');
        config.mounts.push({
          destination: '/sys/fs/cgroup',
          type: 'cgroup',
          source: 'cgroup',
          options: ['rw'],
        });
        config.linux.readonlyPaths = [];
      });
      const { stdout, stderr } = await sh(
        `chmod 711 ${PLACE}; chown -R 100000:100000 rootfs; (TVMM_ENGINE=${PLACE}/engine/engine.sock ${DIST}/firmware/client --root ${PLACE}/state run -d -b ${at} own) </dev/null >own.out 2>&1; sleep 1; cat own.out; stat -c %u ${CGROUP}/own ${CGROUP}/own/memory.max; chown -R 0:0 rootfs`,
      );
      expect(stdout + stderr).toContain('0::/inner\n100000\n0\n');
      await ok('delete', '--force', 'own');
      expect((await sh(`ls -d ${CGROUP}*`)).stdout).toBe('');
    });

    it('join the cgroup namespace of another container', async () => {
      await ok('run', '-d', '-b', await bundle('first', 'exec sleep 1000'), 'first');
      const { pid } = JSON.parse(await ok('state', 'first'));
      const second = await bundle('second', 'cat /proc/self/cgroup', (config) => {
        const own = config.linux.namespaces.find(({ type }: Config) => type === 'cgroup');
        own.path = `/proc/${pid}/ns/cgroup`;
      });
      expect(await ok('run', '-b', second, 'second')).toBe('0::/../second\n');
      await ok('delete', '--force', 'first');
    });

    it('are under the AppArmor profile that they ask for, or are not run', async (context) => {
      await sh('mount -t securityfs none /sys/kernel/security');
      const { stdout } = await sh('cat /sys/module/apparmor/parameters/enabled');
      if (stdout.trim() !== 'Y') context.skip('the lab’s kernel has no AppArmor');
      const unconfined = await bundle('armor', 'cat /proc/self/attr/apparmor/current', (config) => {
        config.process.apparmorProfile = 'unconfined';
      });
      expect(await ok('run', '-b', unconfined, 'armor')).toBe('unconfined\n');
      const unknown = await bundle('armor', 'true', (config) => {
        config.process.apparmorProfile = 'no-such-profile';
      });
      const refused = await oci('run', '-b', unknown, 'armor');
      expect(refused.status).not.toBe(0);
      expect(refused.stderr).toContain('no-such-profile');
      expect((await sh(`ls state; ls -d ${CGROUP}*`)).stdout).toBe('');

      const rules = 'file, capability, network, signal, ptrace, umount, deny /etc/secret r,';
      const loaded = await sh(
        `echo 'profile tvmm-lab flags=(attach_disconnected,mediate_deleted) { ${rules} }' >profile; apparmor_parser -r -K profile; echo secret >rootfs/etc/secret`,
      );
      if (loaded.status === 127) context.skip('apparmor_parser is missing: apt-get install apparmor');
      const look = 'cat /proc/self/attr/current; cat /etc/secret 2>/dev/null; echo $?';
      const confined = await bundle('armor', `${look}; exec sleep 1000`, (config) => {
        config.process.apparmorProfile = 'tvmm-lab';
      });
      await sh(
        `(TVMM_ENGINE=${PLACE}/engine/engine.sock ${DIST}/firmware/client --root ${PLACE}/state run -d -b ${confined} armor) </dev/null >armor.out 2>&1; sleep 0.5`,
      );
      expect((await sh('cat armor.out')).stdout).toBe('tvmm-lab (enforce)\n1\n');
      expect(await ok('exec', 'armor', 'sh', '-c', look)).toBe('tvmm-lab (enforce)\n1\n');
      const other = await oci('exec', '--apparmor', 'no-such-profile', 'armor', 'true');
      expect([other.status === 0, other.stderr.includes('no-such-profile')]).toEqual([false, true]);
      await ok('delete', '--force', 'armor');
    });

    it('are under their AppArmor profile whatever is mounted in the place of /proc (CVE-2019-16884, CVE-2025-52881)', async (context) => {
      if ((await sh('grep -c "^tvmm-lab " /sys/kernel/security/apparmor/profiles')).stdout.trim() !== '1')
        context.skip('no profile was loaded');
      const files =
        'decoy/self/attr/apparmor/exec decoy/self/attr/exec decoy/1/attr/apparmor/exec decoy/1/attr/exec';
      await sh(
        `mkdir -p decoy/self/attr/apparmor decoy/1/attr/apparmor; for file in ${files}; do echo decoy >$file; done`,
      );
      for (const destination of [
        '/proc',
        '/proc/self',
        '/proc/self/attr',
        '/proc/thread-self/attr/apparmor/exec',
      ]) {
        const source = destination.endsWith('exec')
          ? 'decoy/self/attr/apparmor'
          : destination === '/proc'
            ? 'decoy'
            : 'decoy/self';
        const at = await bundle('decoy', 'cat /etc/secret; echo ran', (config) => {
          config.process.apparmorProfile = 'tvmm-lab';
          const mount = { destination, type: 'bind', source: `${PLACE}/${source}`, options: ['rbind', 'rw'] };
          config.mounts = config.mounts.filter((one: Config) => one.destination !== destination);
          config.mounts.push(mount);
        });
        const { status, stdout } = await oci('run', '-b', at, 'decoy');
        expect(stdout, destination).not.toContain('secret');
        if (status === 0) expect(stdout, destination).toBe('ran\n');
      }
      expect((await sh(`cat ${files} | sort -u`)).stdout).toBe('decoy\n');
      expect((await sh(`ls state; ls -d ${CGROUP}*`)).stdout).toBe('');
    });

    it('publish ports on a bridge, and on an isolated network do not reach each other', {
      timeout: 400_000,
    }, async () => {
      const serve = 'while :; do echo hello | nc -l -p 80; done';
      const script = `
export TVMM_ROOT=${PLACE}/net/root TVMM_RUN=${PLACE}/net/run
tvmm() { node ${DIST}/cli.cjs "$@"; }
[ -e rootfs/bin/nc ] || ln -s busybox rootfs/bin/nc
tvmm network create --isolate lab >/dev/null || exit 1
tvmm run -d --name one --network lab -p 18080:80 --rootfs ${PLACE}/rootfs sh -c '${serve}' >/dev/null || exit 2
echo published $(busybox nc -w 5 127.0.0.1 18080 </dev/null)
address=$(ip neigh | grep -o '^10[.][0-9.]*' | head -n 1)
echo direct $(busybox nc -w 5 $address 80 </dev/null)
tvmm run --rm --network lab --rootfs ${PLACE}/rootfs sh -c "nc -w 3 $address 80; echo neighbour \\$?"
tvmm rm -f one >/dev/null
ip -br link | grep -c veth`;
      const { stdout, stderr } = await sh(script);
      expect(stdout, stderr).toBe('published hello\ndirect hello\nneighbour 1\n0\n');
    });
  },
);
