/** `linux` of config.json (config-linux.md), but for its resources and what must agree with the rest of the document (check.ts). */
import { parseSeccomp, SeccompProfileError } from '../seccomp/profile.js';
import { defined, type Field } from './field.js';
import { NAMESPACE_TYPES } from './namespaces.js';
import { parseIdMappings } from './parse-mounts.js';
import { numberList } from './parse-process.js';
import { parseResources } from './parse-resources.js';
import { MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES, namesOf } from './policies.js';
import {
  type OciDevice,
  type OciIntelRdt,
  type OciLinux,
  type OciMemoryPolicy,
  type OciNamespace,
  type OciSeccomp,
  type OciTimeOffset,
  ROOTFS_PROPAGATIONS,
} from './types.js';

/** Major and minor numbers as dev_t of the kernel has them: 12 and 20 bits (linux/kdev_t.h). */
const MAX_MAJOR = 2 ** 12 - 1;
const MAX_MINOR = 2 ** 20 - 1;
/** Interface names take at most 15 bytes (linux/if.h, IFNAMSIZ with its NUL). */
const MAX_INTERFACE_NAME = 15;

export function parseLinux(linux: Field): OciLinux {
  const paths = (name: string) => linux.member(name).list((field) => field.absolutePath());
  return defined({
    namespaces: parseNamespaces(linux.member('namespaces')),
    uidMappings: parseIdMappings(linux.member('uidMappings')),
    gidMappings: parseIdMappings(linux.member('gidMappings')),
    timeOffsets: parseTimeOffsets(linux.member('timeOffsets')),
    devices: linux.member('devices').list((device) => device.object(parseDevice)),
    netDevices: linux.member('netDevices').map((device, key) => {
      if (!isInterfaceName(key)) device.problem('is not the name of a network device');
      return device.object((field) => {
        const name = field.member('name').words();
        if (name !== undefined && !isInterfaceName(name))
          field.member('name').problem('is not a name for a network device');
        return defined({ name });
      });
    }),
    cgroupsPath: linux.member('cgroupsPath').words(),
    resources: linux.member('resources').object(parseResources),
    sysctl: linux.member('sysctl').map((field) => field.text()),
    seccomp: parseSeccompField(linux.member('seccomp')),
    rootfsPropagation:
      linux.member('rootfsPropagation').words() === undefined
        ? undefined
        : linux.member('rootfsPropagation').oneOf(ROOTFS_PROPAGATIONS),
    maskedPaths: paths('maskedPaths'),
    readonlyPaths: paths('readonlyPaths'),
    mountLabel: linux.member('mountLabel').words(),
    personality: linux.member('personality').object((field) => {
      const flags = field.member('flags').list((flag) => flag.text());
      if (flags !== undefined && flags.length > 0)
        field.member('flags').problem('must be empty: the specification supports no flag');
      return { domain: field.member('domain').requiredOneOf(['LINUX', 'LINUX32']) };
    }),
    intelRdt: linux.member('intelRdt').object(parseIntelRdt),
    memoryPolicy: linux.member('memoryPolicy').object(parseMemoryPolicy),
  });
}

function parseNamespaces(namespaces: Field): readonly OciNamespace[] | undefined {
  const seen = new Set<string>();
  return namespaces.list((namespace) =>
    namespace.object((field) => {
      const type = field.member('type').requiredOneOf(NAMESPACE_TYPES);
      if (typeof field.member('type').value === 'string' && seen.has(type))
        field.member('type').problem(`repeats the ${type} namespace`);
      seen.add(type);
      const path =
        field.member('path').words() === undefined ? undefined : field.member('path').absolutePath();
      return defined({ type, path });
    }),
  );
}

function parseTimeOffsets(offsets: Field): OciLinux['timeOffsets'] {
  const all = offsets.map((offset, clock) => {
    if (clock !== 'monotonic' && clock !== 'boottime')
      return offset.problem('is no clock of a time namespace');
    return offset.object(
      (field): OciTimeOffset =>
        defined({
          secs: field.member('secs').exactInt64(),
          nanosecs: field.member('nanosecs').integer(0, 999_999_999),
        }),
    );
  });
  return all === undefined || Object.keys(all).length === 0
    ? undefined
    : defined({ monotonic: all.monotonic, boottime: all.boottime });
}

