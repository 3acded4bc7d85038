import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AT_FDCWD, lsetxattr, mknodat } from '../../sys/at.js';
import { parseImageConfig } from './config.js';
import { UserError } from './errors.js';
import { imageProcess } from './oci-config.js';
import { layersReader, resolveUser, rootReader } from './user.js';

function imageWith(config: Record<string, unknown>) {
  const document = {
    os: 'linux',
    architecture: 'amd64',
    created: '2020-01-01T00:00:00Z',
    config,
    rootfs: { type: 'layers', diff_ids: [] },
  };
  return parseImageConfig(Buffer.from(JSON.stringify(document)), 'c');
}

describe('imageProcess', () => {
  const image = imageWith({
    Entrypoint: ['/entry'],
    Cmd: ['a', 'b'],
    Env: ['A=1', 'PATH=/bin'],
    WorkingDir: 'work',
    User: 'www',
    ExposedPorts: { '80': {}, '53/udp': {} },
    Volumes: { '/data': {} },
    StopSignal: 'SIGQUIT',
    Labels: { x: 'y' },
  });

  it('takes what the image says', () => {
    expect(imageProcess(image)).toEqual({
      args: ['/entry', 'a', 'b'],
      env: ['PATH=/bin', 'A=1'],
      cwd: '/work',
      user: 'www',
      stopSignal: 'SIGQUIT',
      exposedPorts: ['80/tcp', '53/udp'],
      volumes: ['/data'],
      annotations: {
        'org.opencontainers.image.os': 'linux',
        'org.opencontainers.image.architecture': 'amd64',
        'org.opencontainers.image.created': '2020-01-01T00:00:00Z',
        'org.opencontainers.image.stopSignal': 'SIGQUIT',
        'org.opencontainers.image.exposedPorts': '80,53/udp',
        x: 'y',
      },
    });
  });

  it('lets the user say otherwise', () => {
    expect(imageProcess(image, { args: ['c'] }).args).toEqual(['/entry', 'c']);
    expect(imageProcess(image, { entrypoint: ['/other'] }).args).toEqual(['/other']);
    expect(imageProcess(image, { entrypoint: [], args: ['sh'] }).args).toEqual(['sh']);
    expect(imageProcess(image, { env: ['A=2', 'B=3', 'PATH'] }).env).toEqual(['A=2', 'B=3']);
    expect(imageProcess(image, { cwd: '/', user: '0', stopSignal: '9' })).toMatchObject({
      cwd: '/',
      user: '0',
      stopSignal: '9',
    });
  });

  it('has sensible values where the image says nothing, but needs a program', () => {
    expect(imageProcess(imageWith({ Cmd: ['x'] }))).toMatchObject({
      cwd: '/',
      user: '',
      stopSignal: 'SIGTERM',
      env: [expect.stringContaining('PATH=')],
    });
    expect(() => imageProcess(imageWith({}))).toThrow('no program');
  });
});

describe('resolveUser', () => {
  const files: Record<string, string> = {
    'etc/passwd':
      'root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nwww:x:33:34:web:/var/www:/bin/false\n1000:x:7:7::/seven:\nbad:x:-1:0::/:\nhuge:x:4294967295:0::/:\n',
    'etc/group': 'root:x:0:\nwww:x:34:\nadm:x:4:root,www\nweb:x:40:www\nadm2:x:4:www\n',
  };
  const read = (path: string) => (files[path] === undefined ? undefined : Buffer.from(files[path]));

  it.each([
    ['', { uid: 0, gid: 0, additionalGids: [4], home: '/root' }],
    ['www', { uid: 33, gid: 34, additionalGids: [4, 40], home: '/var/www' }],
    ['33', { uid: 33, gid: 34, additionalGids: [4, 40], home: '/var/www' }],
    ['www:adm', { uid: 33, gid: 4, additionalGids: [], home: '/var/www' }],
    ['5000', { uid: 5000, gid: 0, additionalGids: [], home: '/' }],
    ['5000:6000', { uid: 5000, gid: 6000, additionalGids: [], home: '/' }],
    [':adm', { uid: 0, gid: 4, additionalGids: [], home: '/root' }],
    ['1000', { uid: 7, gid: 7, additionalGids: [], home: '/seven' }],
  ])('reads %j', (text, user) => {
    expect(resolveUser(text, read)).toEqual(user);
  });

  it.each([
    ['nobody', 'no user "nobody" in /etc/passwd'],
    ['www:nogroup', 'no group "nogroup"'],
    ['bad', 'no user'],
    ['huge', 'no user'],
    ['4294967295', 'no user'],
    ['a:b:c', 'is not USER'],
    ['www:', 'is not USER'],
    ['-1', 'no user'],
  ])('refuses %j', (text, why) => {
    expect(() => resolveUser(text, read)).toThrow(why);
  });

  it('answers any files with a user or a UserError', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (user, passwd, group) => {
        try {
          resolveUser(user, (path) => Buffer.from(path === 'etc/passwd' ? passwd : group));
        } catch (error) {
          expect(error).toBeInstanceOf(UserError);
        }
      }),
    );
  });
});

describe('reading files of an image', () => {
  let base = '';
  const at = (path: string) => join(base, path);
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'tvmm-user-'));
    for (const folder of ['top/etc', 'middle', 'bottom/etc']) mkdirSync(at(folder), { recursive: true });
    writeFileSync(at('secret'), 'outside');
    writeFileSync(at('bottom/etc/passwd'), 'from below');
  });
  afterEach(() => rmSync(base, { recursive: true }));
  const read = () => layersReader([at('top'), at('middle'), at('bottom')])('etc/passwd')?.toString();

  it('finds the topmost one', () => {
    expect(read()).toBe('from below');
    writeFileSync(at('top/etc/passwd'), 'from above');
    expect(read()).toBe('from above');
  });

  it('never leaves the image, nor waits for a pipe', () => {
    symlinkSync('../../secret', at('top/etc/passwd'));
    expect(rootReader(at('top'))('etc/passwd')).toBeUndefined();
    rmSync(at('top/etc/passwd'));
    symlinkSync('/proc/self/environ', at('top/etc/passwd'));
    expect(rootReader(at('top'))('etc/passwd')).toBeUndefined();
    rmSync(at('top/etc/passwd'));
    spawnSync('mkfifo', [at('top/etc/passwd')]);
    expect(read()).toBeUndefined();
  });

  it.runIf(process.getuid?.() === 0)('respects whiteouts and opaque folders', () => {
    mknodat(AT_FDCWD, at('middle/etc'), 0o020000, 0);
    expect(read()).toBeUndefined();
    rmSync(at('middle/etc'));
    expect(read()).toBe('from below');
    expect(lsetxattr(at('top/etc'), 'trusted.overlay.opaque', Buffer.from('y'))).toBe(0);
    expect(read()).toBeUndefined();
  });
});
