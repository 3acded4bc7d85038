import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createSocketpair } from './socketpair.js';
import { connectUnix, receiveDescriptor, sendDescriptor } from './unix-socket.js';

test('a descriptor comes out as another number for the same file', () => {
  const [left, right] = createSocketpair('a test');
  using sender = left;
  using receiver = right;
  const file = openSync('/proc/self/stat', 'r');
  sendDescriptor(sender.fd, file, Buffer.from('x'));
  using got = receiveDescriptor(receiver.fd, 'the file');
  if (got === undefined) throw new Error('nothing came');
  expect(got.fd).not.toBe(file);
  expect(fstatSync(got.fd).ino).toBe(fstatSync(file).ino);
  closeSync(file);
});

test('bytes without a descriptor and a closed socket give none', () => {
  const [left, right] = createSocketpair('a test');
  using receiver = right;
  left[Symbol.dispose]();
  expect(receiveDescriptor(receiver.fd, 'nothing')).toBeUndefined();
});

test('connecting says which path it was that nobody listens on', () => {
  expect(() => connectUnix('/no/such/socket')).toThrow('connect /no/such/socket: ENOENT');
  expect(() => connectUnix('/x'.repeat(60))).toThrow(/ENAMETOOLONG/);
});

test('a listening socket is reached by its path', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tvmm-unix-'));
  const server = createServer();
  const accepted = new Promise<void>((done) =>
    server.once('connection', (peer) => void done(void peer.destroy())),
  );
  await new Promise<void>((done) => server.listen(join(folder, 's'), done));
  using connection = connectUnix(join(folder, 's'));
  expect(connection.closed).toBe(false);
  await accepted;
  await new Promise((done) => server.close(done));
  rmSync(folder, { recursive: true });
});
