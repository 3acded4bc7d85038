/** What the engine stands on, as interfaces: the OCI runtime, root file systems and networks. open.ts puts the real ones in. */
import type { OciResources } from '../cgroup/resources.js';
import type { CgroupStats } from '../cgroup/stats.js';
import type { Networks } from '../network/networks.js';
import type { ContainerStatus } from '../spec/state.js';
import type { OciProcess, OciSpec } from '../spec/types.js';
import type { ContainerUser } from './options/compile.js';
import type { ImageDefaults } from './options/process.js';
import type { EnginePaths } from './paths.js';
import type { ContainerRecord } from './record.js';
import type { ContainerStore } from './store.js';

export interface EngineRuntime {
  /** Creates the container; its first process waits. `under` are words that stand before the launcher's. @returns that process's pid */
  create(
    id: string,
    bundle: string,
    options: { consoleSocket?: string; under: readonly string[] },
  ): Promise<number>;
  start(id: string): Promise<void>;
  /** @throws ContainerNotFoundError */
  status(id: string): ContainerStatus;
  kill(id: string, signal: number): Promise<void>;
  /** Removes whatever is there of it, processes too; harmless when there is nothing. */
  remove(id: string): Promise<void>;
  pause(id: string): Promise<void>;
  resume(id: string): Promise<void>;
  update(id: string, resources: OciResources): Promise<void>;
  pids(id: string): Promise<readonly number[]>;
  stats(id: string): Promise<CgroupStats>;
  oomKills(id: string): Promise<number>;
  /** Runs a process with our stdio, or a terminal of its own that is joined to ours. @returns its exit status; 0 when detached */
  exec(
    id: string,
    choose: (spec: OciSpec) => OciProcess,
    options: {
      readonly detach: boolean;
      readonly stdio?: readonly [number, number, number];
      readonly pidFile?: string;
    },
  ): Promise<number>;
}

/** The image that a container is made of. */
export interface EngineImage {
  readonly id: string;
  readonly name: string;
  readonly defaults: ImageDefaults;
}

/** What a container's root consists of. */
export interface RootParts {
  /** The whole tree, once it is mounted. */
  readonly root: string;
  /** What the container has written, as an overlay's upper folder; undefined where the tree is one folder. */
  readonly upper: string | undefined;
  /** What is below it, topmost first. */
  readonly lower: readonly string[];
}

export type PullPolicy = 'missing' | 'always' | 'never';

export interface ImageSource {
  /** `linux/arm64`; this machine's where absent. */
  readonly platform?: string;
  /** Unset: certificates are checked. */
  readonly tlsVerify?: boolean;
}

export interface EngineImages {
  find(
    name: string,
    pull: PullPolicy,
    report: (message: string) => void,
    source: ImageSource,
  ): Promise<EngineImage>;
  /** The image of a container that exists. */
  of(record: ContainerRecord): Promise<EngineImage | undefined>;
  /** Makes the root file system of a new container of that image. */
  prepare(record: ContainerRecord, image: EngineImage): Promise<void>;
  /** Mounts it. @returns its absolute path */
  mount(record: ContainerRecord): Promise<string>;
  unmount(record: ContainerRecord): Promise<void>;
  /** Where its parts are, mounted or not. */
  parts(record: ContainerRecord): Promise<RootParts>;
  /** Removes the container's own layer. */
  remove(record: ContainerRecord): Promise<void>;
  /** `--user` and `--group-add` as the files below `root` say. */
  user(root: string, user: string, groups: readonly string[]): Promise<ContainerUser>;
}

export interface EngineContext {
  readonly paths: EnginePaths;
  readonly store: ContainerStore;
  readonly runtime: EngineRuntime;
  readonly images: EngineImages;
  /** Made at first use: containers without networks do without. */
  networks(): Promise<Networks>;
  /** The words that the minder becomes when container `id` has ended. */
  exitCommand(id: string): readonly string[];
  warn(message: string): void;
}
