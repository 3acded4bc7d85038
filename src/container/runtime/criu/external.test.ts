import { describe, expect, test } from 'vitest';
import type { CgroupState } from '../../cgroup/state.js';
import { findExternal, mountPoints, noteText, parseMountinfo, parseNote, sourceOf } from './external.js';
import { ProtoMessage } from './protobuf.js';
import { encodeOptions, parseResponse } from './request.js';
import { lastErrors } from './session.js';

/** Of a container: a bind with something below it, a masked file and folder, version 1 cgroups, its own file systems. */
const MOUNTINFO = `
153 48 254:0 /b/rootfs / ro,relatime - ext4 /dev/vda rw
154 153 0:58 / /proc rw,relatime - proc proc rw
155 153 0:59 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
156 155 0:60 / /dev/pts rw,nosuid,noexec - devpts devpts rw,gid=5
157 156 0:60 /0 /dev/console rw,nosuid,noexec - devpts devpts rw,gid=5
158 155 0:6 /fuse /dev/fuse rw - devtmpfs devtmpfs rw,size=1k
159 153 0:62 / /sys ro - sysfs sysfs ro
160 159 0:63 / /sys/fs/cgroup ro - tmpfs tmpfs rw,mode=755
161 160 0:36 /one /sys/fs/cgroup/pids ro shared:1 - cgroup cgroup rw,pids
162 160 0:38 /one /sys/fs/cgroup/unified ro - cgroup2 cgroup rw
170 153 254:0 /srv/my\\040data /data ro,relatime - ext4 /dev/vda rw
171 170 0:64 / /data/below rw,relatime - tmpfs tmpfs rw
172 170 0:65 / /data/own rw,relatime - tmpfs tmpfs rw
175 154 0:58 /sys /proc/sys ro,relatime - proc proc rw
176 154 0:66 / /proc/acpi ro,relatime - tmpfs tmpfs ro,size=4k
177 154 0:6 /null /proc/keys rw,relatime - devtmpfs devtmpfs rw,size=1k
`.trim();

const SPEC = {
  ociVersion: '1.0.0',
  root: { path: 'rootfs' },
  mounts: [
    { destination: '/proc', type: 'proc' },
    { destination: '/link', source: 'my data', options: ['rbind', 'ro'] },
    { destination: '/data/own', type: 'tmpfs' },
  ],
  linux: { maskedPaths: ['/proc/keys', '/proc/acpi', '/not/there'] },
};
const CGROUP: CgroupState = {
  v1: { pids: { folder: '/sys/fs/cgroup/pids/two', mountPoint: '/sys/fs/cgroup/pids' } },
  v2: { folder: '/sys/fs/cgroup/unified/two', mountPoint: '/sys/fs/cgroup/unified' },
  made: [],
};
const LINES = parseMountinfo(MOUNTINFO);
const resolve = (path: string) => (path === '/link' ? '/data' : path);

test('what a container has from outside is found where it is, and everything else is criu’s', () => {
  expect(findExternal(LINES, SPEC, resolve, CGROUP)).toEqual([
    { point: '/dev/fuse', kind: 'host', below: '' },
    { point: '/sys/fs/cgroup/pids', kind: 'cgroup', of: 'pids', below: '' },
    { point: '/sys/fs/cgroup/unified', kind: 'cgroup', of: '', below: '' },
    { point: '/data', kind: 'bind', of: '/link', below: '' },
    { point: '/data/below', kind: 'bind', of: '/link', below: '/below' },
    { point: '/proc/keys', kind: 'null', below: '' },
  ]);
});

test('a container with a cgroup namespace has its cgroup mounts to itself', () => {
  const linux = { ...SPEC.linux, namespaces: [{ type: 'cgroup' as const }] };
  const found = findExternal(LINES, { ...SPEC, linux }, resolve, CGROUP);
  expect(found.filter(({ kind }) => kind === 'cgroup')).toEqual([]);
});

