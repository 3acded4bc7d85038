/** What all mounts of a container share, and how each is finished. */
import type { Register } from '../plan/plan.js';
import { type MountOptions, MS } from '../spec/mount-options.js';
import type { OciSpec } from '../spec/types.js';
import type { ProgramBuilder } from './builder.js';
import type { CreateContext } from './context.js';
import { attributeNames } from './filesystems.js';
import type { NamespacePlan } from './namespaces.js';
import type { Sources } from './sources.js';
import { setAttributes } from './trees.js';

export interface MountContext {
  readonly spec: OciSpec;
  readonly context: CreateContext;
  readonly namespaces: NamespacePlan;
  readonly sources: Sources;
  /** SELinux context for new file systems. */
  readonly label?: string;
}

/** The register that keeps the container's procfs open: what is masked in it is found from there, wherever its name may lead by then. */
export const CONTAINER_PROC: Register = 'container-proc';

/** Recursive attributes, then the propagation: after attaching, since a shared parent makes its children shared. */
export function finishTree(init: ProgramBuilder, path: string, options: MountOptions): void {
  const { set, clear } = options.recursive;
  if ((set | clear) !== 0) {
    setAttributes(init, `set what ${path} and below allow`, 'tree', attributesOf(set, clear), 'recursive', {
      hint: 'Recursive attributes need Linux 5.12; what the host has locked cannot be cleared in a user namespace.',
    });
  }
  for (const propagation of options.propagation) {
    setAttributes(
      init,
      `set the propagation of ${path}`,
      'tree',
      { propagation: propagation & ~MS.REC },
      (propagation & MS.REC) === 0 ? 'one' : 'recursive',
    );
  }
}

/** Bits as mount_setattr(2) takes them. */
export function attributesOf(
  set: number,
  clear: number,
): { set?: { value: number; text: string }; clear?: { value: number; text: string } } {
  return {
    ...(set === 0 ? {} : { set: { value: set, text: attributeNames(set) } }),
    ...(clear === 0 ? {} : { clear: { value: clear, text: attributeNames(clear) } }),
  };
}
