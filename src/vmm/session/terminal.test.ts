import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { attachInput, EscapeFilter } from './terminal.js';

const A = 1;
const X = 'x'.charCodeAt(0);

function filterAll(chunks: readonly (readonly number[])[]): { bytes: number[]; quit: boolean } {
  const filter = new EscapeFilter();
  const bytes: number[] = [];
  for (const chunk of chunks) {
    const result = filter.filter(Uint8Array.from(chunk));
    bytes.push(...result.bytes);
    if (result.quit) return { bytes, quit: true };
  }
  return { bytes, quit: false };
}

test('Ctrl-A x quits, and what came before it still reaches the guest', () => {
  expect(filterAll([[104, 105, A, X, 33]])).toEqual({ bytes: [104, 105], quit: true });
});

test('the escape key works across chunks', () => {
  expect(filterAll([[104, A], [X]])).toEqual({ bytes: [104], quit: true });
  expect(filterAll([[A], [A], [X]])).toEqual({ bytes: [A, X], quit: false });
});

test('Ctrl-A Ctrl-A sends one Ctrl-A, and Ctrl-A with anything else goes through with it', () => {
  expect(filterAll([[A, A]])).toEqual({ bytes: [A], quit: false });
  expect(filterAll([[A, 98]])).toEqual({ bytes: [A, 98], quit: false });
});

test('input without the escape key passes unchanged, however it is cut', () => {
  const byte = fc.integer({ min: 2, max: 255 });
  fc.assert(
    fc.property(fc.array(fc.array(byte)), (chunks) => {
      expect(filterAll(chunks)).toEqual({ bytes: chunks.flat(), quit: false });
    }),
  );
});

/** A serial port that takes `room` bytes a time. */
class FakeMachine {
  readonly taken: number[] = [];
  constructor(readonly room: number) {}
  writeSerial(bytes: Uint8Array): number {
    const accepted = bytes.subarray(0, this.room);
    this.taken.push(...accepted);
    return accepted.length;
  }
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1000 && !condition(); i++) await new Promise((next) => setTimeout(next, 2));
  expect(condition()).toBe(true);
}

test('a port with little room gets everything, in order', async () => {
  const machine = new FakeMachine(3);
  const input = new PassThrough();
  using _attached = attachInput(machine, input, { onQuit() {} });
  const sent = Array.from({ length: 50 }, (_, i) => i + 10);
  input.write(Buffer.from(sent.slice(0, 20)));
  input.write(Buffer.from(sent.slice(20)));
  await until(() => machine.taken.length === sent.length);
  expect(machine.taken).toEqual(sent);
});

test('a pipe has no escape key: its bytes are data', async () => {
  const machine = new FakeMachine(100);
  const input = new PassThrough();
  let quit = false;
  using _attached = attachInput(machine, input, {
    onQuit() {
      quit = true;
    },
  });
  input.write(Buffer.from([A, X]));
  await until(() => machine.taken.length === 2);
  expect([machine.taken, quit]).toEqual([[A, X], false]);
});

test('a terminal is raw while it is attached and as it was afterwards, and its escape key quits', async () => {
  const modes: boolean[] = [];
  const makeRaw = () => {
    modes.push(true);
    return { [Symbol.dispose]: () => void modes.push(false) };
  };
  const input = Object.assign(new PassThrough(), { isTTY: true as const });
  let quits = 0;
  {
    using _attached = attachInput(new FakeMachine(100), input, { onQuit: () => quits++, makeRaw });
    input.write(Buffer.from([A, X]));
    await until(() => quits === 1);
    expect(modes).toEqual([true]);
  }
  expect(modes).toEqual([true, false]);
  expect(input.listenerCount('data')).toBe(0);
});

test('the end of a pipe reaches the guest as Ctrl-D, behind everything else', async () => {
  const machine = new FakeMachine(1);
  const input = new PassThrough();
  using _attached = attachInput(machine, input, { onQuit() {} });
  input.end(Buffer.from('ls\n'));
  await until(() => machine.taken.length === 4);
  expect(machine.taken).toEqual([...Buffer.from('ls\n'), 4]);
});

test('the end of a pipe is repeated for a guest that ends with its shell', async () => {
  const machine = new FakeMachine(100);
  const input = new PassThrough();
  using _attached = attachInput(machine, input, { onQuit() {}, repeatEofMs: 1 });
  input.end();
  await until(() => machine.taken.length >= 3);
  expect(new Set(machine.taken)).toEqual(new Set([4]));
});
