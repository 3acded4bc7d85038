/**
 * The I/O thread: moves the data of all virtio devices, and blocks in epoll between kicks. Runs until it is told to stop.
 */
import { parentPort } from 'node:worker_threads';
import { attachDevices, runIo } from './devices.js';
import type { MachineView, Quit, ThreadMessage } from './threads.js';

const port = parentPort;
if (port === null) throw new Error('io-thread runs only as a thread of a machine');

port.once('message', (start: MachineView | Quit) => {
  if ('quit' in start) return;
  const post = (message: ThreadMessage) => port.postMessage(message);
  const devices = attachDevices(start, (request) => post({ type: 'request', request }));
  runIo(devices, (message) => post({ type: 'log', message }));
  post({ type: 'io-ended' });
});