describe('at the restore', () => {
  test('external mounts come from the configuration at hand', () => {
    const sources = findExternal(LINES, SPEC, resolve, CGROUP).map((mount) =>
      sourceOf(mount, SPEC, '/bundle', CGROUP),
    );
    expect(sources).toEqual([
      '/dev/fuse',
      '/sys/fs/cgroup/pids/two',
      '/sys/fs/cgroup/unified/two',
      '/bundle/my data',
      '/bundle/my data/below',
      '/dev/null',
    ]);
  });

  test('a bind mount that the configuration does not have is refused by name', () => {
    const [, , , bind] = findExternal(LINES, SPEC, resolve, CGROUP);
    if (bind === undefined) throw new Error('none found');
    expect(() => sourceOf(bind, { ...SPEC, mounts: [] }, '/bundle', CGROUP)).toThrow(
      'has a bind mount at /data that this configuration does not have',
    );
  });
});

test('the places that must be there are those in the root itself', () => {
  expect(mountPoints(LINES, (path) => path !== '/data')).toEqual([
    { path: '/proc', folder: true },
    { path: '/dev', folder: true },
    { path: '/sys', folder: true },
    { path: '/data', folder: false },
  ]);
});

describe('the note beside the images', () => {
  const note = {
    mounts: findExternal(LINES, SPEC, resolve, CGROUP),
    streams: ['pipe:[12]', '', 'file[1b:22]'],
    points: [{ path: '/proc', folder: true }],
  };

  test('is read back as it was', () => {
    expect(parseNote(noteText(note), 'n')).toEqual(note);
  });

  test.each([
    ['no JSON', '{'],
    ['another version', JSON.stringify({ tvmmCheckpoint: 2 })],
    ['a way out of the root', noteText({ ...note, points: [{ path: '/../etc', folder: true }] })],
    ['a relative path', noteText({ ...note, points: [{ path: 'etc', folder: true }] })],
    [
      'a way out of a source',
      noteText({ ...note, mounts: [{ point: '/a', kind: 'bind', of: '/data', below: '/../../etc' }] }),
    ],
    ['an unknown kind', JSON.stringify({ tvmmCheckpoint: 1, mounts: [{ point: '/a', kind: 'x' }] })],
    ['a stream that is no text', JSON.stringify({ tvmmCheckpoint: 1, streams: [{}] })],
  ])('is refused with %s', (_, text) => {
    expect(() => parseNote(text, 'n')).toThrow(/^n (is|was) /);
  });
});

test('options that are off or not given are not sent', () => {
  const options = { pid: 7, leaveRunning: false, shellJob: true, external: ['mnt[/a]:/b'], root: '/r' };
  expect(encodeOptions(options).encode()).toEqual(
    new ProtoMessage().number(2, 7).number(7, 1).text(13, '/r').text(37, 'mnt[/a]:/b').encode(),
  );
});

test('a failure is told with its errno and message, a notification with its process', () => {
  const failed = new ProtoMessage().number(1, 1).number(2, false).number(7, 52).text(9, 'why').encode();
  expect(parseResponse(failed)).toEqual({ type: 1, success: false, errno: 52, message: 'why' });
  const notify = new ProtoMessage().text(1, 'post-restore').number(2, 99);
  const told = new ProtoMessage().number(1, 6).number(2, true).message(5, notify).encode();
  expect(parseResponse(told)).toEqual({ type: 6, success: true, script: 'post-restore', pid: 99 });
});

test('the last errors of a log are told, once and without their places in criu’s sources', () => {
  const log = [
    '(00.01) Error (criu/tun.c:85): tun: Unable to create tun: Operation not permitted',
    '(00.02) Warn  (criu/kerndat.c:1): something',
    '(00.036884)      1: Error (criu/mount.c:381): mnt: Cannot mount',
    '(00.036885)      1: Error (criu/mount.c:382): mnt: Cannot mount',
    'Error: ipv4: Address already assigned.',
    '(00.036886) Error (criu/cr-restore.c:613): Restoring FAILED.',
  ].join('\n');
  expect(lastErrors(log)).toBe(
    'tun: Unable to create tun: Operation not permitted; 1: mnt: Cannot mount; Restoring FAILED.',
  );
  expect(lastErrors('')).toBeUndefined();
});
