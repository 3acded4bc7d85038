/**
 * `start`: root file system, config.json, minder and launcher, networks, go. Whatever fails, all of it is taken down again and the record
 * says why; killed half-way, the next command does that (settle.ts). The caller holds the lock.
 */
import { closeSync, constants, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { TvmmError } from '../../sys/errors.js';
import { LaunchError } from '../launch/errors.js';
import type { NetworkMode } from '../network/mode.js';
import type { NetworkResult } from '../network/networks.js';
import { type PortMapping, parsePortSpecs } from '../network/ports.js';
import type { EngineContext } from './context.js';
import { defaultUser } from './default-user.js';
import { ContainerStateError, StartError } from './errors.js';
import { fillEtcFiles, makeEtcFiles } from './etc-files.js';
import { specFacts } from './facts.js';
import { writeReplaceable } from './files.js';
import { forgetHealth } from './health/health.js';
import { makeInitFile } from './init-file.js';
import { transition } from './lifecycle.js';
import { minderOptions } from './log-options.js';
import { CONSOLE_SOCKET, MinderClient, minderCommand } from './minder.js';
import { compileSpec, networkOf } from './options/compile.js';
import { containerWorkdir, NO_IMAGE } from './options/process.js';
import { identify } from './process.js';
import type { ContainerRecord } from './record.js';
import { rootlessFacts } from './rootless.js';
import { completeStart, settle, takeDown, withoutRun } from './settle.js';
import { specText } from './spec-text.js';
import { prepareVolumes } from './volumes/copy-up.js';
import { makeWorkdir } from './workdir.js';

export interface StartOptions {
  /** Called when the container is made and its program not started yet: the moment to attach without losing a byte. */
  readonly onCreated?: (minder: MinderClient, made: ContainerRecord) => Promise<void>;
  /** By the restart policy, not by the user. */
  readonly byPolicy?: boolean;
}

/** @throws ContainerStateError, StartError */
export async function startContainer(
  context: EngineContext,
  found: ContainerRecord,
  options: StartOptions = {},
): Promise<ContainerRecord> {
  const settled = await settle(context, found);
  refuse(settled, 'start');
  const record: ContainerRecord = {
    ...withoutRun(settled),
    starting: true,
    restarts: options.byPolicy === true ? settled.restarts + 1 : 0,
    stopRequested: false,
  };
  context.store.write(record);
  try {
    return await launch(context, record, options);
  } catch (error) {
    await takeDown(context, record).catch((failure: unknown) =>
      context.warn(`what was made of container ${record.name} could not be removed: ${String(failure)}`),
    );
    const failure = startError(record, error);
    context.store.write({
      ...withoutRun(record),
      state: settled.state === 'created' ? 'created' : 'stopped',
      exitCode: failure.exitCode,
      problem: failure.message,
    });
    throw failure;
  }
}

async function launch(
  context: EngineContext,
  record: ContainerRecord,
  { onCreated }: StartOptions,
): Promise<ContainerRecord> {
  const { id } = record;
  const folder = context.store.folder(id);
  // A network that was left by a failed end would be in the way.
  await takeDown(context, record);
  rmSync(join(folder, 'exit.json'), { force: true });
  if (record.healthCheck !== undefined) forgetHealth(folder);
  makeEtcFiles(folder);
  if (record.options.init || record.options.pause) makeInitFile(folder);
  const image = await context.images.of(record);
  const rootPath = await context.images.mount(record);
  await prepareVolumes(context, record, rootPath);
  const user = await context.images.user(
    rootPath,
    record.options.user ?? defaultUser(image?.defaults),
    record.options.groupAdd,
  );
  const defaults = image?.defaults ?? NO_IMAGE;
  if (record.options.rootfs === undefined) {
    const first = record.firstId ?? 0;
    const owner = { uid: first + user.uid, gid: first + user.gid };
    makeWorkdir(rootPath, containerWorkdir(record.options, defaults), owner);
  }
  const facts = specFacts(context, record, defaults, rootPath, user);
  writeReplaceable(join(folder, 'config.json'), specText(compileSpec(record.options, facts)));

  const pid = await create(context, record, folder);
  using minder = await MinderClient.connect(folder);
  const minderPid = await minder.tellInit(pid);
  const init = identify(pid);
  const minderIdentity = identify(minderPid);
  if (init === undefined || minderIdentity === undefined)
    throw new StartError(`container ${record.name} ended before it was started`, 125, {
      code: 'START_ENDED',
    });
  const made = { ...record, init, minder: minderIdentity };
  context.store.write(made);

  const { mode } = networkOf(record.options, facts);
  // `network disconnect` may have left nothing that could publish them.
  const ports = mode.kind === 'none' ? [] : parsePortSpecs(record.options.publish);
  const network = await connect(context, record, pid, mode, ports);
  fillEtcFiles(context, record, mode, network);
  await onCreated?.(minder, made);
  const ready = { ...made, interfaces: network.interfaces, ports: network.ports };
  // Who finds this start killed below can complete it.
  if (ready.interfaces.length > 0 || ready.ports.length > 0) context.store.write(ready);
  await context.runtime.start(id);
  return completeStart(context, ready);
}

/** The network of a container that has one of its own. */
async function connect(
  context: EngineContext,
  { id, options }: ContainerRecord,
  pid: number,
  mode: NetworkMode,
  ports: readonly PortMapping[],
): Promise<Pick<NetworkResult, 'interfaces' | 'ports' | 'dns'>> {
  if (options.pod !== undefined || !['networks', 'none', 'user'].includes(mode.kind))
    return { interfaces: [], ports: [], dns: [] };
  const rootless = rootlessFacts();
  if (rootless !== undefined) {
    const tool = rootless.networks.find(({ kind }) => mode.kind === 'user' && kind === mode.tool);
    // lo is up by the plan.
    if (tool === undefined) return { interfaces: [], ports: [], dns: [] };
    const { startUserNetwork } = await import('./user-network.js');
    return startUserNetwork({ tool, containerId: id, pid, ports, folder: context.paths.userNetworks });
  }
  return (await context.networks()).setUp({ containerId: id, netns: `/proc/${pid}/ns/net`, mode, ports });
}

/** The OCI create, with the launcher under a minder. */
async function create(context: EngineContext, record: ContainerRecord, folder: string): Promise<number> {
  const under = minderCommand(minderOptions(context, record));
  if (!record.options.tty) return context.runtime.create(record.id, folder, { under });
  // Paths of sockets end at 107 bytes: through the folder's descriptor every folder is near.
  const directory = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const consoleSocket = `/proc/${process.pid}/fd/${directory}/${CONSOLE_SOCKET}`;
    return await context.runtime.create(record.id, folder, { under, consoleSocket });
  } finally {
    closeSync(directory);
  }
}

