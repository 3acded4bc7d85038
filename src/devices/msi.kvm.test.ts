import { expect, test } from 'vitest';
import { Kvm } from '../kvm/kvm.js';
import type { Vm } from '../kvm/vm.js';
import { ArrayRam } from '../memory/fake-ram.js';
import { EventfdOwner } from './context.js';
import { SharedInterruptLine } from './irq.js';
import { MsiRoutes } from './msi.js';
import { StateArena } from './state.js';

/** Why nothing can be tested here, or undefined. */
function reasonToSkip(): string | undefined {
  try {
    Kvm.open()[Symbol.dispose]();
    return undefined;
  } catch (error) {
    return `no /dev/kvm: ${String(error)}`;
  }
}

const skip = reasonToSkip();

function onVm(check: (vm: Vm, context: ConstructorParameters<typeof MsiRoutes>[0]) => void): void {
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  vm.createIrqchip();
  using eventfds = new EventfdOwner();
  const ram = new ArrayRam(4096);
  check(vm, { arena: new StateArena(), ram, vm, eventfds, request: () => undefined, isOwner: true });
}

test('a real VM takes our routing table and irqfds', (ctx) => {
  if (skip !== undefined) ctx.skip(skip);
  onVm((_vm, context) => {
    const vectors = new MsiRoutes(context).claim('device', 3, 'irqfd');
    for (const [i, vector] of vectors.entries()) {
      vector.program({ addressLow: 0xfee0_0000, addressHigh: 0, data: 0x4040 + i });
      vector.setMasked(false);
    }
    expect(vectors.every((vector) => vector.route !== undefined)).toBe(true);
    expect(() => vectors[0].signal()).not.toThrow();
  });
});

test('a real VM survives messages that make no sense', (ctx) => {
  if (skip !== undefined) ctx.skip(skip);
  onVm((_vm, context) => {
    const routes = new MsiRoutes(context);
    for (const vector of [...routes.claim('a', 1), ...routes.claim('b', 1, 'irqfd')]) {
      vector.program({ addressLow: 0xffff_ffff, addressHigh: 0xffff_ffff, data: 0xffff_ffff });
      expect(() => vector.setMasked(false)).not.toThrow();
      expect(() => vector.signal()).not.toThrow();
    }
  });
});

test('a real VM takes the level of a shared line', (ctx) => {
  if (skip !== undefined) ctx.skip(skip);
  onVm((_vm, context) => {
    const input = new SharedInterruptLine(context, 17).connect('device');
    expect(() => input.setLevel(true)).not.toThrow();
    expect(() => input.setLevel(false)).not.toThrow();
  });
});
