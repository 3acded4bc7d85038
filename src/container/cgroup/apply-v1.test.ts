import { describe, expect, it } from 'vitest';
import {
  blkioV1,
  cpuset,
  cpuV1,
  hugetlb,
  memoryV1,
  networkClass,
  networkPriorities,
  pids,
  rdma,
} from './apply-v1.js';
import { CgroupLimitError } from './errors.js';
import { FakeFiles, type Judge } from './fake-files.js';

const MEMORY = {
  'memory.limit_in_bytes': '9223372036854771712',
  'memory.memsw.limit_in_bytes': '9223372036854771712',
  'memory.usage_in_bytes': '5000',
  'memory.soft_limit_in_bytes': '',
  'memory.kmem.limit_in_bytes': '',
  'memory.swappiness': '60',
  'memory.use_hierarchy': '1\n',
  'memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\n',
};

/** The kernel's rule: memory alone is never more than memory and swap. */
const memoryRule: Judge = (file, value, content) => {
  const limit = Number(file === 'memory.limit_in_bytes' ? value : content.get('memory.limit_in_bytes'));
  const swap = Number(
    file === 'memory.memsw.limit_in_bytes' ? value : content.get('memory.memsw.limit_in_bytes'),
  );
  return (swap < 0 ? 2 ** 64 : swap) < (limit < 0 ? 2 ** 64 : limit) ? 'EINVAL' : undefined;
};

describe('memory on v1', () => {
  it('takes limit and swap in the order that the kernel accepts, up and down', () => {
    const files = new FakeFiles(MEMORY, memoryRule);
    memoryV1(files, { limit: 1000, swap: 2000 });
    memoryV1(files, { limit: 5000, swap: 6000 });
    memoryV1(files, { limit: 100, swap: 100 });
    memoryV1(files, { limit: -1, swap: -1 });
    expect(files.log).toEqual([
      'memory.limit_in_bytes 1000',
      'memory.memsw.limit_in_bytes 2000',
      'memory.memsw.limit_in_bytes 6000',
      'memory.limit_in_bytes 5000',
      'memory.limit_in_bytes 100',
      'memory.memsw.limit_in_bytes 100',
      'memory.memsw.limit_in_bytes -1',
      'memory.limit_in_bytes -1',
    ]);
  });

  it('lifts the limit of swap with that of memory', () => {
    const files = new FakeFiles({ ...MEMORY, 'memory.limit_in_bytes': '5' }, memoryRule);
    memoryV1(files, { limit: -1 });
    expect(files.log).toEqual(['memory.memsw.limit_in_bytes -1', 'memory.limit_in_bytes -1']);
  });

  it('needs swap accounting only for a limit of swap', () => {
    const files = FakeFiles.named('memory.limit_in_bytes');
    memoryV1(files, { limit: -1, swap: -1 });
    expect(() => memoryV1(files, { limit: 10, swap: 20 })).toThrow(
      'cannot set memory.swap to 20: the memory controller has no file memory.memsw.limit_in_bytes in /fake',
    );
  });

  it('refuses swap below the limit before it writes anything', () => {
    const files = new FakeFiles(MEMORY);
    expect(() => memoryV1(files, { limit: 20, swap: 10 })).toThrow(CgroupLimitError);
    expect(files.log).toEqual([]);
  });

  it('says how much is in use when the limit is below it', () => {
    const files = new FakeFiles(MEMORY, () => 'EBUSY');
    expect(() => memoryV1(files, { limit: 4096 })).toThrow(
      'cannot set memory.limit to 4096: 5000 bytes are in use',
    );
  });

  it('says that the limit of memory and swap stands in the way of a higher one of memory', () => {
    const files = new FakeFiles(
      { ...MEMORY, 'memory.limit_in_bytes': '100', 'memory.memsw.limit_in_bytes': '100' },
      memoryRule,
    );
    expect(() => memoryV1(files, { limit: 200 })).toThrow('memory and swap together are limited to 100');
  });

  it('writes flags only where they change', () => {
    const files = new FakeFiles(MEMORY);
    memoryV1(files, { useHierarchy: true, disableOOMKiller: false });
    expect(files.log).toEqual([]);
    memoryV1(files, { disableOOMKiller: true, swappiness: 0, reservation: 7, kernel: 9 });
    expect(files.log).toEqual([
      'memory.soft_limit_in_bytes 7',
      'memory.kmem.limit_in_bytes 9',
      'memory.swappiness 0',
      'memory.oom_control 1',
    ]);
  });

  it('refuses a kernel limit that this kernel cannot have, unless it is none', () => {
    const files = new FakeFiles(MEMORY);
    memoryV1(files, { kernelTCP: -1 });
    expect(() => memoryV1(files, { kernelTCP: 5 })).toThrow('memory.kmem.tcp.limit_in_bytes');
    expect(() => memoryV1(files, { swappiness: 101 })).toThrow('not in 0 to 100');
  });

  it('writes large numbers digit by digit', () => {
    const files = new FakeFiles(MEMORY);
    memoryV1(files, { limit: 2 ** 63 - 4096 });
    expect(files.log).toEqual(['memory.limit_in_bytes 9223372036854771712']);
  });
});

