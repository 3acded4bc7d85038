/** Networks of containers: what the engine and the command line use of this folder. */

export type { NetworkDefinition } from './definition.js';
export {
  checkDnsOptions,
  type DnsOptions,
  hostResolver,
  type ResolvConf,
  type Resolver,
  resolvConf,
} from './dns.js';
export * from './errors.js';
export { collectGarbage, type GcReport } from './gc.js';
export { readHostFile } from './host-files.js';
export {
  checkHostname,
  type HostEntry,
  hostnameFile,
  hostsFile,
  hostsFileOfHost,
  isHostname,
  parseAddHost,
} from './hosts.js';
export { formatCidr, parseCidr } from './ip.js';
export { bringLoopbackUp } from './loopback.js';
export {
  DEFAULT_NETWORK,
  type NetworkMode,
  type NetworkNamespace,
  type NetworkRequest,
  networkNamespace,
  parseNetworkMode,
} from './mode.js';
export { moveNetDevices, type NetDevices } from './net-devices.js';
export type { FoundNetwork, NetworkOptions } from './network-store.js';
export {
  type NetworkResult,
  Networks,
  type NetworksOptions,
  type SetUpRequest,
} from './networks.js';
export { formatPort, type PortMapping, type Protocol, parsePortSpecs } from './ports.js';
export type { ContainerInterface } from './results.js';
