/**
 * config.json of the OCI runtime specification, version 1.3, as types (config.md, config-linux.md). What parse.ts gives: checked, `null`
 * and empty strings that mean "not set" gone, numbers within their C types. Limits for the cgroup are typed where they are applied,
 * seccomp profiles where they are compiled.
 */
import type { OciResources } from '../cgroup/resources.js';
import type { OciSeccomp } from '../seccomp/profile.js';
import type { NamespaceType } from './namespaces.js';
import type {
  IoPriorityClass,
  MemoryPolicyFlag,
  MemoryPolicyMode,
  SchedulerFlag,
  SchedulerPolicy,
} from './policies.js';
import type { RlimitType } from './rlimits.js';

export type { OciResources, OciSeccomp };

/** The specification that this runtime follows. */
export const OCI_VERSION = '1.3.0';

export interface OciUser {
  readonly uid: number;
  readonly gid: number;
  readonly umask?: number;
  readonly additionalGids?: readonly number[];
  readonly username?: string;
}

/** Names that no table knows are kept: they are a warning, not an error (config.md, "Linux Process"). */
export interface OciCapabilities {
  readonly bounding?: readonly string[];
  readonly permitted?: readonly string[];
  readonly effective?: readonly string[];
  readonly inheritable?: readonly string[];
  readonly ambient?: readonly string[];
}

export interface OciRlimit {
  readonly type: RlimitType;
  /** 2^64-1 is RLIM_INFINITY. */
  readonly soft: bigint;
  readonly hard: bigint;
}

/** Nanoseconds for `runtime`, `deadline` and `period`. */
export interface OciScheduler {
  readonly policy: SchedulerPolicy;
  readonly nice?: number;
  readonly priority?: number;
  readonly flags?: readonly SchedulerFlag[];
  readonly runtime?: bigint;
  readonly deadline?: bigint;
  readonly period?: bigint;
}

export interface OciProcess {
  readonly terminal?: boolean;
  /** Characters. Absent without `terminal`. */
  readonly consoleSize?: { readonly height: number; readonly width: number };
  readonly user: OciUser;
  /** At least one. */
  readonly args: readonly string[];
  readonly env?: readonly string[];
  /** Absolute. */
  readonly cwd: string;
  readonly capabilities?: OciCapabilities;
  readonly rlimits?: readonly OciRlimit[];
  readonly noNewPrivileges?: boolean;
  readonly apparmorProfile?: string;
  readonly selinuxLabel?: string;
  readonly oomScoreAdj?: number;
  readonly scheduler?: OciScheduler;
  readonly ioPriority?: { readonly class: IoPriorityClass; readonly priority: number };
  /** CPU lists: `0-3,7`. */
  readonly execCPUAffinity?: { readonly initial?: string; readonly final?: string };
}

export interface OciRoot {
  /** Absolute, or relative to the bundle. */
  readonly path: string;
  readonly readonly?: boolean;
}

export interface OciIdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

export interface OciMount {
  readonly destination: string;
  readonly type?: string;
  readonly source?: string;
  readonly options?: readonly string[];
  readonly uidMappings?: readonly OciIdMapping[];
  readonly gidMappings?: readonly OciIdMapping[];
}

export interface OciHook {
  /** Absolute. */
  readonly path: string;
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  /** Seconds, at least 1. */
  readonly timeout?: number;
}

export const HOOK_KINDS = [
  'prestart',
  'createRuntime',
  'createContainer',
  'startContainer',
  'poststart',
  'poststop',
] as const;
export type HookKind = (typeof HOOK_KINDS)[number];
export type OciHooks = { readonly [kind in HookKind]?: readonly OciHook[] };

export interface OciNamespace {
  readonly type: NamespaceType;
  /** Absolute: a namespace to join. */
  readonly path?: string;
}

export interface OciTimeOffset {
  readonly secs?: bigint;
  readonly nanosecs?: number;
}

export interface OciDevice {
  readonly type: 'c' | 'b' | 'u' | 'p';
  readonly path: string;
  readonly major?: number;
  readonly minor?: number;
  /** Permission bits. */
  readonly fileMode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

export interface OciIntelRdt {
  readonly closID?: string;
  readonly l3CacheSchema?: string;
  readonly memBwSchema?: string;
  readonly schemata?: readonly string[];
  readonly enableMonitoring?: boolean;
}

export interface OciMemoryPolicy {
  readonly mode: MemoryPolicyMode;
  /** A list of memory nodes: `0-3,7`. */
  readonly nodes?: string;
  readonly flags?: readonly MemoryPolicyFlag[];
}

/** The specification's four, and the recursive ones that every runtime takes. */
export const ROOTFS_PROPAGATIONS = [
  'shared',
  'slave',
  'private',
  'unbindable',
  'rshared',
  'rslave',
  'rprivate',
  'runbindable',
] as const;
export type RootfsPropagation = (typeof ROOTFS_PROPAGATIONS)[number];

export interface OciLinux {
  readonly namespaces?: readonly OciNamespace[];
  readonly uidMappings?: readonly OciIdMapping[];
  readonly gidMappings?: readonly OciIdMapping[];
  readonly timeOffsets?: { readonly monotonic?: OciTimeOffset; readonly boottime?: OciTimeOffset };
  readonly devices?: readonly OciDevice[];
  /** By the device's name on the host. */
  readonly netDevices?: Readonly<Record<string, { readonly name?: string }>>;
  readonly cgroupsPath?: string;
  readonly resources?: OciResources;
  readonly sysctl?: Readonly<Record<string, string>>;
  readonly seccomp?: OciSeccomp;
  readonly rootfsPropagation?: RootfsPropagation;
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
  readonly mountLabel?: string;
  readonly personality?: { readonly domain: 'LINUX' | 'LINUX32' };
  readonly intelRdt?: OciIntelRdt;
  readonly memoryPolicy?: OciMemoryPolicy;
}

export interface OciSpec {
  readonly ociVersion: string;
  readonly process?: OciProcess;
  readonly root: OciRoot;
  readonly hostname?: string;
  readonly domainname?: string;
  readonly mounts?: readonly OciMount[];
  readonly hooks?: OciHooks;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly linux?: OciLinux;
}
