import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { followLog, parseLog, readLog } from './log-lines.js';

const line = (log: string, second = 0) =>
  `${JSON.stringify({ log, stream: 'stdout', time: `2026-01-01T00:00:${String(second).padStart(2, '0')}.5Z` })}\n`;

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-log-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const texts = (lines: readonly { log: string }[]) => lines.map(({ log }) => log);

describe('a container’s log', () => {
  it('is read over its rotated files, the oldest first', () => {
    writeFileSync(join(folder, 'log.2'), line('a'));
    writeFileSync(join(folder, 'log.1'), line('b'));
    writeFileSync(join(folder, 'log'), line('c'));
    expect(texts(readLog(folder))).toEqual(['a', 'b', 'c']);
    expect(texts(readLog(folder, { tail: 2 }))).toEqual(['b', 'c']);
    expect(texts(readLog(folder, { tail: 0 }))).toEqual([]);
  });

  it('is selected by time', () => {
    writeFileSync(join(folder, 'log'), [1, 2, 3].map((n) => line(`${n}`, n)).join(''));
    expect(
      texts(readLog(folder, { since: '2026-01-01T00:00:02.000Z', until: '2026-01-01T00:00:03.000Z' })),
    ).toEqual(['2']);
  });

  it('gives what is whole when a crash has left half a line, or rubbish', () => {
    expect(parseLog(`${line('a')}{"log":1}\nnot json\n${line('b').slice(0, 10)}`)).toMatchObject({
      lines: [{ log: 'a' }],
      rest: '{"log":"b"',
    });
  });

  it('is followed over a rotation, without a line lost or twice', async () => {
    const file = join(folder, 'log');
    writeFileSync(file, line('a'));
    const writes = [
      () => appendFileSync(file, line('grüße')),
      () => {
        appendFileSync(file, line('c'));
        renameSync(file, join(folder, 'log.1'));
        writeFileSync(file, line('d'));
      },
      () => appendFileSync(file, line('e')),
    ];
    const got: string[] = [];
    for await (const { log } of followLog(folder, {}, () => {
      writes.shift()?.();
      return writes.length === 0;
    }))
      got.push(log);
    expect(got).toEqual(['a', 'grüße', 'c', 'd', 'e']);
  });

  it('that was never written is empty', () => {
    expect(readLog(folder)).toEqual([]);
  });
});
