import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fsetxattr } from '../../sys/at.js';
import { xattrValue } from '../../sys/xattr.js';
import type { TarEntry } from '../image/tar-reader.js';
import { destinationOf, parseCopyEnd } from './copy.js';
import { locate, TreeWriter } from './copy-tree.js';
import { walk } from './copy-walk.js';

let base = '';
let root = -1;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'tvmm-copy-'));
  for (const folder of ['in/tree/sub', 'root/data', 'outside'])
    mkdirSync(join(base, folder), { recursive: true });
  writeFileSync(join(base, 'in/tree/file'), 'content', { mode: 0o640 });
  symlinkSync('/etc/passwd', join(base, 'in/tree/link'));
  root = openSync(join(base, 'root'), constants.O_RDONLY | constants.O_DIRECTORY);
});
afterEach(() => {
  closeSync(root);
  rmSync(base, { recursive: true, force: true });
});

const options = { owner: undefined, modeMask: 0o777 };

function copyInto(folder: string, name: string): void {
  const source = openSync(join(base, 'in/tree'), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    using writer = new TreeWriter(root, folder, options);
    walk(source, name, writer);
  } finally {
    closeSync(source);
  }
}

const entry = (name: string, more: Partial<TarEntry> = {}): TarEntry => ({
  name,
  type: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: { seconds: 0, nanoseconds: 0 },
  linkName: '',
  major: 0,
  minor: 0,
  xattrs: new Map(),
  ...more,
});

describe('a copied tree', () => {
  it('has files, folders and links as they were', () => {
    copyInto('data', 'copy');
    expect(readFileSync(join(base, 'root/data/copy/file'), 'utf8')).toBe('content');
    expect(lstatSync(join(base, 'root/data/copy/file')).mode & 0o777).toBe(0o640);
    expect(readlinkSync(join(base, 'root/data/copy/link'))).toBe('/etc/passwd');
    expect(lstatSync(join(base, 'root/data/copy/sub')).isDirectory()).toBe(true);
  });

  it('stays inside the root when a folder on its way is a link that leads out', () => {
    symlinkSync(join(base, 'outside'), join(base, 'root/absolute'));
    symlinkSync('../../../../../../../../../tmp', join(base, 'root/upwards'));
    expect(() => copyInto('absolute', 'x')).toThrow(/ENOENT/);
    expect(() => copyInto('upwards', 'x')).toThrow(/ENOENT/);
    expect(existsSync(join(base, 'outside/x'))).toBe(false);
  });

  it('replaces a link that stands where a file goes, and does not write through it', () => {
    writeFileSync(join(base, 'outside/victim'), 'safe');
    mkdirSync(join(base, 'root/data/copy'));
    symlinkSync(join(base, 'outside/victim'), join(base, 'root/data/copy/file'));
    copyInto('data', 'copy');
    expect(readFileSync(join(base, 'outside/victim'), 'utf8')).toBe('safe');
    expect(readFileSync(join(base, 'root/data/copy/file'), 'utf8')).toBe('content');
  });

  it('does not follow a link that stands where a folder goes', () => {
    symlinkSync(join(base, 'outside'), join(base, 'root/data/copy'));
    expect(() => copyInto('data', 'copy')).toThrow(/cannot (make|open) the folder/);
    expect(existsSync(join(base, 'outside/file'))).toBe(false);
  });

  it('for the host follows no link that somebody puts in the place of a folder meanwhile', () => {
    mkdirSync(join(base, 'root/target/sub'), { recursive: true });
    using writer = new TreeWriter(root, 'target', { ...options, strict: true });
    const write = (one: TarEntry) => {
      writer.entry(one);
      writer.endEntry();
    };
    write(entry('sub', { type: 'directory' }));
    rmdirSync(join(base, 'root/target/sub'));
    symlinkSync('/data', join(base, 'root/target/sub'));
    expect(() => writer.entry(entry('sub/victim'))).toThrow(/ELOOP/);
    // Nor when the folder itself is swapped.
    renameSync(join(base, 'root/target'), join(base, 'root/moved'));
    symlinkSync('/data', join(base, 'root/target'));
    write(entry('mine'));
    expect(existsSync(join(base, 'root/data/victim'))).toBe(false);
    expect(existsSync(join(base, 'root/moved/mine'))).toBe(true);
  });

  it('loses set-uid bits where the mask says so', () => {
    using writer = new TreeWriter(root, 'data', options);
    writer.entry(entry('suid', { mode: 0o4755 }));
    writer.endEntry();
    expect(lstatSync(join(base, 'root/data/suid')).mode & 0o7777).toBe(0o755);
  });
});

