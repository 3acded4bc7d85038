import { expect, test } from 'vitest';
import { createSocketpair, receiveNow, sendAll, waitReadable } from './socketpair.js';

test('what one end sends the other receives, and a closed end is the end of the stream', () => {
  const [a, b] = createSocketpair('test');
  using _ = b;
  expect(receiveNow(b.fd, 10)).toBeUndefined();
  expect(waitReadable(b.fd, 0)).toBe(false);
  sendAll(a.fd, Uint8Array.of(1, 2, 3));
  expect(waitReadable(b.fd, -1)).toBe(true);
  expect(receiveNow(b.fd, 2)).toEqual(Uint8Array.of(1, 2));
  a[Symbol.dispose]();
  expect(receiveNow(b.fd, 10)).toEqual(Uint8Array.of(3));
  expect(receiveNow(b.fd, 10)).toEqual(new Uint8Array());
});

test('sending to a closed end fails without a signal', () => {
  const [a, b] = createSocketpair('test');
  using _ = a;
  b[Symbol.dispose]();
  expect(() => sendAll(a.fd, Uint8Array.of(1))).toThrow(/EPIPE/);
});
