/** What cannot be compiled: by this machine's lack, or because it would reach beyond the container. */
import { describe, expect, it } from 'vitest';
import type { CreateContext } from './context.js';
import { compileCreate } from './create.js';
import { CompileError } from './errors.js';
import { compileExec } from './exec.js';
import { sysctlPath } from './sysctl.js';
import {
  createContext,
  execContext,
  host,
  type Members,
  minimal,
  userNamespace,
} from './testing/fixtures.js';

interface Case {
  readonly members?: Members;
  readonly linux?: Members;
  readonly process?: Members;
  readonly context?: Partial<CreateContext>;
}

/** The place and the message of the refusal. */
function refusal({ members, linux, process, context }: Case): string {
  try {
    compileCreate(minimal(members, linux, process), createContext(context));
  } catch (error) {
    if (error instanceof CompileError) return error.message;
    throw error;
  }
  return 'compiled';
}

const mounts = (mount: Members) => ({ members: { mounts: [mount] } });

describe('what this machine lacks', () => {
  it.each<[string, Case, RegExp]>([
    [
      'a namespace that the kernel does not have',
      {
        linux: { namespaces: [{ type: 'mount' }, { type: 'time' }] },
        context: { host: { ...host, namespaces: ['mount'] } },
      },
      /^linux\.namespaces\[1\] asks for a time namespace, which this kernel does not have$/,
    ],
    ['SELinux', { process: { selinuxLabel: 'a:b:c' } }, /^process\.selinuxLabel asks .* no SELinux$/],
    [
      'AppArmor',
      { process: { apparmorProfile: 'x' }, context: { host: { ...host, apparmor: false } } },
      /^process\.apparmorProfile asks for the AppArmor profile x, and this machine has no AppArmor$/,
    ],
    ['resctrl', { linux: { intelRdt: {} } }, /^linux\.intelRdt is asked for, and no resctrl/],
    ['a console socket', { process: { terminal: true } }, /^process\.terminal asks for a terminal/],
    [
      'root, without a user namespace',
      { context: { host: { ...host, rootless: true } } },
      /^linux\.namespaces has no user namespace, without which only root/,
    ],
    [
      'root, for id-mapped mounts',
      {
        members: { mounts: [{ destination: '/a', source: '/a', options: ['bind', 'idmap'] }] },
        linux: userNamespace,
        context: { host: { ...host, rootless: true } },
      },
      /^mounts\[0\] maps ids, which only root may ask for$/,
    ],
    [
      'root, for network devices',
      {
        linux: { ...userNamespace, netDevices: { eth1: {} } },
        context: { host: { ...host, rootless: true } },
      },
      /^linux\.netDevices moves devices of the host/,
    ],
    [
      'a compiled seccomp profile',
      { linux: { seccomp: { defaultAction: 'SCMP_ACT_ALLOW' } } },
      /^linux\.seccomp was not compiled/,
    ],
  ])('%s', (_name, input, message) => {
    expect(refusal(input)).toMatch(message);
  });

  it('warns of capabilities that cannot be granted, and grants the others', () => {
    const warnings: string[] = [];
    const capabilities = { bounding: ['CAP_KILL', 'CAP_FLY', 'CAP_BPF'], ambient: ['CAP_KILL', 'CAP_CHOWN'] };
    const limited = { ...host, bounding: 1n << 5n };
    compileCreate(
      minimal({}, {}, { capabilities }),
      createContext({ host: limited, warn: (text) => warnings.push(text) }),
    );
    expect(warnings).toEqual([
      'CAP_FLY is no capability that is known here: ignored',
      'CAP_BPF cannot be granted in process.capabilities.bounding: ignored',
      "can't raise ambient capability CAP_CHOWN, CAP_KILL: not both permitted and inheritable: ignored",
    ]);
  });
});

