/**
 * Each exit of KVM by the guest of firmware/ that causes it, on any /dev/kvm: on the low-level handles, then in whole machines. A test that
 * this KVM cannot do says what is missing; the lab's KVM can do all of them.
 */
import { Worker } from 'node:worker_threads';
import { Bus, dumpVcpu, handleExit, kickThread, Outcome, Request, State, VcpuControl } from 'tvmm';
import { Vcpu } from 'tvmm/kvm';
import { afterEach, describe, expect, test } from 'vitest';
import {
  BUFFER,
  firmware,
  MicroGuest,
  MMIO_TEST,
  type Mode,
  missing,
  NoExitError,
  outBytes,
  outValues,
  PORT_TEST,
} from './support/micro-guest.js';

const noKvm = missing();
const text = (bytes: readonly number[]) => Buffer.from(bytes).toString('latin1');

describe.skipIf(noKvm !== undefined)(
  `exits, one vCPU, no devices${noKvm === undefined ? '' : ` (${noKvm})`}`,
  () => {
    test('OUT and IN of 1, 2 and 4 bytes exit as IO and carry their data each way', () => {
      using guest = new MicroGuest('pio', 'real16');
      const exits = guest.runToHalt([0xa1, 0xb2, 0xb1, 0xc4, 0xc3, 0xc2, 0xc1]);
      expect(
        exits.map((exit) => exit.reason === 'io' && [exit.direction, exit.size, exit.count, exit.port]),
      ).toEqual([
        ['out', 1, 1, PORT_TEST],
        ['out', 2, 1, PORT_TEST],
        ['out', 4, 1, PORT_TEST],
        ['in', 1, 1, PORT_TEST],
        ['out', 4, 1, PORT_TEST],
        ['in', 2, 1, PORT_TEST],
        ['out', 4, 1, PORT_TEST],
        ['in', 4, 1, PORT_TEST],
        ['out', 4, 1, PORT_TEST],
      ]);
      expect(outValues(exits)).toEqual([0x11, 0x2222, 0x4444_4444, 0xa1, 0xb1b2, 0xc1c2_c3c4]);
    });

    test('repeated string I/O gives all its bytes in order, forwards and backwards, however KVM splits it', () => {
      using guest = new MicroGuest('pio-string', 'protected32');
      const exits = guest.runToHalt([...Buffer.from('tvmm42')]);
      expect(text(outBytes(exits).slice(0, 34))).toBe('hellohello,hello, wtvmm42ollehtvmm');
      expect(outBytes(exits)).toHaveLength(30 + 5000);
      const read = exits.flatMap((exit) =>
        exit.reason === 'io' && exit.direction === 'in' ? [exit.size * exit.count] : [],
      );
      expect(read.reduce((sum, bytes) => sum + bytes, 0)).toBe(6);
      expect(text([...guest.memory.bytes(BUFFER, 6)])).toBe('tvmm42');
    });

    test('stores and loads of 1 to 8 bytes outside RAM exit as MMIO; one that straddles a page exits for each page', () => {
      using guest = new MicroGuest('mmio', 'long64');
      const input = [0xa1, 0xb2, 0xb1, 0xc4, 0xc3, 0xc2, 0xc1, 1, 2, 3, 4, 5, 6, 7, 8];
      const exits = guest
        .runToHalt(input)
        .map((exit) =>
          exit.reason === 'mmio'
            ? [
                exit.write ? 'write' : 'read',
                exit.address - MMIO_TEST,
                exit.write ? [...exit.data.subarray(0, exit.length)] : exit.length,
              ]
            : [exit.reason],
        );
      expect(exits).toEqual([
        ['write', 0, [0x11]],
        ['write', 2, [0x22, 0x22]],
        ['write', 4, [0x44, 0x44, 0x44, 0x44]],
        ['write', 8, [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]],
        ['read', 0x10, 1],
        ['write', 0x20, [0xa1, 0, 0, 0]],
        ['read', 0x12, 2],
        ['write', 0x20, [0xb2, 0xb1, 0, 0]],
        ['read', 0x14, 4],
        ['write', 0x20, [0xc4, 0xc3, 0xc2, 0xc1]],
        ['read', 0x18, 8],
        ['write', 0x20, [1, 2, 3, 4, 5, 6, 7, 8]],
        ['write', 0x31, [0x11, 0x22]],
        ['write', 0x43, [0x11, 0x22, 0x33, 0x44]],
        ['write', 0xffe, [0x11, 0x22]],
        ['write', 0x1000, [0x33, 0x44]],
      ]);
    });

    test.each(['real16', 'protected32', 'long64'] satisfies Mode[])(
      'HLT exits without interrupt controllers, in %s',
      (mode) => {
        using guest = new MicroGuest('hlt', mode);
        expect(guest.next()).toEqual({ reason: 'hlt' });
        expect(guest.vcpu.getRegs().get64('rip')).toBe(0x1001n);
      },
    );

    test('a triple fault exits as SHUTDOWN and leaves the registers to read', () => {
      using guest = new MicroGuest('triple-fault', 'protected32');
      expect(guest.next()).toEqual({ reason: 'shutdown' });
      expect(handleExit(guest.view, { pio: new Bus('PIO'), mmio: new Bus('MMIO') })).toBe(Outcome.Shutdown);
      expect(dumpVcpu(guest.vcpu)).toMatchObject({ cr0: expect.stringMatching(/^0x/) });
    });

    test('the guest reads exactly the CPUID that was set', () => {
      using guest = new MicroGuest('cpuid', 'protected32');
      guest.vcpu.setCpuid([
        { function: 0, index: 0, flags: 0, eax: 1, ebx: 0x6d6d7674, ecx: 3, edx: 4 },
        { function: 1, index: 0, flags: 0, eax: 0x0001_0203, ebx: 0, ecx: 0x8000_0000, edx: 0x0000_0031 },
        { function: 0x4000_0000, index: 0, flags: 0, eax: 0x4000_0001, ebx: 7, ecx: 8, edx: 9 },
        { function: 0x4000_0001, index: 0, flags: 0, eax: 10, ebx: 11, ecx: 12, edx: 13 },
      ]);
      const values = outValues(guest.runToHalt());
      expect(values.slice(0, 5)).toEqual([0, 1, 0x6d6d7674, 3, 4]);
      expect(values[5]).toBe(1);
      expect(values[6]).toBe(0x0001_0203);
      expect(values.slice(10)).toEqual([0x4000_0000, 0x4000_0001, 7, 8, 9, 0x4000_0001, 10, 11, 12, 13]);
    });

    const noMsr = missing('X86_USER_SPACE_MSR');
    test.skipIf(noMsr !== undefined)(
      `an unknown MSR exits to user space, whose answer the guest sees ${noMsr ?? ''}`,
      () => {
        using guest = new MicroGuest('msr', 'protected32');
        guest.vm.enableCapability('X86_USER_SPACE_MSR', 0b111);
        expect(guest.next()).toMatchObject({ reason: 'rdmsr', index: 0x0bad_f00d });
        guest.view.data.setBigUint64(32 + 16, 0x1111_2222_3333_4444n, true);
        const read = [guest.next(), guest.next()];
        expect(outValues(read)).toEqual([0x3333_4444, 0x1111_2222]);
        expect(guest.next()).toMatchObject({
          reason: 'wrmsr',
          index: 0x0bad_f00d,
          data: 0x1122_3344_5566_7788n,
        });
        expect(guest.next()).toEqual({ reason: 'hlt' });
      },
    );

    test.skipIf(noMsr !== undefined)(
      `an MSR that the machine refuses raises #GP in the guest ${noMsr ?? ''}`,
      () => {
        using guest = new MicroGuest('msr', 'protected32');
        guest.vm.enableCapability('X86_USER_SPACE_MSR', 0b111);
        const buses = { pio: new Bus('PIO'), mmio: new Bus('MMIO') };
        const bytes: number[] = [];
        for (let exit = guest.next(); exit.reason !== 'hlt'; exit = guest.next()) {
          if (exit.reason === 'io' && exit.size === 1) bytes.push(...exit.data);
          expect(handleExit(guest.view, buses)).toBe(Outcome.Continue);
        }
        expect(bytes).toEqual([13, 13]);
      },
    );

    const noDebug = missing('SET_GUEST_DEBUG');
    test.skipIf(noDebug !== undefined)(
      `single-stepping exits as DEBUG behind each instruction ${noDebug ?? ''}`,
      () => {
        using guest = new MicroGuest('debug', 'protected32');
        guest.vcpu.setGuestDebug(0b11);
        const stops = Array.from({ length: 4 }, () => [
          guest.next().reason,
          Number(guest.vcpu.getRegs().get64('rip')),
        ]);
        expect(stops).toEqual([
          ['debug', 0x1005],
          ['debug', 0x1006],
          ['debug', 0x1007],
          ['debug', 0x1008],
        ]);
      },
    );

    test.skipIf(noDebug !== undefined)(
      `a breakpoint instruction exits as DEBUG ${noDebug ?? ''}`,
      ({ skip }) => {
        using guest = new MicroGuest('debug', 'protected32');
        guest.vcpu.setGuestDebug(0x10001);
        const exit = guest.next();
        skip(
          exit.reason === 'internal-error',
          'no hardware virtualization: this KVM interprets the guest and knows no INT3',
        );
        expect(exit).toEqual({ reason: 'debug' });
        expect(guest.vcpu.getRegs().get64('rip')).toBe(0x1008n);
      },
    );

    const noHypercall = missing('EXIT_HYPERCALL');
    test.skipIf(noHypercall !== undefined)(
      `a hypercall exits and gets the answer that there is none ${noHypercall ?? ''}`,
      ({ skip }) => {
        using guest = new MicroGuest('hypercall', 'long64');
        guest.vm.enableCapability('EXIT_HYPERCALL', 1 << 12);
        try {
          expect(guest.next()).toEqual({ reason: 'hypercall', number: 12n });
        } catch (error) {
          skip(error instanceof NoExitError, 'no hardware virtualization: this KVM never gets past VMMCALL');
          throw error;
        }
        expect(handleExit(guest.view, { pio: new Bus('PIO'), mmio: new Bus('MMIO') })).toBe(Outcome.Continue);
        expect(outValues([guest.next()])).toEqual([2 ** 32 - 1000]);
      },
    );

    test('an endless loop is left by a signal, as EINTR', () => {
      using guest = new MicroGuest('loop', 'long64');
      // The request was made before KVM_RUN: immediate_exit closes the race.
      guest.view.immediateExit = 1;
      expect(() => guest.next()).toThrow(NoExitError);
      expect(guest.vcpu.getRegs().get64('rip')).toBe(0x1000n);
    });

    const noReadOnly = missing('READONLY_MEM');
    test.skipIf(noReadOnly !== undefined)(
      `a write to read-only memory exits as MMIO and changes nothing ${noReadOnly ?? ''}`,
      async () => {
        const { GuestMemory } = await import('tvmm/memory');
        using memory = GuestMemory.create([
          { gpa: 0, size: 2 ** 20 },
          { gpa: 0x20_0000, size: 0x1000, readOnly: true },
        ]);
        // mov dword [0x200000], 0x44332211; mov eax, [0x200000]; mov dx, 0x500; out dx, eax; hlt
        const code = Uint8Array.of(
          0xc7,
          5,
          0,
          0,
          0x20,
          0,
          0x11,
          0x22,
          0x33,
          0x44,
          0xa1,
          0,
          0,
          0x20,
          0,
          0x66,
          0xba,
          0,
          5,
          0xef,
          0xf4,
        );
        using guest = new MicroGuest(code, 'protected32', { memory });
        memory.writeU32(0x20_0000, 0x600d_f00d);
        const exits = guest.runToHalt();
        expect(exits[0]).toMatchObject({ reason: 'mmio', address: 0x20_0000, length: 4, write: true });
        expect(outValues(exits)).toEqual([0x600d_f00d]);
      },
    );

    test('the dirty log names the pages that the guest wrote, once', () => {
      // mov byte [0x9000], 1; mov byte [0x12345], 1; hlt
      const code = Uint8Array.of(0xc6, 5, 0, 0x90, 0, 0, 1, 0xc6, 5, 0x45, 0x23, 1, 0, 1, 0xf4);
      using guest = new MicroGuest(code, 'protected32');
      guest.memory.setDirtyLogging(guest.vm, true);
      guest.memory.dirtyPages(guest.vm);
      expect(guest.next()).toEqual({ reason: 'hlt' });
      const dirty = guest.memory.dirtyPages(guest.vm);
      expect(dirty).toEqual(expect.arrayContaining([0x9000, 0x1_2000]));
      // KVM also counts what it maps writable, e.g. the code's page, and what the processor writes itself (accessed bits).
      const own = [0x1000, 0x9000, 0x1_2000];
      expect(dirty.filter((gpa) => gpa < 0x9_0000 && !own.includes(gpa))).toEqual([]);
      expect(guest.memory.dirtyPages(guest.vm)).toEqual([]);
    });
  },
);