function parseDevice(device: Field): OciDevice {
  const type = device.member('type').requiredOneOf(['c', 'b', 'u', 'p']);
  const number = (name: string, most: number) => {
    const field = device.member(name);
    return type === 'p' ? undefined : field.requiredInteger(0, most);
  };
  return defined({
    type,
    path: device.member('path').absolutePath(),
    major: number('major', MAX_MAJOR),
    minor: number('minor', MAX_MINOR),
    // Callers pass whole st_mode values, too: the type's bits are not the mode's.
    fileMode: fileMode(device.member('fileMode')),
    uid: device.member('uid').integer(0, 2 ** 32 - 2),
    gid: device.member('gid').integer(0, 2 ** 32 - 2),
  });
}

function fileMode(field: Field): number | undefined {
  const mode = field.uint32();
  return mode === undefined ? undefined : mode & 0o7777;
}

function isInterfaceName(name: string): boolean {
  return (
    name !== '' &&
    Buffer.byteLength(name) <= MAX_INTERFACE_NAME &&
    name !== '.' &&
    name !== '..' &&
    !/[/:\s]/.test(name)
  );
}

/** `/linux/seccomp/syscalls/0/action` as `linux.seccomp.syscalls[0].action`. */
function pathOf(pointer: string): string {
  return pointer
    .split('/')
    .slice(1)
    .map((part, index) => (/^[0-9]+$/.test(part) ? `[${part}]` : index === 0 ? part : `.${part}`))
    .join('');
}

function parseSeccompField(seccomp: Field): OciSeccomp | undefined {
  if (seccomp.absent) return undefined;
  try {
    return parseSeccomp(seccomp.value, `/${seccomp.path.replaceAll('.', '/')}`);
  } catch (error) {
    if (!(error instanceof SeccompProfileError)) throw error;
    const message = error.message.slice(error.message.indexOf(': ') + 2);
    seccomp.problems.push({ path: pathOf(error.pointer), message: `is wrong: ${message}` });
    return undefined;
  }
}

function parseIntelRdt(rdt: Field): OciIntelRdt {
  const line = (field: Field, prefix = '') => {
    const text = field.words();
    if (text?.includes('\n') || text?.startsWith(prefix) === false)
      field.problem(`must be one line${prefix === '' ? '' : ` that starts with ${prefix}`}`);
    return text;
  };
  const closID = rdt.member('closID').words();
  if (
    closID === '.' ||
    closID === '..' ||
    (closID !== undefined && closID.length > 1 && closID.includes('/'))
  )
    rdt.member('closID').problem('must be the name of a folder, or "/"');
  return defined({
    closID,
    l3CacheSchema: line(rdt.member('l3CacheSchema')),
    memBwSchema: line(rdt.member('memBwSchema'), 'MB:'),
    schemata: rdt.member('schemata').list((field) => line(field)),
    enableMonitoring: rdt.member('enableMonitoring').boolean(),
  });
}

/** set_mempolicy(2): which modes go with nodes. */
function parseMemoryPolicy(policy: Field): OciMemoryPolicy {
  const mode = policy.member('mode').requiredOneOf(['MPOL_DEFAULT', ...namesOf(MEMORY_POLICY_MODES)]);
  const nodes = numberList(policy.member('nodes'), 'memory nodes');
  if (mode === 'MPOL_DEFAULT' || mode === 'MPOL_LOCAL') {
    if (nodes !== undefined) policy.member('nodes').problem(`must be empty with ${mode}`);
  } else if (
    nodes === undefined &&
    mode !== 'MPOL_PREFERRED' &&
    typeof policy.member('mode').value === 'string'
  ) {
    policy.member('nodes').problem(`must name at least one node with ${mode}`);
  }
  return defined({
    mode,
    nodes,
    flags: policy.member('flags').list((flag) => flag.oneOf(namesOf(MEMORY_POLICY_FLAGS))),
  });
}
