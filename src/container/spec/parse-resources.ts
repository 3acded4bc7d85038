/** `linux.resources` of config.json (config-linux.md, "Control groups" to "Unified"), also the document that `update --resources` takes. */
import type {
  OciBlockIO,
  OciCpu,
  OciDeviceRule,
  OciMemory,
  OciNetworkResources,
  OciResources,
  OciThrottleDevice,
} from '../cgroup/resources.js';
import { defined, type Field } from './field.js';
import { numberList } from './parse-process.js';

const UINT16_MAX = 0xffff;

export function parseResources(resources: Field): OciResources {
  return defined({
    devices: resources.member('devices').list((rule) => rule.object(parseDeviceRule)),
    memory: resources.member('memory').object(parseMemory),
    cpu: resources.member('cpu').object(parseCpu),
    pids: resources.member('pids').object((field) => defined({ limit: field.member('limit').int64() })),
    blockIO: resources.member('blockIO').object(parseBlockIO),
    hugepageLimits: resources.member('hugepageLimits').list((limit) =>
      limit.object((field) => {
        const pageSize = field.member('pageSize').requiredText();
        if (pageSize !== '' && !/^[1-9][0-9]*[KMGT]B$/.test(pageSize))
          field.member('pageSize').problem(`must be a size such as "2MB", not ${JSON.stringify(pageSize)}`);
        return { pageSize, limit: required(field.member('limit'), (member) => member.uint64()) };
      }),
    ),
    network: resources.member('network').object(parseNetwork),
    rdma: resources.member('rdma').map((device) =>
      device.object((field) => {
        const hcaHandles = field.member('hcaHandles').uint32();
        const hcaObjects = field.member('hcaObjects').uint32();
        if (field.member('hcaHandles').absent && field.member('hcaObjects').absent)
          field.problem('must have hcaHandles or hcaObjects');
        return defined({ hcaHandles, hcaObjects });
      }),
    ),
    unified: resources.member('unified').map((field, key) => {
      // The key is a file name in the cgroup's folder, and must stay one.
      if (key === '' || key.includes('/') || key === '.' || key === '..')
        field.problem('is not the name of a cgroup file');
      return field.text();
    }),
  });
}

function required(field: Field, read: (field: Field) => number | undefined): number {
  if (field.absent) field.problem('is missing');
  return read(field) ?? 0;
}

function parseDeviceRule(rule: Field): OciDeviceRule {
  if (rule.member('allow').absent) rule.member('allow').problem('is missing');
  const given = rule.member('access').words();
  // As other runtimes: an `a` beside them says nothing.
  const access = given?.replace(/(?<=[rwm])a/g, '');
  if (access !== undefined && !/^[rwm]{1,3}$/.test(access))
    rule.member('access').problem(`must be made of r, w and m, not ${JSON.stringify(given)}`);
  return defined({
    allow: rule.member('allow').boolean() ?? false,
    type: rule.member('type').words() === undefined ? undefined : rule.member('type').oneOf(['a', 'b', 'c']),
    major: rule.member('major').int64(),
    minor: rule.member('minor').int64(),
    access,
  });
}

function parseMemory(memory: Field): OciMemory {
  const bytes = (name: string) => {
    const value = memory.member(name).int64();
    if (value !== undefined && value < -1)
      memory.member(name).problem(`must be bytes, or -1 for no limit, not ${value}`);
    return value;
  };
  return defined({
    limit: bytes('limit'),
    reservation: bytes('reservation'),
    swap: bytes('swap'),
    kernel: bytes('kernel'),
    kernelTCP: bytes('kernelTCP'),
    swappiness: memory.member('swappiness').uint64(),
    disableOOMKiller: memory.member('disableOOMKiller').boolean(),
    useHierarchy: memory.member('useHierarchy').boolean(),
    checkBeforeUpdate: memory.member('checkBeforeUpdate').boolean(),
  });
}

function parseCpu(cpu: Field): OciCpu {
  const quota = cpu.member('quota').int64();
  const burst = cpu.member('burst').uint64();
  if (quota !== undefined && quota > 0 && burst !== undefined && burst > quota)
    cpu.member('burst').problem(`must not exceed the quota ${quota}, and is ${burst}`);
  return defined({
    shares: cpu.member('shares').uint64(),
    quota,
    burst,
    period: cpu.member('period').uint64(),
    realtimeRuntime: cpu.member('realtimeRuntime').int64(),
    realtimePeriod: cpu.member('realtimePeriod').uint64(),
    cpus: numberList(cpu.member('cpus'), 'CPUs'),
    mems: numberList(cpu.member('mems'), 'memory nodes'),
    idle: cpu.member('idle').int64(),
  });
}

function parseBlockIO(blockIO: Field): OciBlockIO {
  const weight = (field: Field) => field.integer(0, UINT16_MAX);
  const throttle = (name: string) =>
    blockIO.member(name).list((device) =>
      device.object(
        (field): OciThrottleDevice => ({
          major: required(field.member('major'), (member) => member.int64()),
          minor: required(field.member('minor'), (member) => member.int64()),
          rate: required(field.member('rate'), (member) => member.uint64()),
        }),
      ),
    );
  return defined({
    weight: weight(blockIO.member('weight')),
    leafWeight: weight(blockIO.member('leafWeight')),
    weightDevice: blockIO.member('weightDevice').list((device) =>
      device.object((field) => {
        const own = weight(field.member('weight'));
        const leafWeight = weight(field.member('leafWeight'));
        if (own === undefined && leafWeight === undefined) field.problem('must have weight or leafWeight');
        return defined({
          major: required(field.member('major'), (member) => member.int64()),
          minor: required(field.member('minor'), (member) => member.int64()),
          weight: own,
          leafWeight,
        });
      }),
    ),
    throttleReadBpsDevice: throttle('throttleReadBpsDevice'),
    throttleWriteBpsDevice: throttle('throttleWriteBpsDevice'),
    throttleReadIOPSDevice: throttle('throttleReadIOPSDevice'),
    throttleWriteIOPSDevice: throttle('throttleWriteIOPSDevice'),
  });
}

function parseNetwork(network: Field): OciNetworkResources {
  return defined({
    classID: network.member('classID').uint32(),
    priorities: network.member('priorities').list((priority) =>
      priority.object((field) => ({
        name: field.member('name').requiredText(),
        priority: field.member('priority').requiredUint32(),
      })),
    ),
  });
}
