/** Compiled plans as the launcher executes them: what a container sees, and what hostile images come to. Needs root. */
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needs } from '../../../test/support/needs.js';
import { createPipe, readToEnd } from '../../sys/pipe.js';
import { LaunchError } from '../launch/errors.js';
import { Launch } from '../launch/launch.js';
import type { Plan } from '../plan/plan.js';
import { compileSeccomp } from '../seccomp/compile.js';
import type { OciSpec } from '../spec/types.js';
import { compileCreate } from './create.js';
import { compileExec } from './exec.js';
import { readHostFacts } from './host-facts.js';
import { TAG } from './tags.js';
import { type Members, minimal } from './testing/fixtures.js';

let bundle = '';
beforeEach((context) => needs(context, 'root'));
beforeEach(() => {
  bundle = mkdtempSync(join(tmpdir(), 'tvmm-compile-'));
  chmodSync(bundle, 0o755);
  mkdirSync(at('bin'), { recursive: true });
  copyFileSync('/bin/busybox', at('bin/busybox'));
  for (const name of ['sh', 'cat', 'ls', 'id', 'stat', 'sleep', 'pwd', 'grep', 'echo', 'true'])
    symlinkSync('busybox', at(`bin/${name}`));
});
afterEach(() => rmSync(bundle, { recursive: true, force: true }));

/** A path of the root on the host. */
function at(path: string): string {
  return join(bundle, 'rootfs', path);
}

const proc = { destination: '/proc', type: 'proc', source: 'proc' };
const dev = { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['mode=755'] };

function spec(script: string, members: Members = {}, linux: Members = {}, process: Members = {}): OciSpec {
  return minimal({ mounts: [proc, dev], ...members }, linux, { args: ['sh', '-c', script], ...process });
}

function planOf(configuration: OciSpec): Plan {
  const { seccomp } = configuration.linux ?? {};
  return compileCreate(configuration, {
    id: `test-${process.pid}`,
    bundle,
    host: readHostFacts(),
    control: 3,
    supervise: true,
    ...(seccomp === undefined ? {} : { seccomp: compileSeccomp(seccomp) }),
  });
}

/** Runs a plan. `onReady` is told the pid when the program is about to start. */
function run(plan: Plan, onReady: (pid: number) => void = () => {}): { status: number; output: string } {
  const { reader, writer } = createPipe('stdout');
  using _ = reader;
  using launch = Launch.start(plan, { stdio: [0, writer.fd, writer.fd] });
  writer[Symbol.dispose]();
  let pid = 0;
  let isReady = false;
  const status = launch.finish((event) => {
    if (event.kind !== 'sent' || (event.tag !== TAG.pid && event.tag !== TAG.ready)) return;
    // Different processes tell the two, in any order.
    if (event.tag === TAG.pid) pid = event.value;
    else isReady = true;
    if (isReady && pid !== 0) onReady(pid);
  });
  return { status, output: Buffer.from(readToEnd(reader.fd, 100_000)).toString() };
}

function output(configuration: OciSpec): string {
  return run(planOf(configuration)).output;
}

function failure(configuration: OciSpec): string {
  try {
    const { output: text } = run(planOf(configuration));
    return `ran: ${text}`;
  } catch (error) {
    if (error instanceof LaunchError) return error.message;
    throw error;
  }
}