describe('a tree that is copied whole', () => {
  const whole = { owner: undefined, modeMask: 0o7777, special: true, xattrs: true };

  it('keeps hard links, fifos, attributes of files and the times of folders', () => {
    const tree = join(base, 'in/tree');
    linkSync(join(tree, 'file'), join(tree, 'sub/same'));
    execFileSync('mkfifo', [join(tree, 'fifo')]);
    const file = openSync(join(tree, 'file'), 'r+');
    const keeps = fsetxattr(file, 'user.note', Buffer.from('kept')) !== -1;
    closeSync(file);
    utimesSync(join(tree, 'sub'), 1000, 1000);
    const source = openSync(tree, constants.O_RDONLY | constants.O_DIRECTORY);
    using writer = new TreeWriter(root, 'data', whole);
    walk(source, 'copy', writer, { special: true, xattrs: true });
    writer.finish();
    closeSync(source);
    const copied = (name: string) => lstatSync(join(base, 'root/data/copy', name));
    expect(copied('sub/same').ino).toBe(copied('file').ino);
    expect(copied('fifo').isFIFO()).toBe(true);
    expect(copied('sub').mtimeMs).toBe(1_000_000);
    const copy = openSync(join(base, 'root/data/copy/file'), 'r');
    // Not every file system has attributes of users.
    if (keeps) expect(xattrValue(copy, 'user.note')?.toString()).toBe('kept');
    closeSync(copy);
    expect(writer.skipped).toEqual([]);
  });

  it('takes no attribute that speaks to this host', () => {
    using writer = new TreeWriter(root, 'data', whole);
    writer.entry(entry('f', { xattrs: new Map([['trusted.overlay.opaque', Buffer.from('y')]]) }));
    writer.endEntry();
    expect(writer.lostXattrs).toBe(1);
  });

  it('is refused when it is nested without an end', () => {
    let folder = join(base, 'in/deep');
    for (let i = 0; i < 520; i++) folder = join(folder, 'd');
    mkdirSync(folder, { recursive: true });
    const source = openSync(join(base, 'in/deep'), constants.O_RDONLY | constants.O_DIRECTORY);
    const nobody = { entry: () => {}, data: () => {}, endEntry: () => {} };
    expect(() => walk(source, 'x', nobody)).toThrow(/nested too deeply/);
    closeSync(source);
  });
});

describe('entries of a hostile tar', () => {
  it('that lead upwards are refused', () => {
    using writer = new TreeWriter(root, 'data', options);
    expect(() => writer.entry(entry('../../x'))).toThrow(/leads upwards/);
    expect(() => writer.entry(entry('h', { type: 'hardlink', linkName: '../../outside/victim' }))).toThrow();
  });

  it('that go through a link they have made themselves stay inside', () => {
    using writer = new TreeWriter(root, 'data', options);
    writer.entry(entry('door', { type: 'symlink', linkName: join(base, 'outside') }));
    writer.endEntry();
    expect(() => writer.entry(entry('door/x'))).toThrow(/ENOENT/);
    expect(existsSync(join(base, 'outside/x'))).toBe(false);
  });

  it('that are devices are left out', () => {
    using writer = new TreeWriter(root, 'data', options);
    writer.entry(entry('null', { type: 'char', major: 1, minor: 3 }));
    writer.endEntry();
    expect(writer.skipped).toEqual(['null']);
  });
});

describe('the ends of a copy', () => {
  it('are containers, host paths and streams', () => {
    expect(parseCopyEnd('web:/srv')).toEqual({ kind: 'container', name: 'web', path: '/srv' });
    expect(parseCopyEnd('./a:b')).toEqual({ kind: 'host', path: './a:b' });
    expect(parseCopyEnd('-')).toEqual({ kind: 'stream' });
  });

  it('put things into a folder under their name, or make one of another name', () => {
    expect(destinationOf('directory', '/srv', 'site', false)).toEqual({ folder: '/srv', name: 'site' });
    expect(destinationOf('directory', '/srv', 'site', true)).toEqual({ folder: '/srv', name: '' });
    expect(destinationOf(undefined, '/srv/new', 'site', false)).toEqual({ folder: '/srv', name: 'new' });
  });

  it('are looked for inside the root', () => {
    symlinkSync('/', join(base, 'root/all'));
    expect(locate(root, 'all/etc/passwd')).toBeUndefined();
    expect(locate(root, '../../../../etc/passwd')).toBeUndefined();
  });
});
