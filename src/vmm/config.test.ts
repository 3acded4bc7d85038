import { expect, test } from 'vitest';
import { ConfigError, completeConfig, type MachineConfig } from './config.js';

test('a kernel alone is a machine: everything else has a default', () => {
  expect(completeConfig({ kernel: 'vmlinux' })).toEqual({
    kernel: 'vmlinux',
    initrd: [],
    cmdline: '',
    protocol: 'auto',
    flat: undefined,
    cpus: 1,
    memory: 256 * 2 ** 20,
    hugePages: 'transparent',
    memoryBacking: 'anonymous',
    cpuMask: [],
    drives: [],
    transport: 'pci',
    serialFd: -1,
    ports: [],
    rng: true,
    blockEngine: 'auto',
    irqchip: true,
    kvmPath: '/dev/kvm',
  });
});

test('what is given is kept', () => {
  const config: MachineConfig = {
    kernel: 'k',
    cpus: 4,
    irqchip: false,
    rng: false,
    serialFd: 0,
    cmdline: 'x',
  };
  expect(completeConfig(config)).toMatchObject(config);
});

test('a flat binary gets no entropy device unless it asks for one', () => {
  expect(completeConfig({ kernel: 'k', flat: { mode: 'real16' } }).rng).toBe(false);
  expect(completeConfig({ kernel: 'k', flat: { mode: 'real16' }, rng: true }).rng).toBe(true);
});

test('the caller’s config is not changed', () => {
  const config = Object.freeze({ kernel: 'k', drives: Object.freeze([Object.freeze({ path: 'a' })]) });
  expect(() => completeConfig(config)).not.toThrow();
});

test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('%d vCPUs are refused', (cpus) => {
  expect(() => completeConfig({ kernel: 'k', cpus })).toThrow(ConfigError);
});

test('two drives of one name, and more drives than there are slots, are refused', () => {
  const twice = [
    { path: 'a', id: 'x' },
    { path: 'b', id: 'x' },
  ];
  expect(() => completeConfig({ kernel: 'k', drives: twice })).toThrow(/"x"/);
  const many = (count: number) => Array.from({ length: count }, (_, i) => ({ path: `${i}` }));
  expect(() => completeConfig({ kernel: 'k', drives: many(25) })).toThrow(/25 drives/);
  expect(completeConfig({ kernel: 'k', drives: many(24) }).drives).toHaveLength(24);
});
