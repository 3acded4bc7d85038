import { spawnSync } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dir, type Entry, file, hard, layerTar, link } from '../../../test/support/images.js';
import { lgetxattr } from '../../sys/at.js';
import { TvmmError } from '../../sys/errors.js';
import { digestOf } from './digest.js';
import type { TarType } from './tar-reader.js';
import { tarHeader } from './tar-writer.js';
import { sniffCompression, type UnpackOptions, unpackLayer } from './unpack.js';

const isRoot = process.getuid?.() === 0;
async function* pieces(bytes: Uint8Array, size = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

let base = '';
let root = '';
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'tvmm-extract-'));
  root = join(base, 'root');
  mkdirSync(root);
  writeFileSync(join(base, 'outside'), 'untouched');
});
afterEach(() => {
  // What got outside would stand here.
  expect(readdirSync(base).sort()).toEqual(['outside', 'root']);
  expect(readFileSync(join(base, 'outside'), 'utf8')).toBe('untouched');
  rmSync(base, { recursive: true, force: true });
});

function unpack(entries: readonly Entry[] | Buffer, options: Partial<UnpackOptions> = {}, folder = root) {
  const bytes = Buffer.isBuffer(entries) ? entries : layerTar(entries);
  return unpackLayer(pieces(bytes), folder, {
    whiteouts: 'apply',
    privileged: isRoot,
    maxBytes: 2 ** 24,
    ...options,
  });
}

const text = (path: string) => readFileSync(join(root, path), 'utf8');
const names = (path = '.') => readdirSync(join(root, path)).sort();

