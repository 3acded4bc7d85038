import { expect, test } from 'vitest';
import { SharedInterruptLine } from './irq.js';
import { testContext } from './testing.js';

test('the line is high while any of its devices pulls it, and KVM hears of changes only', () => {
  const context = testContext();
  const line = new SharedInterruptLine(context, 17);
  const first = line.connect('first');
  const second = line.connect('second');

  first.setLevel(true);
  first.setLevel(true);
  second.setLevel(true);
  first.setLevel(false);
  expect(line.asserted).toBe(true);
  second.setLevel(false);
  second.setLevel(false);

  expect(line.asserted).toBe(false);
  expect(context.vm.take('setIrqLine')).toEqual([
    { call: 'setIrqLine', gsi: 17, level: 1 },
    { call: 'setIrqLine', gsi: 17, level: 0 },
  ]);
});

test('two threads that build the same line drive the same level', () => {
  const main = testContext();
  const other = testContext({ buffer: main.arena.buffer, isOwner: false, vm: main.vm });
  const lines = [main, other].map((context) => new SharedInterruptLine(context, 16).connect('device'));

  lines[0].setLevel(true);
  lines[1].setLevel(true);
  lines[1].setLevel(false);

  expect(main.vm.take('setIrqLine').map(({ level }) => level)).toEqual([1, 0]);
});

test('all 32 inputs work, and a 33rd is refused', () => {
  const context = testContext();
  const line = new SharedInterruptLine(context, 18);
  const inputs = Array.from({ length: 32 }, (_, i) => line.connect(`device ${i}`));

  inputs[31].setLevel(true);
  inputs[0].setLevel(true);
  inputs[31].setLevel(false);
  expect(line.asserted).toBe(true);
  inputs[0].setLevel(false);

  expect(line.asserted).toBe(false);
  expect(context.vm.take('setIrqLine')).toHaveLength(2);
  expect(() => line.connect('one more')).toThrow('GSI 18 has no input left for one more');
});
