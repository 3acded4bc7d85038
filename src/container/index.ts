/**
 * `tvmm/container`: the container engine by itself. {@link Engine} is what `tvmm run` does, {@link Runtime} the OCI runtime that `tvmm-oci`
 * is; below them stand the parts that are of use alone: configurations, launch plans, seccomp filters, assessments. What is not exported
 * here may change from one version to the next.
 *
 * @example
 * ```ts
 * const engine = Engine.open();
 * await using container = await engine.run({ image: 'debian:12', command: ['sleep', '60'], memory: 256 * 2 ** 20 });
 * const { stdout } = await container.output(['uname', '-r']);
 * ```
 */
export { SystemError, TvmmError } from '../sys/errors.js';
export { assess } from './assess/assess.js';
export { readAssessFacts } from './assess/facts.js';
export type { AssessFacts, Assessment, Finding, LayerScore, Severity } from './assess/types.js';
export type { CgroupStats, MemoryEntry } from './cgroup/stats.js';
export {
  ContainerNameError,
  ContainerNotFoundError,
  ContainerStateError,
  OptionError,
  StartError,
} from './engine/errors.js';
export type { EngineEvent } from './engine/events.js';
export type { LogLine, LogSelection } from './engine/log-lines.js';
export type { ContainerOptions } from './engine/options/options.js';
export type { ContainerRecord } from './engine/record.js';
export type { ContainerProcess } from './engine/top.js';
export type { ImageStore, StoredImage } from './image/store.js';
export { assessBundle, type PlanOptions, planBundle } from './library/bundle.js';
export { Container, type ExecOptions, type Output, type OutputOptions } from './library/container.js';
export { type ContainerRequest, Engine } from './library/engine.js';
export type { Plan, Program, Step } from './plan/plan.js';
export { planToJson, printPlan, printStep } from './plan/print.js';
export type { CreateOptions, RunOptions } from './runtime/create.js';
export type { RuntimeEnvironment, RuntimeLog } from './runtime/environment.js';
export { RuntimeError } from './runtime/errors.js';
export { type ContainerState, Runtime, type RuntimeOptions } from './runtime/runtime.js';
export { compileSeccomp, type SeccompProgram } from './seccomp/compile.js';
export { defaultProfile } from './seccomp/default-profile.js';
export { type OciSeccomp, parseSeccomp, SeccompProfileError } from './seccomp/profile.js';
export { SpecError } from './spec/errors.js';
export { parseSpec } from './spec/parse.js';
export type { OciMount, OciProcess, OciSpec } from './spec/types.js';
