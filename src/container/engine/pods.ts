/**
 * Pods: containers that share network, ipc and uts namespaces. A pod is a container itself, whose program is our little init as pause process:
 * so everything that holds for containers (records, networks, recovery) holds for pods. Its root file system is an empty folder.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { EngineContext } from './context.js';
import { createContainer } from './create.js';
import { ContainerNotFoundError, PodError } from './errors.js';
import { INIT_IN_CONTAINER } from './options/compile.js';
import { type ContainerOptions, NO_OPTIONS } from './options/options.js';
import type { ContainerRecord } from './record.js';
import { settle } from './settle.js';
import { startContainer } from './start.js';
import { removeContainer, stopContainer } from './stop.js';
import { current } from './wait.js';

export type PodOptions = Partial<
  Pick<
    ContainerOptions,
    | 'network'
    | 'publish'
    | 'hostname'
    | 'dns'
    | 'dnsSearch'
    | 'dnsOption'
    | 'addHost'
    | 'label'
    | 'sysctl'
    | 'shmSize'
  >
>;

/** All pods have one, which nobody writes to. */
function emptyRoot(context: EngineContext): string {
  const folder = join(context.paths.root, 'engine', 'pause-root');
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  return folder;
}

/** The pause process must not be what a member's escape attempt lands in: it has no capability at all. */
export async function createPod(
  context: EngineContext,
  name: string | undefined,
  options: PodOptions,
): Promise<ContainerRecord> {
  return createContainer(context, {
    ...(name === undefined ? {} : { name }),
    options: {
      ...NO_OPTIONS,
      ...options,
      rootfs: emptyRoot(context),
      pause: true,
      command: [INIT_IN_CONTAINER, '--pause'],
      capDrop: ['all'],
      logDriver: 'none',
      stopTimeout: 1,
    },
  });
}

/** @throws PodError when it is a container that is no pod, or nothing */
export function findPod(context: EngineContext, word: string): ContainerRecord {
  const record = readPod(context, word);
  if (record?.options.pause === true) return record;
  throw new PodError(`there is no pod ${word}`, {
    code: 'POD_NOT_FOUND',
    hint: 'tvmm pod ls shows all pods',
  });
}

function readPod(context: EngineContext, word: string): ContainerRecord | undefined {
  try {
    return context.store.read(context.store.resolve(word));
  } catch (error) {
    if (error instanceof ContainerNotFoundError) return undefined;
    throw error;
  }
}

/** The containers in a pod, without its pause container. */
export function podMembers(context: EngineContext, pod: ContainerRecord): ContainerRecord[] {
  return context.store.all().filter(({ options }) => options.pod === pod.id);
}

export interface PodSummary {
  readonly pod: ContainerRecord;
  readonly members: readonly ContainerRecord[];
}

export async function listPods(context: EngineContext): Promise<PodSummary[]> {
  const pods: PodSummary[] = [];
  for (const { id, options } of context.store.all()) {
    if (!options.pause) continue;
    const pod = await current(context, id);
    if (pod !== undefined) pods.push({ pod, members: podMembers(context, pod) });
  }
  return pods;
}

/** Starts the pause process and every member that does not run. */
export async function startPod(context: EngineContext, id: string): Promise<void> {
  const pod = await startIfNeeded(context, id);
  for (const member of podMembers(context, pod).reverse()) await startIfNeeded(context, member.id);
}

async function startIfNeeded(context: EngineContext, id: string): Promise<ContainerRecord> {
  return context.store.locked(id, async (found) => {
    const record = await settle(context, found);
    return record.state === 'running' || record.state === 'paused' ? record : startContainer(context, record);
  });
}

/** Stops the members, all at once, then the pause process. */
export async function stopPod(
  context: EngineContext,
  id: string,
  options: { readonly timeout?: number | undefined } = {},
): Promise<void> {
  const pod = context.store.read(id);
  if (pod === undefined) return;
  await Promise.all(podMembers(context, pod).map((member) => stopContainer(context, member.id, options)));
  await stopContainer(context, id, options);
}

/** @throws PodError when members are there and `force` is not set */
export async function removePod(context: EngineContext, id: string, force: boolean): Promise<void> {
  const pod = context.store.read(id);
  if (pod === undefined) return;
  const members = podMembers(context, pod);
  if (members.length > 0 && !force) {
    throw new PodError(`pod ${pod.name} has containers: ${members.map(({ name }) => name).join(', ')}`, {
      code: 'POD_IN_USE',
      hint: 'remove them first, or use -f',
    });
  }
  for (const member of members) await removeContainer(context, member.id, { force: true });
  await removeContainer(context, id, { force });
}

/** Does the same to every container of a pod that runs, or that is paused. */
export async function eachMember(
  context: EngineContext,
  id: string,
  state: 'running' | 'paused',
  action: (member: ContainerRecord) => Promise<unknown>,
): Promise<void> {
  const pod = context.store.read(id);
  if (pod === undefined) return;
  for (const member of podMembers(context, pod)) {
    const now = await current(context, member.id);
    if (now?.state === state) await action(now);
  }
}
