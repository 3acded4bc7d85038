import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { DiskImage, DiskImageError } from './disk-image.js';

const folder = mkdtempSync(join(tmpdir(), 'tvmm-disk-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function image(name: string, size: number): string {
  const path = join(folder, name);
  writeFileSync(path, '');
  truncateSync(path, size);
  return path;
}

/** The refusal of an image. */
function refusal(path: string, readOnly = false): DiskImageError {
  try {
    DiskImage.open(path, { readOnly })[Symbol.dispose]();
  } catch (error) {
    if (error instanceof DiskImageError) return error;
    throw error;
  }
  throw new Error(`${path} was accepted`);
}

describe('opening', () => {
  test('a file is as large as it is, in sectors', () => {
    using disk = DiskImage.open(image('plain', 2 ** 20));
    expect(disk.info).toMatchObject({ sectors: 2048, readOnly: false, blockSize: 512, discard: true });
    expect(disk.warnings).toEqual([]);
  });

  test('probing for holes changes neither the size nor the blocks of a file', () => {
    const path = image('probe', 0);
    writeFileSync(path, 'x'.repeat(5000));
    const before = statSync(path);
    DiskImage.open(path)[Symbol.dispose]();
    expect(statSync(path).size).toBe(before.size);
    expect(statSync(path).blocks).toBe(before.blocks);
  });

  test('a tail that is no whole sector is left out, with a warning that names it', () => {
    const path = image('odd', 1024 + 100);
    using disk = DiskImage.open(path);
    expect(disk.info.sectors).toBe(2);
    expect(disk.warnings).toEqual([
      `the last 100 bytes of the disk image ${path} are not a whole sector: the guest does not see them`,
    ]);
  });

  test('a read-only disk offers no discard and its descriptor cannot write', () => {
    const path = image('ro', 4096);
    chmodSync(path, 0o444);
    using disk = DiskImage.open(path, { readOnly: true });
    expect(disk.info).toMatchObject({ readOnly: true, discard: false });
  });

  test.each([
    ['DISK_NOT_FOUND', () => join(folder, 'missing')],
    ['DISK_NOT_FOUND', () => join(image('file-as-folder', 512), 'x')],
    ['DISK_EMPTY', () => image('empty', 0)],
    ['DISK_EMPTY', () => image('short', 511)],
    ['DISK_NOT_A_DISK', () => '/dev/null'],
    [
      'DISK_NOT_A_DISK',
      () => {
        execFileSync('mkfifo', [join(folder, 'fifo')]);
        return join(folder, 'fifo');
      },
    ],
    [
      'DISK_IS_DIRECTORY',
      () => {
        mkdirSync(join(folder, 'folder'));
        return join(folder, 'folder');
      },
    ],
  ])('%s is one sentence that names the path, with a hint', (code, make) => {
    const path = make();
    const error = refusal(path);
    expect(error.code).toBe(code);
    expect(error.message).toContain(path);
    expect(error.hint).toBeTruthy();
  });

  test('a file that may not be opened is DISK_NOT_PERMITTED', () => {
    if (process.getuid?.() === 0) {
      // Root may open everything but a file that is being executed, which is a read-only one.
      const error = refusal(process.execPath);
      expect(error.code).toBe('DISK_READ_ONLY');
      return;
    }
    const path = image('closed', 4096);
    chmodSync(path, 0);
    expect(refusal(path).code).toBe('DISK_NOT_PERMITTED');
  });

  test('a refused image leaves no descriptor', () => {
    const open = () => readdirSync('/proc/self/fd').length;
    const before = open();
    for (const name of ['missing', 'empty']) refusal(join(folder, name));
    expect(open()).toBe(before);
  });
});

describe('the lock', () => {
  test('a writer excludes writers and readers; readers share', () => {
    const path = image('locks', 4096);
    {
      using _writer = DiskImage.open(path);
      expect(refusal(path).code).toBe('DISK_LOCKED');
      expect(refusal(path, true).code).toBe('DISK_LOCKED');
    }
    using _reader = DiskImage.open(path, { readOnly: true });
    DiskImage.open(path, { readOnly: true })[Symbol.dispose]();
    expect(refusal(path).code).toBe('DISK_LOCKED');
    expect(refusal(path).message).toContain('already in use by this process');
  });

  test('another process is refused by name while it lives, and not after it was killed', async () => {
    const path = image('other-process', 4096);
    const script = `import fcntl,struct,sys,time
f=open(${JSON.stringify(path)},'r+b')
fcntl.fcntl(f,37,struct.pack('hhqqi4x',1,0,0,0,0))
print('locked',flush=True)
time.sleep(60)`;
    const child = spawn('python3', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = new Promise((resolve) => child.once('exit', resolve));
    try {
      await new Promise((resolve) => child.stdout.once('data', resolve));
      const error = refusal(path);
      expect(error.code).toBe('DISK_LOCKED');
      expect(error.message).toBe(`the disk image ${path} is in use by process ${child.pid} (python3)`);
    } finally {
      child.kill('SIGKILL');
      await exited;
    }
    DiskImage.open(path)[Symbol.dispose]();
  });
});
