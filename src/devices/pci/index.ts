/** PCI bus 0 and what its functions are built from. */
export { Bar, type BarHandler, type BarKind, type BarRegion } from './bar.js';
export { PciFunction, type PciIdentity } from './function.js';
export type { Msix } from './msix.js';
export { INTX_GSIS, intxGsi, PciRoot } from './root.js';
