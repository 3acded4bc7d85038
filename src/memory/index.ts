/**
 * `tvmm/memory`: guest RAM by itself: the address map, mapped regions, bounds-checked access, dirty log.
 *
 * @example
 * ```ts
 * using memory = GuestMemory.create(ramLayout(64 * 2 ** 20));
 * memory.writeU32(0x1000, 42);
 * ```
 */
export {
  type BackingOptions,
  fullFence,
  GuestMemory,
  type MappedRegion,
  type RegionSpec,
} from './guest-memory.js';
export * from './layout.js';
export { type Gpa, GuestMemoryError, type GuestRam, type RamRange } from './types.js';
