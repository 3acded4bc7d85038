import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { StateArena, StateWindow } from './state.js';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-state-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('windows are claimed in order and do not overlap', () => {
  const arena = new StateArena(new SharedArrayBuffer(4096));
  const a = arena.claim('a', 3);
  const b = arena.claim('b', 40);
  a.u32.fill(0xffff_ffff);
  expect(b.u32.every((word) => word === 0)).toBe(true);
  b.u32.fill(0xffff_ffff);
  a.lock();
  a.unlock();
  expect([a.words, b.words, a.u8.length]).toEqual([3, 40, 12]);
  expect(a.u32.every((word) => word === 0xffff_ffff)).toBe(true);
});

test('two threads that claim the same windows in the same order share them', () => {
  const buffer = new SharedArrayBuffer(4096);
  const [mine, yours] = [new StateArena(buffer), new StateArena(buffer)].map((arena) => {
    arena.claim('first', 20);
    return arena.claim('second', 2);
  });
  mine.u32[1] = 42;
  expect(yours.u32[1]).toBe(42);
});

test('a machine with too many devices is refused by name', () => {
  const arena = new StateArena(new SharedArrayBuffer(128));
  arena.claim('fits', 31);
  expect(() => arena.claim('too many', 1)).toThrow(/too many/);
});

test('a body that throws releases the lock', () => {
  const window = new StateArena(new SharedArrayBuffer(64)).claim('x', 1);
  expect(() =>
    window.locked(() => {
      throw new Error('inside');
    }),
  ).toThrow('inside');
  expect(window.locked(() => 7)).toBe(7);
});

test('under contention of four threads no increment inside the lock is lost and nobody sleeps for ever', async () => {
  const module = join(folder, 'state.mjs');
  await build({ entryPoints: [join(import.meta.dirname, 'state.ts')], outfile: module, format: 'esm' });
  const buffer = new SharedArrayBuffer(4096);
  const rounds = 20_000;
  const threads = 4;
  const source = `
    import { workerData } from 'node:worker_threads';
    import { StateWindow } from ${JSON.stringify(pathToFileURL(module))};
    const { buffer, rounds } = workerData;
    const window = new StateWindow(buffer, 0, 2, 'x');
    for (let i = 0; i < rounds; i++) {
      window.lock();
      // A torn pair or a lost increment shows a second owner. Some rounds hold the lock longer than others spin.
      const value = window.u32[0];
      if (window.u32[1] !== value) throw new Error('two owners');
      window.u32[0] = value + 1;
      if (i % 64 === 0) for (let j = 0; j < 20000; j++) window.u32[0] = value + 1;
      window.u32[1] = value + 1;
      window.unlock();
    }`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
  const ends = Array.from({ length: threads }, () => {
    const worker = new Worker(url, { workerData: { buffer, rounds } });
    return new Promise<void>((resolve, reject) => {
      worker.once('error', reject);
      worker.once('exit', () => resolve());
    });
  });
  await Promise.all(ends);
  const window = new StateWindow(buffer, 0, 2, 'x');
  expect([...window.u32]).toEqual([threads * rounds, threads * rounds]);
  // Free again, and no sleeper is remembered.
  expect(new Int32Array(buffer)[0]).toBe(0);
}, 60_000);
