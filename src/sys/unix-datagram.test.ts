import { mkdirSync, mkdtempSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bindDatagram, connectDatagram } from './unix-datagram.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-datagram-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('a datagram arrives whole, and reading does not wait for the next', () => {
  const path = join(folder, 'socket');
  using receiver = bindDatagram(path);
  using sender = connectDatagram(path);
  writeSync(sender.fd, 'READY=1\n');
  writeSync(sender.fd, 'second');
  const buffer = Buffer.alloc(100);
  expect(buffer.toString('utf8', 0, readSync(receiver.fd, buffer))).toBe('READY=1\n');
  expect(readSync(receiver.fd, buffer)).toBe(6);
  expect(() => readSync(receiver.fd, buffer)).toThrow('EAGAIN');
  expect(statSync(path).mode & 0o777).toBe(0o777);
});

test('a path may be longer than an address', () => {
  const deep = join(folder, 'x'.repeat(100), 'y'.repeat(100));
  mkdirSync(deep, { recursive: true });
  using receiver = bindDatagram(join(deep, 'socket'));
  expect(receiver.closed).toBe(false);
  expect(() => connectDatagram(join(deep, 'socket'))).toThrow('ENAMETOOLONG');
});

test('a path is bound once, and an address that nobody has is refused', () => {
  const path = join(folder, 'socket');
  using _receiver = bindDatagram(path);
  expect(() => bindDatagram(path)).toThrow(`bind ${path}: EADDRINUSE`);
  expect(() => connectDatagram(`@${folder}`)).toThrow('ECONNREFUSED');
  expect(() => connectDatagram(join(folder, 'none'))).toThrow('ENOENT');
});
