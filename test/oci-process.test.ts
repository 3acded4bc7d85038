/** What config.json says of the process and its surroundings, as the process itself sees it. */
import { chownSync, lchownSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ConsoleListener, readUntil, type } from './support/console-listener.js';
import { needs } from './support/needs.js';
import { type Config, OciTest } from './support/oci.js';

let t: OciTest;
beforeEach((context) => {
  needs(context, 'root');
  t = new OciTest();
});
afterEach(() => t?.end());

/** Runs `sh -c script`. @returns what it printed */
async function run(script: string, change: (config: Config) => void = () => {}): Promise<string> {
  const { status, stdout, stderr } = await t.oci(['run', '-b', await t.bundle(script, change), 'one']);
  if (status !== 0) throw new Error(`status ${status}: ${stderr}${stdout}`);
  return stdout;
}

test('user, groups, umask, working directory and environment are those of the configuration', async () => {
  const out = await run('id; umask; pwd; echo "$A|$HOME"', ({ process }) => {
    process.user = { uid: 1000, gid: 1001, additionalGids: [5, 6], umask: 0o27 };
    process.cwd = '/tmp';
    process.env.push('A=b c');
  });
  expect(out).toBe('uid=1000 gid=1001 groups=5,6\n0027\n/tmp\nb c|/\n');
});

test('capabilities, no_new_privs, limits and the OOM score stand in /proc', async () => {
  const script =
    'grep -E "^(Cap|NoNewPrivs)" /proc/self/status; grep "open files" /proc/self/limits; cat /proc/self/oom_score_adj';
  const out = await run(script, ({ process }) => {
    process.capabilities = {
      bounding: ['CAP_CHOWN', 'CAP_KILL'],
      permitted: ['CAP_CHOWN'],
      effective: ['CAP_CHOWN'],
      inheritable: ['CAP_CHOWN'],
      ambient: ['CAP_CHOWN'],
    };
    process.rlimits = [{ type: 'RLIMIT_NOFILE', soft: 100, hard: 200 }];
    process.oomScoreAdj = 100;
  });
  expect(out).toMatch(
    /^CapInh:\t0*1\nCapPrm:\t0*1\nCapEff:\t0*1\nCapBnd:\t0*21\nCapAmb:\t0*1\nNoNewPrivs:\t1\n/,
  );
  expect(out).toMatch(/Max open files +100 +200 +files +\n100\n$/);
});

test('scheduling, I/O priority, personality, names and propagation are those of the configuration', async () => {
  const script = [
    'cat /proc/self/stat',
    'busybox ionice',
    'busybox uname -m',
    'hostname; cat /proc/sys/kernel/domainname',
    'head -1 /proc/self/mountinfo',
  ].join('; ');
  const out = await run(script, (config) => {
    config.process.scheduler = { policy: 'SCHED_BATCH', nice: 7 };
    config.process.ioPriority = { class: 'IOPRIO_CLASS_BE', priority: 6 };
    config.linux.personality = { domain: 'LINUX32' };
    config.hostname = 'host';
    config.domainname = 'domain';
    config.linux.rootfsPropagation = 'shared';
  });
  const [stat = '', io, machine, host, domain, root] = out.split('\n');
  // proc_pid_stat(5): nice is field 19, policy 41; the first of `fields` is field 3.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  expect({ nice: fields[16], policy: fields[38] }).toEqual({ nice: '7', policy: '3' });
  expect(io).toBe('best-effort: prio 6');
  expect(machine).toBe('i686');
  expect([host, domain]).toEqual(['host', 'domain']);
  expect(root).toMatch(/ shared:\d+ /);
});

