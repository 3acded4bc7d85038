/** Whole machines with micro-guests: devices, interrupts, SMP, lifecycle. On any /dev/kvm; what hardware alone can do says so. */
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestError, Machine, type MachineConfig, type MachineEnd, MachineError } from 'tvmm';
import { KVM_EXIT } from 'tvmm/kvm';
import { describe, expect, test } from 'vitest';
import { firmware, type Mode, missing, PARAMETER } from './support/micro-guest.js';
import { held, threadsBackAt } from './support/resources.js';

const noKvm = missing();
const MEMORY = 2 * 2 ** 20;

function flat(name: string, mode: Mode, more: Partial<MachineConfig> = {}): MachineConfig {
  return { kernel: firmware(name), flat: { mode }, memory: MEMORY, ...more };
}

/** Runs a guest to its end with its serial output in a file. */
async function run(
  config: MachineConfig,
  parameter = 0,
): Promise<{ end: MachineEnd; serial: Buffer; machine: Machine }> {
  const path = join(tmpdir(), `tvmm-serial-${process.pid}-${Math.random().toString(36).slice(2)}`);
  const fd = openSync(path, 'w');
  try {
    await using machine = await Machine.create({ ...config, serialFd: fd });
    machine.memory.writeU32(PARAMETER, parameter);
    machine.start();
    const end = await machine.ended;
    return { end, serial: readFileSync(path), machine };
  } finally {
    closeSync(fd);
    rmSync(path);
  }
}

describe.skipIf(noKvm !== undefined)(`machines${noKvm === undefined ? '' : ` (${noKvm})`}`, () => {
  test('a guest prints to COM1 and powers off by the ACPI sleep register', async () => {
    const { end, serial } = await run(flat('hello', 'real16'));
    expect(end).toEqual({ reason: 'poweroff' });
    expect(serial.toString()).toBe('hello from a guest\r\n');
  });

  test('every exit is counted by its reason', async () => {
    const { machine } = await run(flat('hello', 'real16'));
    // 20 characters, one status read each and one for the NUL, and the power-off.
    expect(machine.exitCounts[0][KVM_EXIT.IO]).toBe(20 + 21 + 1);
  });

  test('a machine without interrupt controllers ends when its only vCPU halts', async () => {
    expect((await run(flat('hlt', 'long64', { irqchip: false }))).end).toEqual({ reason: 'halted' });
  });

  test('an interrupt line that the host raises runs the guest’s handler', async () => {
    await using machine = await Machine.create(flat('interrupt', 'long64'));
    machine.start();
    // One OUT says that the guest is ready to sleep.
    while (machine.exitCounts[0][KVM_EXIT.IO] === 0) await new Promise((next) => setTimeout(next, 5));
    machine.vm.setIrqLine(4, 1);
    machine.vm.setIrqLine(4, 0);
    expect(await machine.ended).toEqual({ reason: 'poweroff' });
  });

  test('the timer in the kernel ticks, and a halted vCPU wakes for it', async () => {
    const { end, machine } = await run(flat('timer', 'protected32'), 5);
    expect(end).toEqual({ reason: 'poweroff' });
    expect(machine.exitCounts[0][KVM_EXIT.HLT]).toBe(0);
  });

  test.each([2, 4])(
    'the boot processor of %i starts the others by INIT and STARTUP interrupts',
    async (cpus) => {
      const { end } = await run(flat('smp', 'long64', { cpus }), cpus - 1);
      expect(end).toEqual({ reason: 'poweroff' });
    },
  );

  test('pausing and resuming hundreds of times loses no byte of the serial port and repeats none', async () => {
    const path = join(tmpdir(), `tvmm-serial-${process.pid}-pause`);
    writeFileSync(path, '');
    const fd = openSync(path, 'w');
    const total = 20_000;
    try {
      await using machine = await Machine.create({ ...flat('serial-count', 'real16'), serialFd: fd });
      machine.memory.writeU32(PARAMETER, total);
      machine.start();
      let over = false;
      void machine.ended.then(() => {
        over = true;
      });
      let pauses = 0;
      for (; !over && pauses < 300; pauses++) {
        await machine.pause();
        const count = machine.exitCounts[0][KVM_EXIT.IO];
        await new Promise((next) => setImmediate(next));
        expect(machine.exitCounts[0][KVM_EXIT.IO]).toBe(count);
        await machine.resume();
      }
      expect(await machine.ended).toEqual({ reason: 'poweroff' });
      expect(pauses).toBeGreaterThan(10);
      const bytes = readFileSync(path);
      expect(bytes).toHaveLength(total);
      expect(bytes.findIndex((byte, i) => byte !== (i & 0xff))).toBe(-1);
    } finally {
      closeSync(fd);
      rmSync(path);
    }
  }, 60_000);

  test('four vCPUs, one in an endless loop and three that wait to be started, stop', async () => {
    await using machine = await Machine.create(flat('loop', 'real16', { cpus: 4 }));
    machine.start();
    await new Promise((next) => setTimeout(next, 50));
    expect(await machine.stop()).toEqual({ reason: 'stopped' });
  });

  test('a stop before the start, right after it and twice at once: each ends the machine', async () => {
    const before = await Machine.create(flat('loop', 'real16'));
    expect(await before.stop()).toEqual({ reason: 'stopped' });
    const after = await Machine.create(flat('loop', 'real16'));
    after.start();
    const ends = await Promise.all([after.stop(), after.stop()]);
    expect(ends).toEqual([{ reason: 'stopped' }, { reason: 'stopped' }]);
    expect(await after.stop()).toEqual({ reason: 'stopped' });
  });

  test('a machine is started once only, and a machine that does not run cannot be paused', async () => {
    const machine = await Machine.create(flat('loop', 'real16'));
    await expect(machine.pause()).rejects.toBeInstanceOf(MachineError);
    machine.start();
    expect(() => machine.start()).toThrow(MachineError);
    await machine.stop();
    expect(() => machine.start()).toThrow(MachineError);
    await expect(machine.pause()).rejects.toBeInstanceOf(MachineError);
  });

  test('machines leave no descriptor and no thread, however they end', async () => {
    const once = async () => {
      await run(flat('hello', 'real16'));
      await run(flat('hello', 'real16', { rng: true }));
      const unstarted = await Machine.create(flat('loop', 'real16', { cpus: 2, rng: true }));
      await unstarted.stop();
      const { end } = await run(flat('triple-fault', 'protected32'));
      expect(end.reason === 'failed' && end.error).toBeInstanceOf(GuestError);
      await expect(Machine.create(flat('hlt', 'real16', { memory: 4097 }))).rejects.toThrow();
      await expect(Machine.create({ ...flat('hlt', 'real16'), kernel: '/no/such/kernel' })).rejects.toThrow(
        /no\/such\/kernel/,
      );
    };
    // The first round starts what Node starts once.
    await once();
    const before = held();
    for (let i = 0; i < 3; i++) await once();
    expect(await threadsBackAt(before.threads)).toBeLessThanOrEqual(before.threads);
    expect(held().descriptors).toEqual(before.descriptors);
  }, 60_000);
});
