/**
 * `linux.resources` of the OCI runtime specification (config-linux.md, "Control groups" to "Unified"), as types. Values are the
 * specification's: bytes, microseconds, `-1` for no limit. Nothing is checked or converted here; apply-v1.ts and apply-v2.ts do that.
 */

/** An entry of the allowed device list. Unset `type` means `a`, unset numbers (and -1) mean all, unset `access` means `rwm`. */
export interface OciDeviceRule {
  readonly allow: boolean;
  readonly type?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly access?: string;
}

/** Bytes, or -1 for unlimited. 0 counts as unset, as in every OCI runtime. */
export interface OciMemory {
  readonly limit?: number;
  readonly reservation?: number;
  /** Memory and swap together. */
  readonly swap?: number;
  readonly kernel?: number;
  readonly kernelTCP?: number;
  readonly swappiness?: number;
  readonly disableOOMKiller?: boolean;
  readonly useHierarchy?: boolean;
  readonly checkBeforeUpdate?: boolean;
}

/** Times in microseconds. */
export interface OciCpu {
  readonly shares?: number;
  readonly quota?: number;
  readonly burst?: number;
  readonly period?: number;
  readonly realtimeRuntime?: number;
  readonly realtimePeriod?: number;
  readonly cpus?: string;
  readonly mems?: string;
  readonly idle?: number;
}

export interface OciPids {
  /** Tasks; -1 for no limit. */
  readonly limit?: number;
}

export interface OciWeightDevice {
  readonly major: number;
  readonly minor: number;
  readonly weight?: number;
  readonly leafWeight?: number;
}

export interface OciThrottleDevice {
  readonly major: number;
  readonly minor: number;
  /** Bytes or operations a second. */
  readonly rate: number;
}

export interface OciBlockIO {
  /** 10 to 1000. */
  readonly weight?: number;
  readonly leafWeight?: number;
  readonly weightDevice?: readonly OciWeightDevice[];
  readonly throttleReadBpsDevice?: readonly OciThrottleDevice[];
  readonly throttleWriteBpsDevice?: readonly OciThrottleDevice[];
  readonly throttleReadIOPSDevice?: readonly OciThrottleDevice[];
  readonly throttleWriteIOPSDevice?: readonly OciThrottleDevice[];
}

export interface OciHugepageLimit {
  /** `<size><unit-prefix>B`: `2MB`, `1GB`, `64KB`. */
  readonly pageSize: string;
  /** Bytes. */
  readonly limit: number;
}

export interface OciInterfacePriority {
  readonly name: string;
  readonly priority: number;
}

export interface OciNetworkResources {
  readonly classID?: number;
  readonly priorities?: readonly OciInterfacePriority[];
}

export interface OciRdma {
  readonly hcaHandles?: number;
  readonly hcaObjects?: number;
}

/** `linux.resources` of config.json, and what `update` takes. */
export interface OciResources {
  readonly devices?: readonly OciDeviceRule[];
  readonly memory?: OciMemory;
  readonly cpu?: OciCpu;
  readonly pids?: OciPids;
  readonly blockIO?: OciBlockIO;
  readonly hugepageLimits?: readonly OciHugepageLimit[];
  readonly network?: OciNetworkResources;
  /** By device name. */
  readonly rdma?: Readonly<Record<string, OciRdma>>;
  /** cgroup v2 file name to the text to write into it. */
  readonly unified?: Readonly<Record<string, string>>;
}