describe('a container', () => {
  it('sees its root, its devices and its names, and no descriptor of the host', () => {
    const text = output(
      spec('id -u; hostname 2>/dev/null; ls /dev; ls /proc/self/fd; cat /proc/sys/kernel/hostname', {
        hostname: 'box',
      }),
    );
    expect(text.split('\n')).toEqual(
      expect.arrayContaining([
        '0',
        'box',
        'null',
        'zero',
        'full',
        'random',
        'urandom',
        'tty',
        'ptmx',
        'fd',
        'stdin',
      ]),
    );
    // 0 to 2, and the folder that ls itself has open.
    expect(text).toContain('\n0\n1\n2\n3\nbox\n');
  });

  it('has the user, groups, capabilities, umask and working directory of its configuration', () => {
    const sets = ['bounding', 'permitted', 'effective', 'inheritable', 'ambient'] as const;
    const text = output(
      spec(
        'id; pwd; umask; grep Cap /proc/self/status',
        {},
        {},
        {
          user: { uid: 7, gid: 8, umask: 0o27, additionalGids: [9] },
          cwd: '/made/here',
          capabilities: Object.fromEntries(sets.map((name) => [name, ['CAP_KILL']])),
        },
      ),
    );
    expect(text).toMatch(/^uid=7.* gid=8.* groups=9/);
    expect(text).toContain('\n/made/here\n0027\n');
    expect(text.match(/0000000000000020/g)).toHaveLength(5);
    expect(statSync(at('made/here'))).toMatchObject({ uid: 0, mode: 0o40755 });
  });

  it('cannot read masked paths or write read-only ones, and its root when that is read-only', () => {
    mkdirSync(at('secret'));
    writeFileSync(at('secret/key'), 'key');
    writeFileSync(at('file'), 'text');
    const text = output(
      spec(
        'ls /secret; cat /file; echo x > /proc/sys/kernel/hostname; echo x > /new; stat -c %F /file',
        { root: { path: 'rootfs', readonly: true } },
        { maskedPaths: ['/secret', '/file', '/not/there'], readonlyPaths: ['/proc/sys', '/nor/there'] },
      ),
    );
    expect(text).not.toMatch(/key|text/);
    expect(text.match(/Read-only file system/g)).toHaveLength(2);
    expect(text).toContain('character special file');
  });

  it('starts under a filter that refuses what the launch itself had to do', () => {
    const names = [
      'getcwd',
      'chdir',
      'prctl',
      'setuid',
      'setresuid',
      'faccessat2',
      'close_range',
      'mount',
      'fcntl',
    ];
    const seccomp = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names, action: 'SCMP_ACT_ERRNO' }] };
    for (const noNewPrivileges of [false, true]) {
      const text = output(spec('grep Seccomp: /proc/self/status', {}, { seccomp }, { noNewPrivileges }));
      expect(text).toMatch(/Seccomp:\s+2/);
    }
  });

  it('in a user namespace has devices, sees mapped owners, and keeps limits within reach of root outside', () => {
    mkdirSync(join(bundle, 'volume'));
    writeFileSync(join(bundle, 'volume/file'), '');
    chownSync(at(''), 100_000, 100_000);
    const mapping = [{ containerID: 0, hostID: 100_000, size: 1000 }];
    const text = output(
      spec(
        'id -u; echo x > /dev/null && echo device; stat -c %u /data/file; cat /proc/self/uid_map; grep "open files" /proc/self/limits',
        { mounts: [proc, dev, { destination: '/data', source: 'volume', options: ['bind', 'idmap'] }] },
        {
          namespaces: ['pid', 'network', 'ipc', 'uts', 'mount', 'user'].map((type) => ({ type })),
          uidMappings: mapping,
          gidMappings: mapping,
        },
        { rlimits: [{ type: 'RLIMIT_NOFILE', soft: 20, hard: 30 }] },
      ),
    );
    expect(text).toMatch(/^0\ndevice\n0\n\s*0\s+100000\s+1000\nMax open files\s+20\s+30/);
  });

  it('has mounts whose options only mount(2) can say, and remounts others', () => {
    const lower = join(bundle, 'x'.repeat(200), 'y'.repeat(100));
    mkdirSync(lower, { recursive: true });
    writeFileSync(join(lower, 'below'), '');
    mkdirSync(join(bundle, 'volume'));
    const text = output(
      spec('ls /over; cat /proc/mounts; echo x > /volume/x', {
        mounts: [
          proc,
          dev,
          {
            destination: '/over',
            type: 'overlay',
            source: 'overlay',
            options: [`lowerdir=${lower}:${join(bundle, 'volume')}`],
          },
          { destination: '/plain', type: 'tmpfs', source: 'odd', options: ['iversion', 'noexec', 'size=4k'] },
          { destination: '/volume', source: 'volume', options: ['bind'] },
          { destination: '/volume', options: ['bind', 'remount', 'ro', 'nosuid'] },
          { destination: '/plain', options: ['remount', 'size=8k'] },
        ],
      }),
    );
    expect(text).toContain('below\n');
    expect(text).toMatch(/odd \/plain tmpfs \S*noexec\S*size=8k/);
    expect(text).toMatch(/ \/volume \S+ ro,nosuid/);
    expect(text).toContain("can't create /volume/x: Read-only file system");
  });

  it('runs hooks with its state: on the host before its root is entered, in the root before its program starts', () => {
    const hook = (file: string) => [
      {
        path: '/bin/sh',
        args: ['sh', '-c', `cat > ${file}; echo "$A $PWD" > ${file}.env`],
        env: ['A=1', 'PATH=/bin'],
      },
    ];
    const annotations = { note: '"pid":1234567890' };
    const hooks = { createContainer: hook(join(bundle, 'creating')), startContainer: hook('/created') };
    expect(output(spec('cat /created.env', { hooks, annotations }))).toBe('1 /\n');
    const state = { ociVersion: '1.3.0', id: `test-${process.pid}`, bundle, pid: 1, annotations };
    const read = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));
    expect(read(join(bundle, 'creating'))).toEqual({ ...state, status: 'creating' });
    expect(read(at('created'))).toEqual({ ...state, status: 'created' });
    expect(readFileSync(join(bundle, 'creating.env'), 'utf8')).toBe(`1 ${join(bundle, 'rootfs')}\n`);
  });

  it('fails with what a hook has printed', () => {
    const hooks = { createContainer: [{ path: '/bin/sh', args: ['sh', '-c', 'echo broken >&2; exit 3'] }] };
    expect(failure(spec('true', { hooks }))).toMatch(/^error running createContainer hook #0: .*broken/s);
  });

  it('has clocks of its own in a time namespace of its user namespace', () => {
    chownSync(at(''), 100_000, 100_000);
    const mapping = [{ containerID: 0, hostID: 100_000, size: 1000 }];
    const text = output(
      spec(
        'cat /proc/self/timens_offsets',
        {},
        {
          namespaces: ['pid', 'mount', 'user', 'time'].map((type) => ({ type })),
          uidMappings: mapping,
          gidMappings: mapping,
          timeOffsets: { boottime: { secs: 86_400, nanosecs: 5 } },
        },
      ),
    );
    expect(text).toMatch(/boottime\s+86400\s+5/);
  });

  it('takes a further process in, with the same root and no descriptor of the host', () => {
    const inner = {
      args: ['sh', '-c', 'cat /marker; ls /proc/self/fd; id -u'],
      cwd: '/',
      user: { uid: 5, gid: 5 },
    };
    const configuration = spec('echo inside > /marker; sleep 1');
    let seen = '';
    run(planOf(configuration), (pid) => {
      const parsed = spec('', {}, {}, inner).process;
      if (parsed === undefined) throw new Error('the fixture has a process');
      // The marker is the container's own: wait for it without a clock.
      while (!existsSync(at('marker')) || readFileSync(at('marker'), 'utf8') === '');
      seen = run(
        compileExec(parsed, {
          id: 'x',
          host: readHostFacts(),
          control: 3,
          supervise: true,
          pid,
          namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'],
        }),
      ).output;
    });
    expect(seen).toBe('inside\n0\n1\n2\n3\n5\n');
  });
});

