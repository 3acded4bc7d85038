import { describe, expect, it } from 'vitest';
import { cpuV2, ioV2, memoryV2, unified } from './apply-v2.js';
import { FakeFiles } from './fake-files.js';
import type { OciMemory } from './resources.js';

describe('memory on v2', () => {
  const files = () => FakeFiles.named('memory.max', 'memory.swap.max', 'memory.low', 'memory.current');

  it('has swap apart from memory, -1 as max, and a reservation as memory.low', () => {
    const here = files();
    memoryV2(here, { limit: 1000, swap: 1500, reservation: 200 });
    memoryV2(here, { limit: -1 });
    expect(here.log).toEqual([
      'memory.swap.max 500',
      'memory.max 1000',
      'memory.low 200',
      'memory.swap.max max',
      'memory.max max',
    ]);
  });

  it('counts a change of swap alone from the limit that is in force', () => {
    const here = files();
    memoryV2(here, { limit: 1000 });
    memoryV2(here, { swap: 1200 });
    expect(here.log).toEqual(['memory.max 1000', 'memory.swap.max 200']);
    expect(() => memoryV2(files(), { swap: 1200 })).toThrow('without memory.limit');
  });

  it('bears a kernel without swap accounting as long as no swap is to be had', () => {
    const here = FakeFiles.named('memory.max');
    memoryV2(here, { limit: 1000, swap: 1000 });
    memoryV2(here, { limit: -1 });
    expect(here.log).toEqual(['memory.max 1000', 'memory.max max']);
    expect(() => memoryV2(here, { limit: 1000, swap: 1001 })).toThrow('has no file memory.swap.max');
  });

  it.each<[OciMemory, string]>([
    [{ kernel: 5 }, 'memory.kernel'],
    [{ kernelTCP: 5 }, 'memory.kernelTCP'],
    [{ swappiness: 60 }, 'memory.swappiness'],
    [{ disableOOMKiller: true }, 'memory.disableOOMKiller'],
    [{ useHierarchy: false }, 'memory.useHierarchy'],
  ])('refuses %j: cgroup v2 has no such thing', (memory, field) => {
    expect(() => memoryV2(files(), memory)).toThrow(`cgroup v2 has nothing like ${field}`);
  });

  it('accepts what asks for nothing', () => {
    const here = files();
    memoryV2(here, { kernel: -1, kernelTCP: 0, disableOOMKiller: false, useHierarchy: true });
    expect(here.log).toEqual([]);
  });

  it('compares with what is in use when it is told to', () => {
    const here = new FakeFiles({ 'memory.max': '', 'memory.current': '5000\n' });
    expect(() => memoryV2(here, { limit: 4096, checkBeforeUpdate: true })).toThrow('5000 bytes are in use');
    memoryV2(here, { limit: 4096 });
    memoryV2(here, { limit: 5001, checkBeforeUpdate: true });
    expect(here.log).toEqual(['memory.max 4096', 'memory.max 5001']);
  });
});

describe('cpu on v2', () => {
  it('has shares as weight, and changes quota and period apart', () => {
    const files = new FakeFiles({ 'cpu.weight': '', 'cpu.max': 'max 100000\n' });
    cpuV2(files, { shares: 1024, quota: 5000 });
    cpuV2(files, { period: 50_000 });
    cpuV2(files, { quota: -1 });
    expect(files.log).toEqual([
      'cpu.weight 100',
      'cpu.max 5000 100000',
      'cpu.max 5000 50000',
      'cpu.max max 50000',
    ]);
  });

  it('tries a burst again that the old quota does not bear', () => {
    const files = new FakeFiles({ 'cpu.max': 'max 100000', 'cpu.max.burst': '' }, (file, _value, content) =>
      file === 'cpu.max.burst' && content.get('cpu.max')?.startsWith('max') ? 'EINVAL' : undefined,
    );
    cpuV2(files, { quota: 1000, burst: 500 });
    expect(files.log).toEqual(['cpu.max 1000 100000', 'cpu.max.burst 500']);
  });

  it('has no realtime budget, and says so', () => {
    expect(() => cpuV2(new FakeFiles(), { realtimeRuntime: 5 })).toThrow('nothing like cpu.realtimeRuntime');
    cpuV2(new FakeFiles(), { realtimePeriod: 0 });
  });
});

describe('io on v2', () => {
  it('takes BFQ weights as they are, and others converted', () => {
    const bfq = FakeFiles.named('io.bfq.weight');
    ioV2(bfq, { weight: 500, weightDevice: [{ major: 8, minor: 0, weight: 100 }] });
    expect(bfq.log).toEqual(['io.bfq.weight 500', 'io.bfq.weight 8:0 100']);
    const plain = FakeFiles.named('io.weight');
    ioV2(plain, { weight: 500 });
    expect(plain.log).toEqual(['io.weight 4950']);
    expect(() => ioV2(plain, { leafWeight: 5 })).toThrow('nothing like blockIO.leafWeight');
  });

  it('throttles by io.max', () => {
    const files = FakeFiles.named('io.max');
    const at = (rate: number) => [{ major: 8, minor: 0, rate }];
    ioV2(files, { throttleReadBpsDevice: at(7), throttleWriteIOPSDevice: at(0) });
    expect(files.log).toEqual(['io.max 8:0 rbps=7', 'io.max 8:0 wiops=max']);
  });
});

describe('unified', () => {
  it('writes line by line into files that it does not know', () => {
    const files = FakeFiles.named('io.max', 'memory.high', 'cgroup.max.depth');
    unified(files, { 'io.max': '8:0 rbps=1\n8:16 wbps=2\n', 'memory.high': '5', 'cgroup.max.depth': '3' }, [
      'io',
      'memory',
    ]);
    expect(files.log).toEqual([
      'io.max 8:0 rbps=1',
      'io.max 8:16 wbps=2',
      'memory.high 5',
      'cgroup.max.depth 3',
    ]);
  });

  it('names the controller that is not there', () => {
    expect(() => unified(new FakeFiles(), { 'hugetlb.1GB.max': '0' }, ['cpu'])).toThrow(
      'cannot set unified hugetlb.1GB.max: invalid configuration: there is no hugetlb controller in /fake',
    );
  });

  it.each(['../memory.max', 'memory', 'memory.max/../../x', '', 'a.\0'])(
    '%j is no file of a cgroup',
    (file) => {
      expect(() => unified(new FakeFiles(), { [file]: '1' }, ['memory'])).toThrow('is no file of a cgroup');
    },
  );
});
