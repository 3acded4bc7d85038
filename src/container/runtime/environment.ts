/** What every operation of a runtime shares. */
import type { CgroupLayout } from '../cgroup/layout.js';
import type { CgroupManager } from '../cgroup/path.js';
import type { CreateContext } from '../compile/context.js';
import type { Plan } from '../plan/plan.js';
import type { Bundle } from './bundle.js';

export interface RuntimeLog {
  debug(message: string): void;
  warn(message: string): void;
}

export interface RuntimeEnvironment {
  /** Absolute path of the folder that the containers' folders are in. */
  readonly root: string;
  readonly cgroupManager: CgroupManager;
  /** Do without cgroups that this user may not make. */
  readonly rootless: boolean;
  readonly log: RuntimeLog;
  /** The process for which containers are made, where that is not this one: relative cgroups stand at its own. */
  readonly caller?: number;
  /** Instead of readLayout, of the caller: a process that serves many may know it. */
  readonly layout?: (caller: number) => CgroupLayout;
  /** Instead of compileCreate: a process that makes many containers may have the plan already. */
  readonly compile?: (bundle: Bundle, context: CreateContext) => Plan;
}