describe('a hostile image', () => {
  it('cannot have /proc mounted where a link leads', () => {
    symlinkSync('/tmp', at('proc'));
    expect(failure(spec('true'))).toMatch(/^cannot make the mount point \/proc: .*: (ELOOP|ENOTDIR)/);
  });

  it('cannot send a mount out of its root by a link, nor up by dots', () => {
    symlinkSync('/../../../../etc/tvmm-escaped', at('one'));
    symlinkSync('../../../../etc/tvmm-escaped-too', at('two'));
    const volume = (destination: string) => ({ destination, type: 'tmpfs', source: 'tmpfs' });
    const text = output(
      spec('ls /etc', { mounts: [proc, dev, volume('/one'), volume('/two'), volume('/../../three')] }),
    );
    expect(text).toBe('tvmm-escaped\ntvmm-escaped-too\n');
    expect(existsSync('/etc/tvmm-escaped')).toBe(false);
    expect(existsSync(at('three'))).toBe(true);
  });

  it('cannot have a volume cover files of /proc by a link', () => {
    symlinkSync('/proc/sys', at('data'));
    const mounts = [proc, dev, { destination: '/data', source: '/tmp', options: ['bind'] }];
    expect(failure(spec('true', { mounts }))).toMatch(
      /^cannot mount anything at \/data, which leads into \/proc: EPERM/,
    );
  });

  it('cannot pass off a file of its own as a device', () => {
    mkdirSync(at('dev'));
    writeFileSync(at('dev/null'), 'mine');
    expect(failure(spec('true', { mounts: [proc] }))).toMatch(
      /^cannot use \/dev\/null: another file is there than the device c 1:3: EEXIST/,
    );
    rmSync(at('dev/null'));
    symlinkSync('/bin/busybox', at('dev/null'));
    expect(failure(spec('true', { mounts: [proc] }))).toContain('cannot use /dev/null');
  });

  it('cannot lead the working directory to the host through a descriptor', () => {
    for (const fd of [3, 4, 5, 6, 7, 8, 83]) {
      rmSync(at('out'), { force: true });
      symlinkSync(`/proc/self/fd/${fd}/../../..`, at('out'));
      expect(failure(spec('pwd', {}, {}, { cwd: '/out' }))).toMatch(
        /^cannot (make|enter|use a) .*working directory/,
      );
    }
  });

  it('cannot have a program of the host started through a descriptor', () => {
    for (const fd of [3, 4, 5, 6, 7, 8, 83]) {
      const text = failure(spec('', {}, {}, { args: [`/proc/self/fd/${fd}/bin/sh`, '-c', 'true'] }));
      expect(text).toMatch(/^cannot (find|run) /);
    }
  });

  it('cannot offer something else for a terminal', () => {
    mkdirSync(at('dev/pts'), { recursive: true });
    writeFileSync(at('dev/pts/ptmx'), '');
    const { process: parsed } = spec('true', {}, {}, { terminal: true });
    const plan = compileCreate(
      { ...spec('true', { mounts: [proc] }), ...(parsed === undefined ? {} : { process: parsed }) },
      { id: 'x', bundle, host: readHostFacts(), control: 3, console: { descriptor: 4 } },
    );
    const { reader, writer } = createPipe('console');
    using _reader = reader;
    using _writer = writer;
    using launch = Launch.start(plan, { descriptors: { console: writer.fd } });
    expect(() => launch.finish()).toThrow(/it is no terminal of a devpts: ENODEV/);
  });
});

describe('an error', () => {
  it.each<[string, Members, Members, RegExp]>([
    [
      'names a program that is missing',
      {},
      { args: ['nosuch'] },
      /^cannot find the program nosuch: .*ENOENT/,
    ],
    [
      'names a program that is a directory',
      {},
      { args: ['/bin'] },
      /^cannot find the program \/bin: it is a directory/,
    ],
    [
      'names the source that is missing',
      { mounts: [proc, { destination: '/x', source: '/no/such', options: ['bind'] }] },
      {},
      /^cannot bind \/no\/such to \/x: .*ENOENT/,
    ],
    [
      'names the option that is wrong',
      { mounts: [proc, { destination: '/x', type: 'tmpfs', options: ['size=1m', 'bogus=1'] }] },
      {},
      /^cannot mount tmpfs at \/x: option bogus=1: .*EINVAL/,
    ],
    [
      'names the file system that is missing',
      { mounts: [proc, { destination: '/x', type: 'bogusfs' }] },
      {},
      /^cannot mount bogusfs at \/x: .*ENODEV/,
    ],
  ])('%s', (_name, members, process, message) => {
    expect(failure(spec('true', members, {}, process))).toMatch(message);
  });
});
