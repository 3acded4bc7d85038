/** Options of run and create as a container sees them, docker's one by one; and those that are refused with a sentence. Needs root. */
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { engineHost } from './support/engine.js';
import { busyboxArchive } from './support/engine-image.js';
import { needs } from './support/needs.js';

const host = engineHost('tvmm-options-');
const { tvmm, removeAll } = host;
let base = '';

beforeAll(async () => {
  ({ base } = host.open());
  const config = {
    Cmd: ['sh'],
    Labels: { from: 'image', both: 'image' },
    ExposedPorts: { '80/tcp': {} },
  };
  mkdirSync(join(base, 'outside'));
  const linkName = `../../../../../../../..${base}/outside`;
  const archive = busyboxArchive('opts:1', config, [{ name: 'link', type: 'symlink', linkName }]);
  expect((await tvmm(['image', 'load'], archive)).stderr).toBe('');
});
beforeEach((context) => needs(context, 'root'));
afterEach(removeAll);
afterAll(() => host.close());

const image = (options: readonly string[], ...command: string[]) =>
  tvmm(['run', '--rm', '--network', 'none', ...options, 'opts:1', ...command]);

describe('tvmm run', () => {
  it('makes the working directory for its user, and keeps the umask', async () => {
    const script = 'pwd; stat -c %u .; umask';
    const { stdout, stderr } = await image(
      ['-w', '/new/dir', '-u', 'alice', '--umask', '0027'],
      'sh',
      '-c',
      script,
    );
    expect({ stdout, stderr }).toEqual({ stdout: '/new/dir\n1000\n0027\n', stderr: '' });
  });

  it('does not follow links out of the image on the way to a working directory', async () => {
    const { status, stderr } = await image(['-w', '/link/made'], 'pwd');
    expect(status).toBe(125);
    expect(stderr).toContain('link');
    expect(readdirSync(join(base, 'outside'))).toEqual([]);
  });

  it('leaves a plain folder as it is in a user namespace, and needs no mount points in it', async () => {
    const folder = join(base, 'bare');
    mkdirSync(join(folder, 'bin'), { recursive: true });
    copyFileSync('/bin/busybox', join(folder, 'bin/busybox'));
    const script = 'touch /mine; stat -c %u /bin /mine';
    const options = ['--rm', '--network', 'none', '--userns', 'private', '--rootfs', folder];
    const { stdout, stderr } = await tvmm(['run', ...options, 'busybox', 'sh', '-c', script]);
    expect({ stdout, stderr }).toEqual({ stdout: '0\n0\n', stderr: '' });
    expect(readdirSync(folder)).toEqual(['bin']);
    expect(readdirSync(join(base, 'root/plain'))).toEqual([]);
  });

  it('takes docker’s seccomp profiles, whose rules depend on capabilities', async () => {
    const profile = join(base, 'profile.json');
    writeFileSync(
      profile,
      JSON.stringify({
        defaultAction: 'SCMP_ACT_ALLOW',
        archMap: [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] }],
        syscalls: [
          {
            names: ['mkdir', 'mkdirat'],
            action: 'SCMP_ACT_ERRNO',
            includes: {},
            excludes: { caps: ['CAP_SYS_ADMIN'] },
          },
        ],
      }),
    );
    const option = ['--security-opt', `seccomp=${profile}`];
    expect((await image(option, 'mkdir', '/x')).stderr).toContain('Operation not permitted');
    expect((await image([...option, '--cap-add', 'sys_admin'], 'mkdir', '/x')).status).toBe(0);
    writeFileSync(
      profile,
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"NO"}]}',
    );
    expect(await image(option, 'true')).toMatchObject({ status: 125 });
    expect((await image(option, 'true')).stderr).toContain('/syscalls/0');
  });

  it('inherits the image’s labels, and reads more from files', async () => {
    const file = join(base, 'labels');
    writeFileSync(file, '# a comment\nfile=yes\nboth=own\n');
    await tvmm([
      'create',
      '--name',
      'l',
      '--network',
      'none',
      '--label-file',
      file,
      '-l',
      'last=1',
      'opts:1',
    ]);
    const [found] = JSON.parse((await tvmm(['inspect', 'l'])).stdout);
    expect(found.options.label).toEqual(['from=image', 'file=yes', 'both=own', 'last=1']);
    expect((await tvmm(['create', '--name', 'l', '--network', 'none', 'opts:1'])).status).toBe(125);
    expect((await tvmm(['create', '--name', 'l', '--replace', '--network', 'none', 'opts:1'])).status).toBe(
      0,
    );
  });

  it('kills what has run too long, and lets go of variables and files that are not wanted', async () => {
    expect((await image(['--timeout', '1'], 'sleep', '1000')).status).toBe(137);
    const { stdout } = await image(['--unsetenv', 'HOSTNAME', '-e', 'A=b'], 'cat', '/proc/self/environ');
    expect(stdout).toContain('A=b');
    expect(stdout).not.toContain('HOSTNAME');
    const script = 'grep -c "/etc/host" /proc/self/mounts; ls /dev | grep -c shm; ls -A /tmp';
    const options = ['--no-hosts', '--no-hostname', '--ipc', 'none', '--security-opt', 'mask=/tmp'];
    expect((await image(options, 'sh', '-c', script)).stdout).toBe('0\n0\n');
    expect((await image(['-h', 'box', '--sig-proxy=false', '--init=true'], 'hostname')).stdout).toBe('box\n');
    const both = ['sh', '-c', 'echo out; echo err >&2'];
    expect(await image(['-a', 'stdout'], ...both)).toMatchObject({ stdout: 'out\n', stderr: '' });
    expect(await image(['-a', 'stderr'], ...both)).toMatchObject({ stdout: '', stderr: 'err\n' });
  });

  it('starts what runs already, and joins it', async () => {
    await tvmm(['run', '-d', '--name', 's', '--network', 'none', 'opts:1', 'sh', '-c', 'sleep 2; exit 5']);
    expect(await tvmm(['start', 's'])).toMatchObject({ status: 0, stdout: 's\n', stderr: '' });
    expect((await tvmm(['start', '-a', 's'])).status).toBe(5);
  });

  it.each([
    [['--gpus', 'all'], '--gpus is not supported'],
    [['--rmi'], 'remove it afterwards'],
    [['--read-only-tmpfs=false'], 'use --read-only with --tmpfs'],
    [['--detach-keys', 'ctrl-'], 'are no keys'],
    [['-a', 'output'], 'is not stdin, stdout or stderr'],
    [['-d', '-a', 'stdout'], 'exclude each other'],
    [['--timeout', '-1'], 'out of range'],
    [['--unsetenv', 'A=b'], 'is no name'],
    [['--security-opt', 'unmask=proc'], 'is no absolute path'],
    [['--security-opt', 'mask=/a/../b'], 'is no absolute path'],
    [['--log-driver', 'journald'], 'json-file, local or none'],
    [['--health-retries', '2'], 'there is no check'],
    [['--security-opt', 'apparmor=strict'], 'no AppArmor'],
    [['--ip', '10.0.0.1'], 'belong to a network, and --network is none'],
    [['--volume-driver', 'nfs'], 'local is the only one'],
    [['--no-such-option'], 'unknown option'],
  ])('refuses %j with a sentence and 125', async (options, sentence) => {
    const { status, stderr } = await image(options, 'true');
    expect(status).toBe(125);
    expect(stderr).toContain(sentence);
  });
});