/** A vCPU in a thread of its own that counts OUTs, and the control thread's side of it. */
class CountingGuest implements AsyncDisposable {
  readonly guest: MicroGuest;
  readonly seen = new Int32Array(new SharedArrayBuffer(8));
  readonly control: VcpuControl;
  readonly ended: Promise<{ kind: string }>;
  readonly #worker: Worker;

  constructor(total: number) {
    this.guest = new MicroGuest('counter', 'protected32', { parameter: total });
    const controlBuffer = VcpuControl.bufferFor(1);
    this.control = new VcpuControl(controlBuffer, 0);
    const { vcpu } = this.guest;
    const workerData = {
      fd: vcpu.fd,
      mmapSize: vcpu.run.length,
      controlBuffer,
      seen: this.seen,
      port: PORT_TEST,
    };
    this.#worker = new Worker(new URL('./support/counting-vcpu.mjs', import.meta.url), { workerData });
    this.ended = new Promise((resolve, reject) => {
      this.#worker.once('error', reject);
      this.#worker.once('message', (end: { kind: string }) => {
        this.control.setState(State.Stopped);
        resolve(end);
      });
    });
  }

  /** What Machine does: request, immediate_exit, kick; no repetition, so that a lost kick shows. */
  ask(request: Request): void {
    this.control.setRequest(request);
    if (this.control.threadId === 0) return;
    this.guest.view.immediateExit = 1;
    kickThread(this.control.threadId);
  }

  async reach(...states: State[]): Promise<void> {
    const deadline = performance.now() + 20_000;
    while (!states.includes(this.control.state)) {
      if (performance.now() > deadline)
        throw new Error(`the vCPU stays in state ${State[this.control.state]}`);
      await this.control.stateChange(this.control.state, 1000);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.ask(Request.Stop);
    await this.#worker.terminate();
    this.guest[Symbol.dispose]();
  }
}