describe('cpu on v1', () => {
  it('takes realtime first, and tries what depends on the quota again after it', () => {
    // As the kernel does when the old quota with the new period would be more than the parent has.
    const judge: Judge = (file, _value, content) =>
      file === 'cpu.cfs_period_us' && content.get('cpu.cfs_quota_us') === '' ? 'EINVAL' : undefined;
    const files = new FakeFiles(
      {
        'cpu.rt_period_us': '',
        'cpu.rt_runtime_us': '',
        'cpu.cfs_period_us': '',
        'cpu.cfs_quota_us': '',
        'cpu.shares': '',
      },
      judge,
    );
    cpuV1(files, {
      shares: 512,
      period: 50_000,
      quota: 25_000,
      realtimePeriod: 1_000_000,
      realtimeRuntime: 9,
    });
    expect(files.log).toEqual([
      'cpu.rt_period_us 1000000',
      'cpu.rt_runtime_us 9',
      'cpu.shares 512',
      'cpu.cfs_quota_us 25000',
      'cpu.cfs_period_us 50000',
    ]);
  });

  it('says when the kernel took other shares than were asked for', () => {
    const files = FakeFiles.named('cpu.shares');
    files.read = () => '2\n';
    expect(() => cpuV1(files, { shares: 1 })).toThrow('cpu.shares 1 is less than the kernel takes: it set 2');
  });

  it('goes idle after, and awake before shares are set', () => {
    const files = FakeFiles.named('cpu.shares', 'cpu.idle');
    cpuV1(files, { shares: 100, idle: 1 });
    cpuV1(files, { shares: 100, idle: 0 });
    expect(files.log).toEqual(['cpu.shares 100', 'cpu.idle 1', 'cpu.idle 0', 'cpu.shares 100']);
  });

  it('bears a burst of nothing on a kernel without bursts, and no other', () => {
    const files = FakeFiles.named('cpu.cfs_quota_us');
    cpuV1(files, { burst: 0 });
    expect(() => cpuV1(files, { burst: 5 })).toThrow(
      'the cpu controller has no file cpu.cfs_burst_us in /fake',
    );
  });

  it('writes an unlimited quota as -1', () => {
    const files = FakeFiles.named('cpu.cfs_quota_us');
    cpuV1(files, { quota: -1 });
    expect(files.log).toEqual(['cpu.cfs_quota_us -1']);
  });
});

