/** Kicks a thread that has been inside one KVM_RUN for too long: a guest that never exits must not hang the tests. */
import { workerData } from 'node:worker_threads';
import { kickThread } from 'tvmm';

const { word, threadId, limitMs } = workerData;
for (;;) {
  const seen = Atomics.load(word, 0);
  // Odd: inside the guest.
  if (Atomics.wait(word, 0, seen, limitMs) === 'timed-out' && seen % 2 === 1) kickThread(threadId);
}