/** @throws ContainerStateError when the state does not allow it */
export function refuse(record: ContainerRecord, event: Parameters<typeof transition>[1]): void {
  const result = transition(record.state, event);
  if ('next' in result) return;
  throw new ContainerStateError(`container ${record.name} ${result.problem}`, {
    code: 'CONTAINER_STATE',
    hint: result.hint,
  });
}

/** Docker's exit statuses: 127 when the program is not there, 126 when it cannot be run, 125 for all else. */
function startError(record: ContainerRecord, error: unknown): StartError {
  if (error instanceof StartError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const exitCode = error instanceof LaunchError ? programStatus(error) : 125;
  return new StartError(`container ${record.name} cannot be started: ${message}`, exitCode, {
    code: error instanceof TvmmError ? error.code : 'START_FAILED',
    hint: error instanceof TvmmError ? error.hint : undefined,
    cause: error,
  });
}

const ENOENT = 2;
const ENOTDIR = 20;

/** The program is looked for before it is run, so that its absence is known when the container is made. */
export function programStatus(error: LaunchError): number {
  const { failedStep } = error;
  if (failedStep.op === 'label' || !failedStep.what.startsWith('find the program')) return error.exitStatus;
  return error.errno === ENOENT || error.errno === ENOTDIR ? 127 : 126;
}
