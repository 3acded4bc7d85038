import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createEventfd, drainEventfd } from '../sys/eventfd.js';
import { defaultRoutes, MsiRoutes } from './msi.js';
import { testContext } from './testing.js';

const MESSAGE = { addressLow: 0xfee0_1000, addressHigh: 0, data: 0x4031 };

test('a vector hands its message to KVM, without a routing table', () => {
  const context = testContext();
  const [vector] = new MsiRoutes(context).claim('disk', 1);
  vector.program(MESSAGE);
  vector.setMasked(false);
  vector.signal();
  expect(context.vm.calls).toEqual([{ call: 'signalMsi', ...MESSAGE }]);
  expect(context.eventfds.names).toEqual([]);
});

test('a masked vector remembers one interrupt and fires it when it is unmasked', () => {
  const context = testContext();
  const [vector] = new MsiRoutes(context).claim('disk', 1);
  vector.program(MESSAGE);
  vector.signal();
  vector.signal();
  expect(vector.pending).toBe(true);
  expect(context.vm.calls).toEqual([]);

  vector.setMasked(false);
  expect(context.vm.take('signalMsi')).toHaveLength(1);
  expect(vector.pending).toBe(false);
});

test('clearing a pending interrupt forgets it', () => {
  const context = testContext();
  const [vector] = new MsiRoutes(context).claim('disk', 1);
  vector.signal();
  vector.clearPending();
  vector.setMasked(false);
  expect(context.vm.calls).toEqual([]);
});

test('a message that KVM refuses loses that interrupt only', () => {
  const context = testContext();
  const [vector] = new MsiRoutes(context).claim('disk', 1);
  context.vm.refuse = () => true;
  vector.setMasked(false);
  expect(() => vector.signal()).not.toThrow();
});

test('programming a masked irqfd vector word by word costs one routing update, at unmasking', () => {
  const context = testContext();
  const [first, second] = new MsiRoutes(context).claim('net', 2, 'irqfd');
  expect(context.eventfds.names).toEqual(['net vector 0', 'net vector 1']);

  first.program({ addressLow: MESSAGE.addressLow });
  first.program({ addressHigh: MESSAGE.addressHigh });
  first.program({ data: MESSAGE.data });
  expect(context.vm.calls).toEqual([]);
  first.setMasked(false);

  expect(context.vm.calls).toEqual([
    { call: 'assignIrqfd', fd: first.fd, gsi: 24 },
    { call: 'setGsiRouting', routes: [...defaultRoutes(), { gsi: 24, ...MESSAGE }] },
  ]);
  context.vm.calls.length = 0;

  first.setMasked(true);
  first.setMasked(false);
  expect(context.vm.calls, 'the same message again').toEqual([]);

  second.program({ ...MESSAGE, data: 0x4041 });
  second.setMasked(false);
  const [update] = context.vm.take('setGsiRouting');
  expect(update.routes.slice(-2)).toEqual([
    { gsi: 24, ...MESSAGE },
    { gsi: 25, ...MESSAGE, data: 0x4041 },
  ]);
});

test('a live irqfd vector is routed anew when its message changes', () => {
  const context = testContext();
  const [vector] = new MsiRoutes(context).claim('net', 1, 'irqfd');
  vector.setMasked(false);
  context.vm.calls.length = 0;
  vector.program({ data: 0x4099 });
  expect(context.vm.take('setGsiRouting')).toHaveLength(1);
});

test('a route that KVM refuses does not keep the others out', () => {
  const context = testContext();
  const [good, bad] = new MsiRoutes(context).claim('net', 2, 'irqfd');
  good.program(MESSAGE);
  good.setMasked(false);
  context.vm.calls.length = 0;
  context.vm.refuse = (call) =>
    call.call === 'setGsiRouting' &&
    call.routes.some((route) => 'addressHigh' in route && route.addressHigh !== 0);
  bad.program({ ...MESSAGE, addressHigh: 0xff });
  expect(() => bad.setMasked(false)).not.toThrow();
  const last = context.vm.take('setGsiRouting').at(-1);
  expect(last?.routes.at(-1)).toEqual({ gsi: 24, ...MESSAGE });
});

test('an irqfd vector signals through its eventfd', () => {
  using file = createEventfd('vector');
  const context = { ...testContext(), eventfds: { next: () => file.fd } };
  const [vector] = new MsiRoutes(context).claim('net', 1, 'irqfd');
  vector.signal();
  expect(drainEventfd(file.fd)).toBe(false);
  vector.setMasked(false);
  expect(drainEventfd(file.fd)).toBe(true);
  vector.signal();
  expect(drainEventfd(file.fd)).toBe(true);
});

test('restoring registers irqfds and routes again, from the shared state alone', () => {
  const before = testContext();
  const [vector] = new MsiRoutes(before).claim('net', 1, 'irqfd');
  vector.program(MESSAGE);
  vector.setMasked(false);

  const after = testContext({ buffer: before.arena.buffer, isOwner: false });
  const routes = new MsiRoutes(after);
  routes.claim('net', 1, 'irqfd');
  routes.restore();
  expect(after.vm.calls.map(({ call }) => call)).toEqual(['assignIrqfd', 'setGsiRouting']);
});

test('a machine has at most 512 vectors', () => {
  const routes = new MsiRoutes(testContext());
  routes.claim('first', 500);
  expect(() => routes.claim('second', 13)).toThrow('no interrupt vectors left for second');
});

test('no order of programming, masking and signalling throws or loses an interrupt', () => {
  const word = fc.nat(0xffff_ffff);
  const step = fc.oneof(
    fc.record({ kind: fc.constant('program' as const), addressLow: word, addressHigh: word, data: word }),
    fc.record({ kind: fc.constant('mask' as const), masked: fc.boolean() }),
    fc.record({ kind: fc.constant('signal' as const) }),
  );
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const context = testContext();
      const [vector] = new MsiRoutes(context).claim('disk', 1);
      let owed = false;
      for (const action of steps) {
        if (action.kind === 'program') vector.program(action);
        else if (action.kind === 'mask') vector.setMasked(action.masked);
        else {
          vector.signal();
          owed = true;
        }
        if (owed && !vector.masked) {
          expect(context.vm.take('signalMsi').length).toBeGreaterThan(0);
          owed = false;
        }
      }
    }),
  );
});
