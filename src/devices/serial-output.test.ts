import { constants } from 'node:os';
import { expect, test, vi } from 'vitest';

/** What write(2) answers, call by call: a count (short writes too) or an errno below 0. */
const script: number[] = [];
const written: number[] = [];
let lockWord: Int32Array = new Int32Array(1);
const lockSeen: number[] = [];
let errno = 0;

vi.mock('../sys/libc.js', async (original) => ({
  ...(await original<typeof import('../sys/libc.js')>()),
  write: (_fd: number, bytes: Uint8Array, length: number) => {
    lockSeen.push(lockWord[0]);
    const answer = script.shift() ?? length;
    if (answer < 0) {
      errno = -answer;
      return -1;
    }
    written.push(...bytes.subarray(0, Math.min(answer, length)));
    return Math.min(answer, length);
  },
  lastErrno: () => errno,
}));

const { OUTPUT_WORDS, SerialOutput } = await import('./serial-output.js');
const { StateArena } = await import('./state.js');

function filled(count: number) {
  script.length = 0;
  written.length = 0;
  lockSeen.length = 0;
  const state = new StateArena().claim('output', OUTPUT_WORDS);
  lockWord = new Int32Array(state.u8.buffer, state.u8.byteOffset - 4, 1);
  state.lock();
  const output = new SerialOutput(state, 0, 1);
  for (let i = 0; i < count; i++) output.push(i & 0xff);
  return output;
}

const pattern = (count: number) => Array.from({ length: count }, (_, i) => i & 0xff);

test('the lock is free while write(2) may block, and held again afterwards', () => {
  filled(3).flush();
  expect(lockSeen).toEqual([0]);
  expect(lockWord[0]).toBe(1);
});

test('short writes go on where they stopped', () => {
  const output = filled(10);
  script.push(3, 1, 4);
  output.flush();
  expect(written).toEqual(pattern(10));
  expect(output.length).toBe(0);
});

test.each(['EINTR', 'EAGAIN'] as const)('%s returns at once with the bytes still there', (name) => {
  const output = filled(10);
  script.push(4, -constants.errno[name]);
  output.flush();
  expect(output.length).toBe(6);
  output.flush();
  expect(written).toEqual(pattern(10));
});

test.each(['EPIPE', 'EIO', 'ENOSPC', 'EBADF'] as const)('%s discards from then on', (name) => {
  const output = filled(10);
  script.push(-constants.errno[name]);
  output.flush();
  output.push(1);
  output.flush();
  expect(output.length).toBe(0);
  expect(lockSeen).toHaveLength(1);
});

test('bytes wrap around the ring in order', () => {
  const output = filled(10_000);
  output.flush();
  for (let i = 0; i < 10_000; i++) output.push(i & 0xff);
  output.flush();
  expect(written).toEqual([...pattern(10_000), ...pattern(10_000)]);
});

test('a full ring loses the newest bytes and stays whole', () => {
  const output = filled(20_000);
  expect(output.room).toBe(0);
  output.flush();
  expect(written).toEqual(pattern(16_384));
});