describe.skipIf(noKvm !== undefined)('pausing a vCPU', () => {
  let failed: CountingGuest | undefined;
  afterEach(async () => {
    await failed?.[Symbol.asyncDispose]();
    failed = undefined;
  });

  test('hundreds of pauses lose no exit, repeat none and keep the order; a paused guest stands still', async () => {
    const total = 60_000;
    const counting = new CountingGuest(total);
    failed = counting;
    let pauses = 0;
    await counting.reach(State.Running, State.Stopped);
    while (pauses < 400) {
      counting.ask(Request.Pause);
      await counting.reach(State.Paused, State.Stopped);
      if (counting.control.state === State.Stopped) break;
      const before = counting.seen[0];
      // The access is complete: EAX, which counts, is past what the device saw, or about to be sent.
      const eax = Number(counting.guest.vcpu.getRegs().get64('rax'));
      expect(eax - before === 0 || eax - before === -1, `EAX ${eax}, seen ${before}`).toBe(true);
      expect(counting.seen[0]).toBe(before);
      pauses++;
      counting.ask(Request.Run);
      await counting.reach(State.Running, State.Stopped);
    }
    expect(await counting.ended).toMatchObject({ kind: 'halted' });
    expect([...counting.seen]).toEqual([total, 0]);
    expect(pauses).toBeGreaterThan(20);
  }, 60_000);

  test('kicks at any moment, without a pause, change nothing', async () => {
    const total = 30_000;
    const counting = new CountingGuest(total);
    failed = counting;
    while (counting.control.threadId === 0) await new Promise((next) => setTimeout(next, 1));
    while (counting.control.state !== State.Stopped) {
      for (let i = 0; i < 20; i++) kickThread(counting.control.threadId);
      await new Promise((next) => setImmediate(next));
    }
    expect(await counting.ended).toMatchObject({ kind: 'halted' });
    expect([...counting.seen]).toEqual([total, 0]);
  }, 60_000);

  test('a stop during a pause ends the vCPU, and no later request revives it', async () => {
    await using counting = new CountingGuest(2 ** 31 - 1);
    await counting.reach(State.Running);
    counting.ask(Request.Pause);
    await counting.reach(State.Paused);
    counting.ask(Request.Stop);
    counting.ask(Request.Run);
    expect(await counting.ended).toEqual({ kind: 'stopped' });
    expect(counting.control.request).toBe(Request.Stop);
  });
});

test.skipIf(noKvm !== undefined)('a borrowed vCPU handle leaves the descriptor to its owner', () => {
  using guest = new MicroGuest('hlt', 'real16');
  {
    using _other = Vcpu.borrow(guest.vcpu.fd, 0, guest.vcpu.run.length);
  }
  expect(guest.next()).toEqual({ reason: 'hlt' });
  expect(firmware('hlt')).toHaveLength(1);
});
