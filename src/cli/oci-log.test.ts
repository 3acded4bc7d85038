import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { logLine, OciLog } from './oci-log.js';

const WHEN = new Date('2026-01-02T03:04:05.678Z');

test('a JSON line has level, msg and a time of whole seconds: what containerd and podman read', () => {
  expect(logLine('json', 'error', 'no "luck"', WHEN)).toBe(
    '{"level":"error","msg":"no \\"luck\\"","time":"2026-01-02T03:04:05Z"}',
  );
});

test('a text line quotes its message', () => {
  expect(logLine('text', 'warning', 'a\nb', WHEN)).toBe(
    'time="2026-01-02T03:04:05Z" level=warning msg="a\\nb"',
  );
});

test('lines are added to a file that is there already, debug lines only when asked for', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tvmm-log-'));
  const file = join(folder, 'log');
  for (const debug of [true, false]) {
    using log = new OciLog({ file, format: 'json', debug });
    log.debug('d');
    log.warn('w');
  }
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  expect(lines.map((line) => JSON.parse(line).level)).toEqual(['debug', 'warning', 'warning']);
  rmSync(folder, { recursive: true });
});

test('a log file that cannot be opened is an error that names it', () => {
  expect(() => new OciLog({ file: '/no/such/folder/log', format: 'text', debug: false })).toThrow(
    /\/no\/such/,
  );
});