test('the memory policy is the configuration’s, and execCPUAffinity that of further processes', async () => {
  const bundle = await t.bundle('head -1 /proc/self/numa_maps > /tmp/policy; exec sleep 60', (config) => {
    config.root.readonly = false;
    config.linux.memoryPolicy = { mode: 'MPOL_BIND', nodes: '0', flags: ['MPOL_F_STATIC_NODES'] };
    config.process.execCPUAffinity = { initial: '0', final: '0' };
  });
  await t.ok('create', '-b', bundle, 'one');
  await t.ok('start', 'one');
  const seen = await t.ok('exec', 'one', 'grep', 'Cpus_allowed_list', '/proc/self/status');
  expect(seen).toMatch(/:\s+0\n$/);
  expect(readFileSync(join(bundle, 'rootfs/tmp/policy'), 'utf8')).toContain(' bind=static:0 ');
});

test('a seccomp profile forbids what it says', async () => {
  const out = await run(
    'grep Seccomp: /proc/self/status; mkdir /tmp/x || echo forbidden',
    ({ linux, root }) => {
      root.readonly = false;
      linux.seccomp = {
        defaultAction: 'SCMP_ACT_ALLOW',
        architectures: ['SCMP_ARCH_X86_64'],
        syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }],
      };
    },
  );
  expect(out).toBe('Seccomp:\t2\nforbidden\n');
});

test('a read-only root, masked and read-only paths keep what they say', async () => {
  const script =
    'touch /x; echo y > /proc/sys/kernel/hostname; ls /proc/acpi /sys/firmware | wc -l; head -c 1 /proc/kcore | wc -c; true';
  const outcome = await t.oci([
    'run',
    '-b',
    await t.bundle(script, ({ process }) => {
      process.capabilities.effective =
        process.capabilities.permitted =
        process.capabilities.bounding =
          ['CAP_SYS_ADMIN', 'CAP_DAC_OVERRIDE'];
    }),
    'one',
  ]);
  expect(outcome.stderr).toContain('/x: Read-only file system');
  expect(outcome.stderr).toMatch(/hostname: Read-only file system/);
  expect(outcome.stdout).toMatch(/0\n$/);
});

test('in a user namespace the container’s root is another user of the host', async () => {
  const bundle = await t.bundle('id -u; cat /proc/self/uid_map; echo x > /tmp/file', ({ linux, root }) => {
    root.readonly = false;
    linux.namespaces.push({ type: 'user' });
    linux.uidMappings = linux.gidMappings = [{ containerID: 0, hostID: 123456, size: 1000 }];
  });
  chownTree(join(bundle, 'rootfs'), 123456);
  const { status, stdout, stderr } = await t.oci(['run', '-b', bundle, 'one']);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout.replace(/ +/g, ' ')).toBe('0\n 0 123456 1000\n');
  await t.ok('create', '-b', bundle, 'two');
  await t.ok('start', 'two');
  expect(t.left()).toContain('two');
});

function chownTree(path: string, id: number): void {
  lchownSync(path, id, id);
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) chownTree(join(path, entry.name), id);
    else lchownSync(join(path, entry.name), id, id);
  }
  chownSync(path, id, id);
}

test('namespaces are joined by path', async () => {
  await t.ok('run', '-d', '-b', await t.bundle('sleep 1000'), 'first');
  const { pid } = JSON.parse(await t.ok('state', 'first'));
  const out = await run('readlink /proc/self/ns/net; readlink /proc/self/ns/ipc', ({ linux }) => {
    for (const [type, file] of [
      ['network', 'net'],
      ['ipc', 'ipc'],
    ] as const)
      linux.namespaces.find((one: { type: string }) => one.type === type).path = `/proc/${pid}/ns/${file}`;
  });
  const ns = (file: string) => t.ok('exec', 'first', 'readlink', `/proc/self/ns/${file}`);
  expect(out).toBe((await ns('net')) + (await ns('ipc')));
});

test('descriptors are handed on as counted, and no others', async () => {
  const bundle = await t.bundle('cat <&3; ls /proc/self/fd');
  const file = join(t.folder, 'handed');
  writeFileSync(file, 'handed on\n');
  const handed = openSync(file, 'r');
  const other = openSync(file, 'r');
  const { stdout } = await t.oci(['run', '--preserve-fds', '1', '-b', bundle, 'one'], {
    stdio: [handed, other],
  });
  // The last one is ls's own.
  expect(stdout).toBe('handed on\n0\n1\n2\n3\n4\n');
  const refused = await t.oci(['run', '--preserve-fds', '200', '-b', bundle, 'two']);
  expect(refused.stderr).toContain('unable to stat preserved-fd');
  // Node has opened its own by now, at this number.
  const missing = await t.oci(['run', '--preserve-fds', '1', '-b', bundle, 'three']);
  expect(missing.stderr).toContain('unable to stat preserved-fd 0 (of 1): descriptor 3 is not open');
});

