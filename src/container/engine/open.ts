/** Puts the engine together: the OCI runtime on a state folder of its own, the image store, networks, and the program that minders become. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../sys/package-root.js';
import { oomKills } from '../cgroup/watch.js';
import type { Networks } from '../network/networks.js';
import { ContainerNotFoundError } from '../runtime/errors.js';
import { Runtime } from '../runtime/runtime.js';
import { cgroupOf } from '../runtime/status.js';
import type { EngineContext, EngineRuntime } from './context.js';
import { OptionError } from './errors.js';
import { engineImages } from './images.js';
import { type EnginePaths, enginePaths } from './paths.js';
import { rootlessFacts } from './rootless.js';
import { ContainerStore } from './store.js';

export interface OpenOptions {
  readonly root?: string | undefined;
  readonly run?: string | undefined;
  readonly warn?: (message: string) => void;
  /** The caller's variables, where they are not this process's. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Starts processes in another way than {@link engineRuntime}. */
  readonly starter?: (runtime: Runtime) => Pick<EngineRuntime, 'create' | 'exec'>;
}

/** The program that a minder becomes when its container has ended. */
function exitProgram(): string {
  return join(packageRoot(), 'dist', 'container-exited.cjs');
}

/** The engine's operations on an OCI runtime. */
function engineRuntime(runtime: Runtime): EngineRuntime {
  return {
    async create(id, bundle, options) {
      const record = await runtime.create(id, { bundle, ...options });
      return record.init?.pid ?? 0;
    },
    start: (id) => runtime.start(id),
    status: (id) => runtime.status(id),
    async kill(id, signal) {
      await runtime.kill(id, signal, { all: false });
    },
    async remove(id) {
      await runtime.delete(id, { force: true }).catch((error: unknown) => {
        if (!(error instanceof ContainerNotFoundError)) throw error;
      });
    },
    pause: (id) => runtime.pause(id),
    async resume(id) {
      runtime.resume(id);
    },
    update: (id, resources) => runtime.update(id, resources),
    async pids(id) {
      return runtime.pids(id);
    },
    async stats(id) {
      return runtime.stats(id);
    },
    async oomKills(id) {
      const cgroup = cgroupOf(runtime.record(id));
      return cgroup === undefined ? 0 : oomKills(cgroup.state);
    },
    exec: (id, choose, options) => runtime.exec(id, choose, options),
  };
}

/** @throws OptionError */
function makeRoot(root: string): void {
  try {
    mkdirSync(root, { recursive: true, mode: 0o711 });
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? cause.code : cause;
    throw new OptionError(
      'TVMM_ROOT',
      `the engine's folder ${root} cannot be made: ${String(why)}`,
      'set TVMM_ROOT to a folder that this user may write',
    );
  }
}

/** @param options.root where containers and images are kept; options.run what need not outlive a reboot */
export function openEngine({
  root,
  run,
  warn = () => {},
  environment = process.env,
  starter,
}: OpenOptions = {}): EngineContext {
  const paths: EnginePaths = enginePaths(root, run);
  // The root of a user namespace passes on its way to its root file system; what others must not read is closed below.
  makeRoot(paths.root);
  const runtime = new Runtime({
    root: paths.runtime,
    cgroupManager: 'cgroupfs',
    rootless: rootlessFacts() !== undefined,
    log: { debug: () => {}, warn },
  });
  const store = new ContainerStore(paths);
  let networks: Promise<Networks> | undefined;
  const context: EngineContext = {
    paths,
    store,
    runtime: { ...engineRuntime(runtime), ...starter?.(runtime) },
    images: engineImages(paths.root),
    networks() {
      networks ??= import('../network/networks.js').then(
        (module) =>
          new module.Networks({
            stateFolder: join(paths.run, 'network'),
            netnsFolder: join(paths.run, 'netns'),
            definitionFolder: join(paths.root, 'networks'),
            environment,
            describe: (id) => `container ${store.read(id)?.name ?? id}`,
          }),
      );
      return networks;
    },
    exitCommand: (id) => [process.execPath, exitProgram(), paths.root, paths.run, id],
    warn,
  };
  return context;
}
