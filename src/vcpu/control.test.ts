import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { Request, State, VcpuControl } from './control.js';

test('a stop is final: no later request replaces it', () => {
  const control = new VcpuControl(VcpuControl.bufferFor(1), 0);
  expect(control.request).toBe(Request.Run);
  control.setRequest(Request.Pause);
  expect([control.request, control.hasRequest]).toEqual([Request.Pause, true]);
  control.setRequest(Request.Run);
  expect(control.hasRequest).toBe(false);
  control.setRequest(Request.Stop);
  control.setRequest(Request.Run);
  control.setRequest(Request.Pause);
  expect(control.request).toBe(Request.Stop);
});

test('each vCPU has a part of its own', () => {
  const buffer = VcpuControl.bufferFor(3);
  const [a, b, c] = [0, 1, 2].map((index) => new VcpuControl(buffer, index));
  b.setRequest(Request.Stop);
  b.threadId = 77;
  b.firstEntry = 1234.5;
  b.count(2);
  for (const other of [a, c]) {
    expect([other.request, other.threadId, other.firstEntry, other.counts.every((n) => n === 0)]).toEqual([
      0,
      0,
      0,
      true,
    ]);
  }
  expect([b.firstEntry, b.threadId, b.counts[2]]).toEqual([1234.5, 77, 1]);
});

test('exit reasons beyond the table share its last cell', () => {
  const control = new VcpuControl(VcpuControl.bufferFor(1), 0);
  const last = control.counts.length - 1;
  control.count(last);
  control.count(100_000);
  expect(control.counts[last]).toBe(2);
});

test('a change of state wakes the control thread', async () => {
  const control = new VcpuControl(VcpuControl.bufferFor(1), 0);
  const change = control.stateChange(State.Starting, 10_000);
  control.setState(State.Running);
  await change;
  expect(control.state).toBe(State.Running);
});

test('a thread that waits while paused goes on with the next request', async () => {
  const buffer = VcpuControl.bufferFor(1);
  const control = new VcpuControl(buffer, 0);
  control.setRequest(Request.Pause);
  const worker = new Worker(
    `const { workerData: words, parentPort } = require('node:worker_threads');
     parentPort.postMessage('waiting');
     parentPort.postMessage(Atomics.wait(words, 0, 1));`,
    { eval: true, workerData: new Int32Array(buffer) },
  );
  const heard: unknown[] = [];
  await new Promise<void>((resolve) => {
    worker.on('message', (message: unknown) => {
      heard.push(message);
      if (message === 'waiting') control.setRequest(Request.Run);
      else resolve();
    });
  });
  expect(['ok', 'not-equal']).toContain(heard[1]);
});
