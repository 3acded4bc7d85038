import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TarError } from './errors.js';
import { type TarEntry, TarReader } from './tar-reader.js';
import { type TarInput, tarEnd, tarFile, tarHeader } from './tar-writer.js';

interface Read {
  entry: TarEntry;
  bytes: Buffer;
}

function readTar(archive: Buffer, cut = archive.length): Read[] {
  const found: Read[] = [];
  let chunks: Buffer[] = [];
  let current: TarEntry | undefined;
  const reader = new TarReader({
    entry(entry) {
      current = entry;
      chunks = [];
    },
    data: (bytes) => void chunks.push(Buffer.from(bytes)),
    endEntry() {
      if (current !== undefined) found.push({ entry: current, bytes: Buffer.concat(chunks) });
    },
  });
  for (let at = 0; at < archive.length; at += cut) reader.write(archive.subarray(at, at + cut));
  reader.end();
  return found;
}

/** Puts the right checksum into a header. */
function sealHeader(header: Buffer): void {
  header.fill(0x20, 148, 156);
  let total = 0;
  for (const byte of header) total += byte;
  header.write(`${total.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

function retyped(header: Buffer, flag: string): Buffer {
  header.write(flag, 156, 'latin1');
  sealHeader(header);
  return header;
}

const bytes = fc.uint8Array({ maxLength: 1500 });
const name = fc
  .uint8Array({ minLength: 1, maxLength: 300 })
  .map((array) => Buffer.from(array).toString('latin1').replaceAll('\0', 'x').replaceAll('/', 'y'));

describe('TarReader', () => {
  it('reads what TarWriter wrote, whatever the names, times and attributes, cut anywhere', () => {
    const input = fc.record({
      name,
      mode: fc.nat(0o7777),
      uid: fc.nat(0xffff_fffe),
      gid: fc.nat(0xffff_fffe),
      mtime: fc.record({
        seconds: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
        nanoseconds: fc.nat(999_999_999),
      }),
      xattrs: fc
        .array(fc.tuple(fc.stringMatching(/^user\.[a-z]{1,9}$/), bytes))
        .map((list) => new Map(list.map(([key, value]) => [key, Buffer.from(value)]))),
    });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(input, bytes), { maxLength: 5 }),
        fc.integer({ min: 1, max: 2000 }),
        (list, cut) => {
          const archive = Buffer.concat([...list.map(([entry, body]) => tarFile(entry, body)), tarEnd()]);
          const found = readTar(archive, cut);
          expect(found.length).toBe(list.length);
          found.forEach((one, i) => {
            const [wanted, body] = list[i] ?? [{}, Buffer.alloc(0)];
            expect(one.entry).toMatchObject({ ...wanted, type: 'file', size: body.length });
            expect(one.bytes.equals(body)).toBe(true);
          });
        },
      ),
      { numRuns: 200 },
    );
  });

  it('reads all types of entries', () => {
    const entries: TarInput[] = [
      { name: 'd/', type: 'directory', mode: 0o1777 },
      { name: 's', type: 'symlink', linkName: 'x'.repeat(200) },
      { name: 'h', type: 'hardlink', linkName: 'd/f' },
      { name: 'c', type: 'char', major: 1, minor: 3 },
      { name: 'b', type: 'block', major: 7, minor: 0 },
      { name: 'p', type: 'fifo' },
    ];
    const found = readTar(Buffer.concat([...entries.map(tarHeader), tarEnd()]));
    expect(found.map(({ entry }) => entry)).toMatchObject(entries);
  });

  it.each(['gnu', 'posix', 'ustar', 'v7'])('reads the %s format of GNU tar', (format) => {
    const folder = mkdtempSync(join(tmpdir(), 'tar-test-'));
    try {
      const long =
        format === 'v7' ? 'short' : `${'l'.repeat(70)}/${'m'.repeat(format === 'ustar' ? 80 : 180)}`;
      mkdirSync(join(folder, 'd', long), { recursive: true });
      writeFileSync(join(folder, 'd', long, 'file'), 'content');
      symlinkSync('somewhere', join(folder, 'd', 'link'));
      const tar = spawnSync('tar', [`--format=${format}`, '-C', folder, '-cf', '-', 'd']);
      const found = readTar(tar.stdout, 700);
      const file = found.find(({ entry }) => entry.type === 'file');
      expect(file?.entry.name).toBe(`d/${long}/file`);
      expect(file?.bytes.toString()).toBe('content');
      expect(found.find(({ entry }) => entry.type === 'symlink')?.entry.linkName).toBe('somewhere');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('refuses what is cut off, spoiled, sparse, unknown or too large', () => {
    const good = Buffer.concat([tarFile({ name: 'a' }, Buffer.alloc(700)), tarEnd()]);
    expect(() => readTar(good.subarray(0, 900))).toThrow('middle of an entry');
    const spoiled = Buffer.from(good);
    spoiled[0] = 0x62;
    expect(() => readTar(spoiled)).toThrow('checksum');
    const withType = (flag: string): Buffer => retyped(tarHeader({ name: 'a' }), flag);
    expect(() => readTar(withType('S'))).toThrow('sparse');
    expect(() => readTar(withType('Z'))).toThrow('type "Z"');
    const pax = (record: string): Buffer =>
      Buffer.concat([
        retyped(tarHeader({ name: 'p', size: record.length }), 'x'),
        Buffer.from(record.padEnd(512, '\0')),
        tarHeader({ name: 'a' }),
        tarEnd(),
      ]);
    expect(() => readTar(pax('99 path=x\n'))).toThrow('add up');
    expect(() => readTar(pax('9 path=x\n'))).not.toThrow();
    expect(() => readTar(pax('25 size=9999999999999999\n'))).toThrow(TarError);
    expect(() => readTar(pax('17 uid=4294967295\n'))).toThrow(TarError);
    expect(() => readTar(pax('12 mtime=1x\n'))).toThrow(TarError);
    expect(() => readTar(pax('22 GNU.sparse.major=1\n'))).toThrow('sparse');
  });

  it('answers any bytes with entries or a TarError', () => {
    const seed = Buffer.concat([
      tarFile(
        { name: 'n'.repeat(150), xattrs: new Map([['user.a', Buffer.from('b')]]) },
        Buffer.from('hello'),
      ),
      tarHeader({ name: 'd', type: 'directory' }),
      tarEnd(),
    ]);
    const change = fc.tuple(fc.nat(seed.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { maxLength: 8 }), fc.boolean(), (changes, repair) => {
        const archive = Buffer.from(seed);
        for (const [at, value] of changes) archive[at] = value;
        // Right checksums let the fuzz reach what stands behind them.
        for (let at = 0; repair && at < archive.length; at += 512) {
          const header = archive.subarray(at, at + 512);
          if (header.toString('latin1', 257, 262) !== 'ustar') continue;
          sealHeader(header);
        }
        try {
          readTar(archive);
        } catch (error) {
          expect(error).toBeInstanceOf(TarError);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
