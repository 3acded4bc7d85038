/** Guests that mean harm: each may end its own machine, with a clear reason; none stops the VMM, hangs it or leaves anything behind. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Machine, type MachineConfig } from 'tvmm';
import { KVM_EXIT } from 'tvmm/kvm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPipe } from '../src/sys/pipe.js';
import { firmware, type Mode, missing, PARAMETER } from './support/micro-guest.js';
import { held, threadsBackAt } from './support/resources.js';

const noKvm = missing();
const MEMORY = 2 * 2 ** 20;
const ROUNDS = 300;
let folder = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-hostile-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function flat(name: string, mode: Mode, more: Partial<MachineConfig> = {}): MachineConfig {
  return { kernel: firmware(name), flat: { mode }, memory: MEMORY, ...more };
}

/** A disk that the guest may ruin. */
function disk(name: string): string {
  const path = join(folder, name);
  writeFileSync(path, '');
  truncateSync(path, 2 ** 20);
  return path;
}

/** The VMM works as before: another guest runs to its end. */
async function expectVmmWorks(): Promise<void> {
  await using machine = await Machine.create(flat('hello', 'real16'));
  machine.start();
  expect(await machine.ended).toEqual({ reason: 'poweroff' });
}

describe.skipIf(noKvm !== undefined)(`hostile guests${noKvm === undefined ? '' : ` (${noKvm})`}`, () => {
  test('a triple fault ends the machine with one sentence and the registers', async () => {
    await using machine = await Machine.create(flat('triple-fault', 'protected32', { cpus: 2 }));
    machine.start();
    expect(await machine.ended).toMatchObject({
      reason: 'failed',
      error: {
        code: 'GUEST_TRIPLE_FAULT',
        message: expect.stringMatching(/^the guest triple-faulted on vCPU 0: .*rip=0x/),
        registers: { rip: expect.stringMatching(/^0x/), cr0: expect.stringMatching(/^0x/) },
      },
    });
    await expectVmmWorks();
  });

  test('a guest that loops for ever is stopped', async () => {
    await using machine = await Machine.create(flat('loop', 'long64'));
    machine.start();
    await new Promise((next) => setTimeout(next, 100));
    expect(await machine.stop()).toEqual({ reason: 'stopped' });
  });

  test('a guest that floods the serial port whose reader sleeps can still be paused and stopped', async () => {
    const before = held();
    const { reader, writer } = createPipe('a console that nobody reads');
    {
      await using machine = await Machine.create(flat('serial-flood', 'real16', { serialFd: writer.fd }));
      machine.start();
      while (machine.exitCounts[0][KVM_EXIT.IO] < 5000) {
        const count = machine.exitCounts[0][KVM_EXIT.IO];
        await new Promise((next) => setTimeout(next, 50));
        // The vCPU may wait for the reader, or bytes may be dropped; both are fine as long as it obeys.
        if (machine.exitCounts[0][KVM_EXIT.IO] === count) break;
      }
      await machine.pause();
      await machine.resume();
      expect(await machine.stop()).toEqual({ reason: 'stopped' });
    }
    reader[Symbol.dispose]();
    writer[Symbol.dispose]();
    await threadsBackAt(before.threads);
    expect(held().descriptors.length).toBeLessThanOrEqual(before.descriptors.length);
  });

  test('a serial port whose reader has gone ends nothing but the output', async () => {
    const { reader, writer } = createPipe('a console that hangs up');
    reader[Symbol.dispose]();
    await using machine = await Machine.create(flat('serial-count', 'real16', { serialFd: writer.fd }));
    machine.memory.writeU32(PARAMETER, 1000);
    machine.start();
    expect(await machine.ended).toEqual({ reason: 'poweroff' });
    writer[Symbol.dispose]();
  });

  for (const transport of ['pci', 'mmio'] as const) {
    test.each([1, 0x5eed, 0xdead_beef, 0x1234_5678, 42, 0x8000_0001])(
      `garbage in every device register over ${transport}, seed %i, ends at most the guest`,
      async (seed) => {
        await using machine = await Machine.create(
          flat('garbage', 'protected32', {
            transport,
            rng: true,
            drives: [
              { path: disk(`${transport}-${seed}.img`) },
              { path: disk(`${transport}-${seed}-b.img`) },
            ],
          }),
        );
        const logs: string[] = [];
        machine.onLog = (message) => logs.push(message);
        machine.memory.writeU32(PARAMETER, seed);
        machine.memory.writeU32(PARAMETER + 4, ROUNDS);
        machine.start();
        const timer = setTimeout(() => void machine.stop(), 40_000);
        const end = await machine.ended;
        clearTimeout(timer);
        expect(end.reason === 'failed' ? end.error : end.reason).toMatch(/^(poweroff|reset)$/);
        // A device that gives up says so shortly, not once for every access.
        expect(logs.length).toBeLessThan(100);
      },
      60_000,
    );
  }

  test('after all of them the VMM works, and nothing is held', async () => {
    await expectVmmWorks();
    const before = held();
    for (const seed of [7, 8]) {
      await using machine = await Machine.create(
        flat('garbage', 'protected32', { rng: true, drives: [{ path: disk(`left-${seed}.img`) }] }),
      );
      machine.memory.writeU32(PARAMETER, seed);
      machine.memory.writeU32(PARAMETER + 4, 50);
      machine.start();
      await machine.ended;
    }
    expect(await threadsBackAt(before.threads)).toBeLessThanOrEqual(before.threads);
    expect(held().descriptors).toEqual(before.descriptors);
  }, 60_000);
});