describe('unpackLayer', () => {
  it('unpacks files, folders, links, modes and times', async () => {
    await unpack([
      dir('d', { mode: 0o1777, mtime: { seconds: 1000, nanoseconds: 0 } }),
      {
        ...file('d/f', 'content'),
        mode: 0o4755,
        mtime: { seconds: 1_500_000_000, nanoseconds: 123_000_000 },
      },
      link('d/s', '../nowhere'),
      hard('h', 'd/f'),
      { name: 'p', type: 'fifo', mode: 0o600 },
    ]);
    expect(lstatSync(join(root, 'd')).mode & 0o7777).toBe(0o1777);
    expect(lstatSync(join(root, 'd')).mtimeMs).toBe(1_000_000);
    const stats = lstatSync(join(root, 'd/f'));
    expect(stats.mode & 0o7777).toBe(0o4755);
    expect(stats.mtimeMs).toBe(1_500_000_000_123);
    expect(stats.nlink).toBe(2);
    expect(text('h')).toBe('content');
    expect(readlinkSync(join(root, 'd/s'))).toBe('../nowhere');
    expect(lstatSync(join(root, 'p')).isFIFO()).toBe(true);
  });

  it.runIf(isRoot)(
    'keeps owners, devices and attributes, and drops attributes that steer overlayfs',
    async () => {
      const xattrs = new Map([
        ['user.color', Buffer.from('red')],
        ['trusted.overlay.redirect', Buffer.from('/etc')],
        ['user.overlay.opaque', Buffer.from('y')],
      ]);
      const report = await unpack([
        { ...file('f'), uid: 70_000, gid: 5, xattrs },
        { name: 'null', type: 'char', major: 1, minor: 3, mode: 0o666 },
        { name: 'loop', type: 'block', major: 7, minor: 300, mode: 0o660, gid: 6 },
      ]);
      expect(lstatSync(join(root, 'f'))).toMatchObject({ uid: 70_000, gid: 5 });
      expect(Buffer.from(lgetxattr(join(root, 'f'), 'user.color') ?? []).toString()).toBe('red');
      expect(lgetxattr(join(root, 'f'), 'trusted.overlay.redirect')).toBeUndefined();
      expect(report.skippedXattrs).toBe(2);
      expect(lstatSync(join(root, 'null'))).toMatchObject({ rdev: 0x103 });
      expect(lstatSync(join(root, 'null')).mode & 0o777).toBe(0o666);
      expect(lstatSync(join(root, 'loop')).rdev).toBe(0x10072c);
    },
  );

  it.runIf(isRoot)(
    'moves owners for a user namespace, and refuses those that it has no ids for',
    async () => {
      const range = (hostId: number) => [{ containerId: 0, hostId, size: 65536 }];
      const owners = { uid: range(100_000), gid: range(200_000) };
      const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
      await unpack(
        [{ ...file('f'), uid: 33, xattrs: new Map([['security.capability', capability]]) }, file('x/y')],
        { owners },
      );
      expect(lstatSync(join(root, 'f'))).toMatchObject({ uid: 100_033, gid: 200_000 });
      expect(lstatSync(join(root, 'x'))).toMatchObject({ uid: 100_000, gid: 200_000 });
      const kept = Buffer.from(lgetxattr(join(root, 'f'), 'security.capability') ?? []);
      expect(kept.readUInt32LE(20)).toBe(100_000);
      await expect(unpack([{ ...file('g'), uid: 65536 }], { owners })).rejects.toThrow('no ids for');
    },
  );

  it('leaves owners and devices out without privileges, and says so', async () => {
    const report = await unpack(
      [
        { ...file('f'), uid: 12345 },
        { name: 'null', type: 'char', major: 1, minor: 3 },
      ],
      { privileged: false },
    );
    expect(lstatSync(join(root, 'f')).uid).toBe(process.getuid?.());
    expect(names()).toEqual(['f']);
    expect(report.skippedDevices).toBe(1);
  });

  it.runIf(isRoot)('writes access lists and capabilities with the ids of the user namespace', async () => {
    const acl = (user: number, group: number) => {
      const entries = [
        [0x01, 6, 0xffff_ffff],
        [0x02, 4, user],
        [0x04, 4, 0xffff_ffff],
        [0x08, 4, group],
        [0x10, 6, 0xffff_ffff],
        [0x20, 0, 0xffff_ffff],
      ] as const;
      const bytes = Buffer.alloc(4 + entries.length * 8);
      bytes.writeUInt32LE(2, 0);
      entries.forEach(([tag, permissions, id], i) => {
        bytes.writeUInt16LE(tag, 4 + i * 8);
        bytes.writeUInt16LE(permissions, 6 + i * 8);
        bytes.writeUInt32LE(id, 8 + i * 8);
      });
      return bytes;
    };
    const name = 'system.posix_acl_access';
    const ranges = (hostId: number) => [{ containerId: 0, hostId, size: 1000 }];
    const { skippedXattrs } = await unpack(
      [
        { ...file('mapped'), xattrs: new Map([[name, acl(7, 8)]]) },
        { ...file('unmapped'), xattrs: new Map([[name, acl(1000, 8)]]) },
      ],
      { owners: { uid: ranges(100_000), gid: ranges(200_000) } },
    );
    expect(lgetxattr(join(root, 'mapped'), name)).toEqual(new Uint8Array(acl(100_007, 200_008)));
    expect(lgetxattr(join(root, 'unmapped'), name)).toBeUndefined();
    expect(skippedXattrs).toBe(1);
  });

  it('keeps names that are not UTF-8', async () => {
    await unpack([file('caf\xe9', 'x'), file('d\xff/\xfe', 'y')]);
    expect(readdirSync(root, 'latin1').sort()).toEqual(['caf\xe9', 'd\xff']);
  });

  it('lets later entries win over earlier ones of any kind', async () => {
    await unpack([
      file('a', '1'),
      file('a', '2'),
      dir('b'),
      file('b/x'),
      link('b', 'a'),
      link('c', 'a'),
      dir('c'),
      file('c/y'),
      dir('d'),
      file('d', 'now a file'),
    ]);
    expect(text('a')).toBe('2');
    expect(lstatSync(join(root, 'b')).isSymbolicLink()).toBe(true);
    expect(names('c')).toEqual(['y']);
    expect(text('d')).toBe('now a file');
  });

  it('follows links inside the image, never out of it', async () => {
    await unpack([
      dir('usr'),
      dir('usr/lib'),
      link('lib', 'usr/lib'),
      file('lib/one'),
      link('up', '../../../..'),
      file('up/two'),
      link('abs', '/usr'),
      file('abs/three'),
    ]);
    expect(names('usr/lib')).toEqual(['one']);
    expect(names()).toEqual(['abs', 'lib', 'two', 'up', 'usr']);
    expect(names('usr')).toEqual(['lib', 'three']);
  });

  it('overwrites a link itself, not what it leads to', async () => {
    const outside = join(base, 'outside');
    await unpack([
      link('a', outside),
      file('a', 'mine'),
      link('b', '../outside'),
      file('b', 'mine'),
      link('c', outside),
      hard('d', 'c'),
    ]);
    expect(text('a')).toBe('mine');
    expect(text('b')).toBe('mine');
    expect(lstatSync(join(root, 'd')).isSymbolicLink()).toBe(true);
  });

  it('takes absolute names as relative to the root', async () => {
    await unpack([file('/etc/passwd', 'p'), file('//./x', 'q')]);
    expect(text('etc/passwd')).toBe('p');
    expect(text('x')).toBe('q');
  });

  it.each<[string, Entry[], string]>([
    ['..', [file('../outside')], 'leads upwards'],
    ['.. in the middle', [file('a/../../outside')], 'leads upwards'],
    ['a hard link upwards', [hard('x', '../outside')], 'leads upwards'],
    ['a hard link to nothing', [hard('x', 'nothing')], 'not in the layer'],
    ['a hard link to a folder', [dir('d'), hard('x', 'd')], 'is a folder'],
    ['a hard link to itself', [file('x'), hard('x', './x')], 'itself'],
    ['a hard link through an outward link', [link('l', '..'), hard('x', 'l/outside')], 'not in the layer'],
    ['files in a file', [file('f'), file('f/x')], 'no folder'],
    ['files behind a loop', [link('l', 'l'), file('l/x')], 'ELOOP'],
    ['files behind a dangling link', [link('l', 'nowhere'), file('l/x')], 'no folder'],
    ['an empty link', [link('l', '')], 'leads nowhere'],
    ['a whiteout of ..', [file('.wh...')], 'whiteout of no file'],
    ['a whiteout of nothing', [file('.wh.')], 'whiteout of no file'],
    ['a long part', [file('x'.repeat(256))], 'too long'],
  ])('refuses %s', async (_, entries, why) => {
    await expect(unpack(entries)).rejects.toThrow(why);
  });

  it('refuses more bytes than there is room for before it writes them', async () => {
    await expect(
      unpack([file('a', 'x'.repeat(1000)), file('b', 'y'.repeat(1000))], { maxBytes: 1500 }),
    ).rejects.toThrow('more than the 1500 bytes');
    const claimed = Buffer.concat([tarHeader({ name: 'huge', size: 2 ** 45 }), Buffer.alloc(512)]);
    await expect(unpack(claimed)).rejects.toThrow('room for');
  });

  it('refuses a layer that replaces its own folders without an end', { timeout: 120_000 }, async () => {
    const folders = Array.from({ length: 2100 }, (_, i) => dir(`${i}`));
    const turns = Array.from({ length: 2100 }, () => [dir('turn'), file('turn')]).flat();
    await expect(unpack([...folders, ...turns])).rejects.toThrow('replaces its own folders too often');
  });

  it('refuses a bomb of zeros behind the end of the archive', async () => {
    const bomb = gzipSync(Buffer.concat([layerTar([file('a')]), Buffer.alloc(2 ** 20)]));
    const endless = async function* () {
      for (let i = 0; i < 3000; i++) yield bomb;
    };
    await expect(
      unpackLayer(endless(), root, { whiteouts: 'apply', privileged: false, maxBytes: 1000 }),
    ).rejects.toThrow('room for');
  });

  it('checks the diff id', async () => {
    const bytes = layerTar([file('a')]);
    await expect(unpack(bytes, { diffId: digestOf(bytes) })).resolves.toMatchObject({
      diffId: digestOf(bytes),
    });
    await expect(unpack(bytes, { diffId: digestOf('other') })).rejects.toThrow('instead of');
  });

  it('reads gzip and zstd, whatever the name says, and refuses damaged ones', async () => {
    const bytes = layerTar([file('a', 'x'.repeat(3000))]);
    const zstd = spawnSync('zstd', ['-q', '-c'], { input: bytes }).stdout;
    for (const [packed, kind] of [
      [gzipSync(bytes), 'gzip'],
      [zstd, 'zstd'],
    ] as const) {
      expect(sniffCompression(packed)).toBe(kind);
      await expect(unpack(packed)).resolves.toMatchObject({ entries: 1, bytes: 3000 });
      await expect(unpack(packed.subarray(0, -12))).rejects.toThrow(TvmmError);
      const spoiled = Buffer.from(packed);
      spoiled.fill(0xff, 20, 40);
      await expect(unpack(spoiled)).rejects.toThrow(TvmmError);
    }
  });

  it('stops when it is told to', async () => {
    await expect(unpack([file('a')], { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
      'enough',
    );
  });
});

describe('whiteouts carried out', () => {
  beforeEach(() =>
    unpack([
      dir('d'),
      file('d/a'),
      file('d/b'),
      dir('d/sub'),
      file('d/sub/x'),
      file('gone'),
      dir('tree'),
      file('tree/y'),
    ]).then(() => {}),
  );

  it('remove files and trees of lower layers', async () => {
    await unpack([
      file('.wh.gone'),
      file('d/.wh.a'),
      file('.wh.tree'),
      file('.wh.not-there'),
      file('.wh..wh.plnk'),
    ]);
    expect(names()).toEqual(['d']);
    expect(names('d')).toEqual(['b', 'sub']);
  });

  it('spare what the same layer puts there, before or after', async () => {
    await unpack([
      file('d/new'),
      file('d/.wh..wh..opq'),
      file('d/sub/z'),
      file('gone', 'again'),
      file('.wh.gone'),
    ]);
    expect(names('d')).toEqual(['new', 'sub']);
    expect(names('d/sub')).toEqual(['z']);
    expect(text('gone')).toBe('again');
  });

  it('do not follow links out of the image', async () => {
    await unpack([link('l', '..'), link('m', base)]);
    await unpack([file('l/.wh.outside'), file('m/.wh.outside'), file('l/.wh..wh..opq')]);
    expect(readFileSync(join(base, 'outside'), 'utf8')).toBe('untouched');
  });

  it('let a folder take the place of a lower file, listed or not', async () => {
    await unpack([dir('gone'), file('gone/x'), file('d/a/y')]);
    expect(names('gone')).toEqual(['x']);
    expect(names('d/a')).toEqual(['y']);
  });
});

describe.runIf(isRoot)('whiteouts as overlayfs has them', () => {
  const overlay = { whiteouts: 'overlay' } as const;
  const opaque = (path: string) =>
    Buffer.from(lgetxattr(join(root, path), 'trusted.overlay.opaque') ?? []).toString();

  it('become 0:0 devices and opaque folders', async () => {
    await unpack([file('.wh.a'), dir('d'), file('d/.wh..wh..opq'), file('d/x')], overlay);
    expect(lstatSync(join(root, 'a'))).toMatchObject({ rdev: 0 });
    expect(lstatSync(join(root, 'a')).isCharacterDevice()).toBe(true);
    expect(opaque('d')).toBe('y');
    expect(names('d')).toEqual(['x']);
  });

  it('make a folder opaque that takes the place of what they hide, in either order', async () => {
    await unpack(
      [file('.wh.a'), dir('a'), file('a/x'), dir('b'), file('.wh.b'), file('.wh.c'), file('c', 'file')],
      overlay,
    );
    expect([opaque('a'), opaque('b')]).toEqual(['y', 'y']);
    expect(text('c')).toBe('file');
  });

  it('use user attributes for rootless overlays', async () => {
    await unpack([dir('d'), file('d/.wh..wh..opq')], { whiteouts: 'overlay-user' });
    expect(lgetxattr(join(root, 'd'), 'user.overlay.opaque')).toBeDefined();
  });

  it('take a 0:0 device in the archive for a whiteout', async () => {
    await unpack([{ name: 'x', type: 'char', major: 0, minor: 0 }], overlay);
    expect(lstatSync(join(root, 'x')).rdev).toBe(0);
  });

  it('make unlisted folders as the lower layers have them, through their links', async () => {
    mkdirSync(join(root, 'lower'));
    mkdirSync(join(root, 'upper'));
    const lower = join(root, 'lower');
    const upper = join(root, 'upper');
    await unpack(
      [
        dir('tmp', { mode: 0o1777, uid: 7 }),
        dir('usr'),
        dir('usr/lib', { mode: 0o750 }),
        link('lib', 'usr/lib'),
        link('loop', 'loop'),
      ],
      overlay,
      lower,
    );
    await unpack([file('tmp/x'), file('lib/y')], { ...overlay, lower: [lower] }, upper);
    expect(lstatSync(join(upper, 'tmp'))).toMatchObject({ uid: 7 });
    expect(lstatSync(join(upper, 'tmp')).mode & 0o7777).toBe(0o1777);
    expect(readdirSync(upper).sort()).toEqual(['tmp', 'usr']);
    expect(readdirSync(join(upper, 'usr/lib'))).toEqual(['y']);
    expect(lstatSync(join(upper, 'usr/lib')).mode & 0o777).toBe(0o750);
    await expect(unpack([file('loop/x')], { ...overlay, lower: [lower] }, upper)).rejects.toThrow('links');
  });
});

describe('hostile archives', () => {
  const component = fc.constantFrom(
    'a',
    'b',
    'c',
    '.',
    '..',
    '',
    '.wh.a',
    '.wh..wh..opq',
    '.wh...',
    'outside',
  );
  const name = fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
  const target = fc.oneof(
    name,
    fc.constantFrom('..', '/', '../outside', '../../..', '/proc/self/root', '/etc', '/tmp'),
  );
  const entry = fc.record({
    name,
    type: fc.constantFrom<TarType>('file', 'directory', 'symlink', 'hardlink', 'fifo', 'char'),
    linkName: target,
    mode: fc.nat(0o7777),
    body: fc.string({ maxLength: 20 }),
    major: fc.nat(1),
    minor: fc.nat(3),
  });

  it('give an unpacked layer or a clear error, and never touch anything outside', async () => {
    const whiteouts = fc.constantFrom<UnpackOptions['whiteouts']>(
      ...(isRoot ? (['apply', 'overlay'] as const) : (['apply'] as const)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 12 }), whiteouts, async (entries, how) => {
        try {
          await unpack(entries, { whiteouts: how, privileged: false });
        } catch (error) {
          expect(error).toBeInstanceOf(TvmmError);
        }
        expect(readdirSync(base).sort()).toEqual(['outside', 'root']);
        expect(readFileSync(join(base, 'outside'), 'utf8')).toBe('untouched');
        rmSync(root, { recursive: true, force: true });
        mkdirSync(root);
      }),
      { numRuns: 400 },
    );
  });

  it('give the same when bytes of the archive itself are changed', async () => {
    const whole = layerTar([
      dir('a', { xattrs: new Map([['user.x', Buffer.from('y')]]) }),
      file('a/b', 'c'.repeat(600)),
      link('l', '../..'),
      hard('h', 'a/b'),
      file('l/outside'),
      file('a/.wh.b'),
      file('n'.repeat(200)),
    ]);
    const change = fc.tuple(fc.nat(whole.length - 1), fc.constantFrom(0, 0x2e, 0x2f, 0x31, 0x32, 0x37, 0xff));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
        const archive = Buffer.from(whole);
        for (const [at, value] of changes) archive[at] = value;
        // Right checksums let the changes reach what stands behind them.
        for (let at = 0; at < archive.length; at += 512) {
          const header = archive.subarray(at, at + 512);
          if (header.toString('latin1', 257, 262) !== 'ustar') continue;
          header.fill(0x20, 148, 156);
          let sum = 0;
          for (const byte of header) sum += byte;
          header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
        }
        try {
          await unpack(archive, { privileged: false });
        } catch (error) {
          expect(error).toBeInstanceOf(TvmmError);
        }
        expect(readdirSync(base).sort()).toEqual(['outside', 'root']);
        expect(readFileSync(join(base, 'outside'), 'utf8')).toBe('untouched');
        rmSync(root, { recursive: true, force: true });
        mkdirSync(root);
      }),
      { numRuns: 300 },
    );
  });
});
