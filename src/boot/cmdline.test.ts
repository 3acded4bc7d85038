import fc from 'fast-check';
import { expect, test } from 'vitest';
import { mergeCmdline, splitCmdline, virtioMmioParam } from './cmdline.js';
import { CommandLineError } from './errors.js';

test('parameters are split at spaces outside of quotes', () => {
  expect(splitCmdline('a=1  b="x y" c\t"d e"=f')).toEqual({
    params: ['a=1', 'b="x y"', 'c', '"d e"=f'],
    initArgs: undefined,
  });
});

test('what follows -- belongs to init', () => {
  expect(splitCmdline('quiet -- single a=b')).toEqual({ params: ['quiet'], initArgs: 'single a=b' });
});

test('defaults come first, and the user wins by name', () => {
  expect(mergeCmdline(['console=ttyS0', 'panic=-1'], 'console=tty0 console=hvc0 quiet')).toBe(
    'panic=-1 console=tty0 console=hvc0 quiet',
  );
});

test('- and _ are the same in a name, as in the kernel', () => {
  expect(mergeCmdline(['rcu-x.a_b=1'], 'rcu_x.a-b=2')).toBe('rcu_x.a-b=2');
});

test('arguments of init stay behind everything', () => {
  expect(mergeCmdline(['panic=-1'], 'quiet -- sh  -c "a  b"')).toBe('panic=-1 quiet -- sh  -c "a  b"');
  expect(mergeCmdline(['panic=-1'], '--')).toBe('panic=-1 --');
});

test('line breaks are refused', () => {
  expect(() => mergeCmdline([], 'a\nb')).toThrow(CommandLineError);
});

test('virtio-mmio devices are written as the driver reads them', () => {
  expect(virtioMmioParam({ base: 0xd0000000, size: 0x1000, gsi: 5 })).toBe(
    'virtio_mmio.device=4K@0xd0000000:5',
  );
  expect(virtioMmioParam({ base: 0xd0001000, size: 0x200, gsi: 6, id: 1 })).toBe(
    'virtio_mmio.device=512@0xd0001000:6:1',
  );
});

test('any text splits without loss, and merging twice changes nothing', () => {
  const anyText = fc.string({ unit: fc.constantFrom('a', '"', ' ', '=', '\t', '-', 'ä') });
  fc.assert(
    fc.property(anyText, (line) => {
      const { params, initArgs } = splitCmdline(line);
      if (initArgs === undefined) expect(params.join('').replace(/\s/g, '')).toBe(line.replace(/\s/g, ''));
      const once = mergeCmdline([], line);
      expect(mergeCmdline([], once)).toBe(once);
    }),
  );
});