describe('what is ignored', () => {
  const warningsOf = (members: Members, linux: Members = {}) => {
    const warnings: string[] = [];
    compileCreate(minimal(members, linux), createContext({ warn: (text) => warnings.push(text) }));
    return warnings;
  };

  it("is told: what would change the host's mounts, where there is no mount namespace", () => {
    const linux = {
      namespaces: [{ type: 'pid' }],
      maskedPaths: ['/proc/kcore'],
      readonlyPaths: ['/proc/sys'],
    };
    const why = "is ignored: without a mount namespace it would change the host's mounts";
    expect(warningsOf({ root: { path: 'rootfs', readonly: true } }, linux)).toEqual(
      ['mounts', 'root.readonly', 'linux.maskedPaths', 'linux.readonlyPaths'].map((path) => `${path} ${why}`),
    );
  });

  it('is told: options that mean nothing to a bind mount', () => {
    expect(
      warningsOf({ mounts: [{ destination: '/a', source: '/a', options: ['bind', 'size=3', 'ro'] }] }),
    ).toEqual(['mounts[0].options: size=3 is ignored: it means nothing to a bind mount']);
  });
});

describe('what would reach beyond the container', () => {
  it.each<[string, Case, RegExp]>([
    [
      'a mount over the root',
      mounts({ destination: '/', type: 'tmpfs' }),
      /^mounts\[0\]\.destination is the container's root/,
    ],
    [
      'the same in disguise',
      mounts({ destination: '/a/..', type: 'tmpfs' }),
      /^mounts\[0\]\.destination is the container's root/,
    ],
    [
      'a mount inside of /proc',
      mounts({ destination: '/proc/self/attr', type: 'tmpfs' }),
      /is \/proc\/self\/attr, inside of \/proc/,
    ],
    [
      'the same by a relative path',
      mounts({ destination: 'x/../proc/sys', type: 'tmpfs' }),
      /is \/proc\/sys, inside of \/proc/,
    ],
    [
      'a kernel parameter of no namespace',
      { linux: { sysctl: { 'kernel.panic': '1' } } },
      /^linux\.sysctl\["kernel\.panic"\] belongs to no namespace/,
    ],
    [
      "a kernel parameter of the host's network",
      { linux: { namespaces: [{ type: 'mount' }], sysctl: { 'net.ipv4.ip_forward': '1' } } },
      /belongs to the network namespace, and the container has none/,
    ],
    [
      "a kernel parameter of the host's network, which is joined by its path",
      {
        linux: {
          namespaces: [{ type: 'mount' }, { type: 'network', path: '/run/docker/netns/default' }],
          sysctl: { 'net.ipv4.ip_forward': '1' },
        },
        context: { hostNamespaces: ['network'] },
      },
      /belongs to the network namespace, and the container has none/,
    ],
    [
      'a kernel parameter by a path',
      { linux: { sysctl: { 'net/../kernel/panic': '1' } } },
      /is not the name of a kernel parameter/,
    ],
    [
      'two different domain names',
      {
        members: { domainname: 'x' },
        linux: { namespaces: [{ type: 'mount' }, { type: 'uts' }], sysctl: { 'kernel.domainname': 'y' } },
      },
      /^linux\.sysctl\["kernel\.domainname"\] would change what the member domainname/,
    ],
    [
      'the host name by two ways',
      { linux: { sysctl: { 'kernel.hostname': 'x' } } },
      /set by the member hostname/,
    ],
    [
      'preserved descriptors that hold the control socket',
      { context: { preserveFds: 1 } },
      /^--preserve-fds keeps 1/,
    ],
    [
      'a socket path that is cut off',
      { process: { terminal: true }, context: { console: { path: `/${'x'.repeat(108)}` } } },
      /more than 107 bytes/,
    ],
  ])('%s', (_name, input, message) => {
    expect(refusal(input)).toMatch(message);
  });

  it('lets lxcfs mount over the files that it emulates', () => {
    expect(
      refusal(mounts({ destination: '/proc/meminfo', source: '/var/lib/lxcfs/meminfo', options: ['bind'] })),
    ).toBe('compiled');
  });

  it('refuses labels of a further process, too', () => {
    const { process } = minimal({}, {}, { selinuxLabel: 'a:b:c' });
    expect(() => process && compileExec(process, execContext())).toThrow('process.selinuxLabel');
  });
});

describe('names of kernel parameters', () => {
  it.each([
    ['net.ipv4.ip_forward', 'net/ipv4/ip_forward'],
    ['net/ipv4/ip_forward', 'net/ipv4/ip_forward'],
    ['net.ipv4.conf.eth0/7.rp_filter', 'net/ipv4/conf/eth0.7/rp_filter'],
    ['net/ipv4/conf/eth0.7/rp_filter', 'net/ipv4/conf/eth0.7/rp_filter'],
  ])('reads %s', (name, path) => {
    expect(sysctlPath(name)).toBe(path);
  });
});