describe('the other controllers on v1', () => {
  it('cpuset says what ENOSPC and EINVAL mean for which file', () => {
    const files = new FakeFiles({ 'cpuset.cpus': '', 'cpuset.mems': '' }, () => 'ENOSPC');
    expect(() => cpuset(files, { cpus: '0-1' })).toThrow(
      'cannot set cpu.cpus to 0-1: writing /fake/cpuset.cpus (cpuset controller): ENOSPC',
    );
  });

  it('pids: no limit is max, and one process may always be', () => {
    const files = FakeFiles.named('pids.max');
    pids(files, {});
    pids(files, { limit: -1 });
    pids(files, { limit: 0 });
    pids(files, { limit: 7 });
    expect(files.log).toEqual(['pids.max max', 'pids.max 1', 'pids.max 7']);
  });

  it('blkio finds the file of the scheduler that has weights', () => {
    const bfq = FakeFiles.named('blkio.bfq.weight', 'blkio.bfq.weight_device');
    blkioV1(bfq, { weight: 100, weightDevice: [{ major: 8, minor: 0, weight: 5 }] });
    expect(bfq.log).toEqual(['blkio.bfq.weight 100', 'blkio.bfq.weight_device 8:0 5']);
    const cfq = FakeFiles.named('blkio.weight', 'blkio.leaf_weight');
    blkioV1(cfq, { weight: 100, leafWeight: 10 });
    expect(cfq.log).toEqual(['blkio.weight 100', 'blkio.leaf_weight 10']);
    expect(() => blkioV1(bfq, { leafWeight: 10 })).toThrow('no file blkio.leaf_weight');
  });

  it('blkio throttles each device with a write of its own', () => {
    const files = FakeFiles.named(
      'blkio.throttle.read_bps_device',
      'blkio.throttle.write_bps_device',
      'blkio.throttle.read_iops_device',
      'blkio.throttle.write_iops_device',
    );
    const at = (rate: number) => [{ major: 8, minor: 16, rate }];
    blkioV1(files, {
      throttleReadBpsDevice: [...at(1), { major: 9, minor: 0, rate: 5 }],
      throttleWriteBpsDevice: at(2),
      throttleReadIOPSDevice: at(3),
      throttleWriteIOPSDevice: at(4),
    });
    expect(files.log).toEqual([
      'blkio.throttle.read_bps_device 8:16 1',
      'blkio.throttle.read_bps_device 9:0 5',
      'blkio.throttle.write_bps_device 8:16 2',
      'blkio.throttle.read_iops_device 8:16 3',
      'blkio.throttle.write_iops_device 8:16 4',
    ]);
  });

  it('hugetlb limits reservations where the kernel can, and refuses sizes that are none', () => {
    const files = FakeFiles.named('hugetlb.2MB.max', 'hugetlb.2MB.rsvd.max', 'hugetlb.1GB.max');
    hugetlb(
      files,
      [
        { pageSize: '2MB', limit: 5 },
        { pageSize: '1GB', limit: 6 },
      ],
      'max',
    );
    expect(files.log).toEqual(['hugetlb.2MB.max 5', 'hugetlb.2MB.rsvd.max 5', 'hugetlb.1GB.max 6']);
    expect(() => hugetlb(files, [{ pageSize: '../2MB', limit: 5 }], 'max')).toThrow(
      'is no size of a huge page',
    );
  });

  it('network and rdma write what the kernel documents', () => {
    const files = FakeFiles.named('net_cls.classid', 'net_prio.ifpriomap', 'rdma.max');
    networkClass(files, { classID: 0x100001 });
    networkPriorities(files, { priorities: [{ name: 'eth0', priority: 5 }] });
    rdma(files, { mlx5_1: { hcaHandles: 3, hcaObjects: 10_000 }, mlx4_0: { hcaObjects: 1 } });
    expect(files.log).toEqual([
      'net_cls.classid 1048577',
      'net_prio.ifpriomap eth0 5',
      'rdma.max mlx5_1 hca_handle=3 hca_object=10000',
      'rdma.max mlx4_0 hca_object=1',
    ]);
    expect(() => rdma(files, { x: {} })).toThrow('neither hcaHandles nor hcaObjects');
  });
});
