/**
 * Loads the bundle of the OCI runtime with V8's code cache and runs it to the end of the process. What one command needs is a small part of
 * the bundle, so every command has a cache of its own.
 */
import { join } from 'node:path';
import { loadBundle, recordCodeCaches } from '../sys/code-cache.js';
import type * as Oci from './oci.js';

/** @param folder of the bundles @param args without `oci` */
export async function startOci(folder: string, args: readonly string[]): Promise<void> {
  // The bundle is our own build's: its exports are what its source says.
  const { runOci, endProcess } = loadBundle(join(folder, 'oci-main.cjs'), variantOf(args)) as typeof Oci;
  const status = await runOci('tvmm-oci', args);
  // A container's own status is no less a run for it, and clients ask for containers that are not there.
  recordCodeCaches(status === 0);
  endProcess(status);
}

/** The command, if it is one of those that are on the way of a container; the others share one. */
function variantOf(args: readonly string[]): string {
  const common = ['create', 'start', 'state', 'kill', 'delete', 'run', 'exec'];
  return common.find((name) => args.includes(name)) ?? 'other';
}