test('a terminal goes to the console socket with the size that was asked for', async () => {
  using listener = new ConsoleListener(join(t.folder, 'console'));
  const bundle = await t.bundle('tty; stty size; read line; echo "got $line"', ({ process }) => {
    process.terminal = true;
    process.consoleSize = { width: 91, height: 27 };
  });
  await t.ok('create', '-b', bundle, '--console-socket', listener.path, 'one');
  using master = listener.take();
  await t.ok('start', 'one');
  expect(await readUntil(master, '27 91')).toContain('/dev/pts/0');
  type(master, 'hello\n');
  await readUntil(master, 'got hello');
  await t.stopped('one');
});

test('exec has a terminal of its own', async () => {
  using listener = new ConsoleListener(join(t.folder, 'console'));
  await t.ok('run', '-d', '-b', await t.bundle('sleep 1000'), 'one');
  await t.ok(
    'exec',
    '--tty',
    '--detach',
    '--console-socket',
    listener.path,
    'one',
    'sh',
    '-c',
    'tty; sleep 100',
  );
  using master = listener.take();
  await readUntil(master, '/dev/pts/0');
});

test.each([
  [
    ['create'],
    (config: Config) => Object.assign(config.process, { terminal: true }),
    'without setting console socket',
  ],
  [['create', '--console-socket', '/no/such'], () => {}, 'cannot use console socket'],
  [
    ['create', '--console-socket', '/no/such'],
    (config: Config) => Object.assign(config.process, { terminal: true }),
    '/no/such',
  ],
])('%j with a terminal where it cannot go is refused', async (args, change, message) => {
  const { status, stderr } = await t.oci([...args, '-b', await t.bundle('true', change), 'one']);
  expect([status, stderr]).toEqual([1, expect.stringContaining(message)]);
  expect(t.left()).toEqual([]);
});

test('a user namespace has the devices of its configuration, with owner and mode, whatever the host has', async () => {
  const before = statSync('/dev/null');
  const script =
    'stat -c "%u:%g %a %n" /dev/made /dev/sub/null; head -c 3 /dev/made | wc -c; cat /proc/self/mountinfo; (: </dev/disk) 2>&1';
  const bundle = await t.bundle(script, (config) => {
    const ids = [{ containerID: 0, hostID: 100000, size: 65536 }];
    config.linux.namespaces.push({ type: 'user' });
    config.linux.uidMappings = ids;
    config.linux.gidMappings = ids;
    config.linux.devices = [
      { path: '/dev/made', type: 'c', major: 1, minor: 5, fileMode: 0o644, uid: 10, gid: 11 },
      { path: '/dev/sub/null', type: 'c', major: 1, minor: 3 },
      { path: '/dev/disk', type: 'b', major: 7, minor: 200, fileMode: 0o666 },
    ];
  });
  chownTree(join(bundle, 'rootfs'), 100000);
  const { stdout } = await t.oci(['run', '-b', bundle, 'one']);
  expect(stdout).toMatch(/^10:11 644 \/dev\/made\n0:0 666 \/dev\/sub\/null\n3\n/);
  for (const name of ['made', 'sub/null', 'null', 'zero', 'tty'])
    expect(stdout, name).toMatch(new RegExp(` /dev/${name} rw,nosuid,noexec`));
  // To be used as its cgroup allows.
  expect(stdout).toContain('Operation not permitted');
  expect(t.left()).toEqual([]);
  expect(statSync('/dev/null')).toMatchObject({ uid: before.uid, gid: before.gid, mode: before.mode });
});
