/** checkpoint and restore. */
import { CheckpointError } from '../container/runtime/errors.js';
import type { OciAction } from './oci.js';

export function checkpointOrRestore(name: string): OciAction {
  return () => {
    throw new CheckpointError(`${name} is not supported yet`);
  };
}
