/**
 * `create`: checks every option by compiling it, claims the name, and writes the record. No process and no mount: those come with start, which
 * compiles the same options anew.
 */
import { rmSync } from 'node:fs';
import { parsePortSpecs } from '../network/ports.js';
import { signalName, signalNumber } from '../spec/signals.js';
import type { EngineContext, EngineImage, ImageSource, PullPolicy } from './context.js';
import { OptionError } from './errors.js';
import { makeEtcFiles } from './etc-files.js';
import { note } from './events.js';
import { checkAppArmor, specFacts, userProfile } from './facts.js';
import { healthCheckOf } from './health/check.js';
import { parseLogOptions } from './log-options.js';
import { newId } from './names.js';
import { compileSpec, networkOf } from './options/compile.js';
import { planVolumes } from './options/mounts.js';
import { chooseIdRange, isPrivateUserns } from './options/namespaces.js';
import type { ContainerOptions } from './options/options.js';
import { containerArguments, NO_IMAGE } from './options/process.js';
import { collectNetworksIfNeeded } from './prune.js';
import { type ContainerRecord, newRecord } from './record.js';
import { parseRestartPolicy } from './restart.js';
import { noteMissing, rootlessFacts } from './rootless.js';
import { USER_NETWORK_HINT } from './user-tools.js';
import { anonymousName, makeVolumes, removeAnonymous } from './volumes/volumes.js';
import { withVolumesFrom } from './volumes/volumes-from.js';

export interface CreateRequest {
  readonly name?: string | undefined;
  readonly options: ContainerOptions;
  readonly pull?: PullPolicy;
  /** How an image is fetched. */
  readonly source?: ImageSource;
  readonly report?: (message: string) => void;
}

/** @throws OptionError, ContainerNameError and the image store's errors; nothing is left then */
export async function createContainer(
  context: EngineContext,
  request: CreateRequest,
): Promise<ContainerRecord> {
  const image = await findImage(context, request);
  const defaults = image?.defaults ?? NO_IMAGE;
  const options = withLabels(
    withPublished(withVolumesFrom(context, request.options), defaults.exposedPorts),
    defaults.labels,
  );
  const stopSignal = options.stopSignal ?? (defaults.stopSignal === '' ? 'SIGTERM' : defaults.stopSignal);
  const number = signalNumber(stopSignal);
  if (number === undefined || number === 0)
    throw new OptionError('--stop-signal', `${JSON.stringify(stopSignal)} is no signal`);
  const policy = parseRestartPolicy(options.restart);
  if (options.remove && policy.kind !== 'no')
    throw new OptionError('--rm', 'cannot be combined with --restart', 'leave one of them out');
  parseLogOptions(options.logDriver, options.logOpt);
  userProfile(options);
  checkAppArmor(options);

  if (options.timeout !== undefined && (options.timeout < 0 || options.timeout > 2 ** 31))
    throw new OptionError('--timeout', `${options.timeout} is out of range`);
  const healthCheck = healthCheckOf(options, defaults);

  const id = newId();
  const planned = newRecord({
    id,
    name: request.name ?? 'container',
    options,
    stopSignal: signalName(number),
    stopTimeout: options.stopTimeout ?? 10,
    argv: [...containerArguments(options, defaults)],
    ...(image === undefined ? {} : { imageId: image.id }),
    ...(healthCheck === undefined ? {} : { healthCheck }),
    ...(isPrivateUserns(options.userns) ? { firstId: 0 } : {}),
  });
  const nobody = { uid: 0, gid: 0, additionalGids: [], home: '/' };
  const rootPath = options.rootfs ?? '/';
  const volumes = planVolumes(
    options,
    defaults.volumes,
    anonymousName,
    specFacts(context, planned, defaults, rootPath, nobody),
  );
  const draft: ContainerRecord = { ...planned, volumes };
  const facts = specFacts(context, draft, defaults, rootPath, nobody);
  const { mode } = networkOf(options, facts);
  if (parsePortSpecs(options.publish).length > 0 && mode.kind !== 'networks' && mode.kind !== 'user')
    throw new OptionError(
      '--publish',
      `needs a network of the container's own, not --network ${mode.kind}`,
      facts.rootless === undefined ? undefined : USER_NETWORK_HINT,
    );
  compileSpec(options, facts);

  noteMissing(context.paths.run, request.report);
  clearOrphans(context);
  await collectNetworksIfNeeded(context);
  let record = draft;
  await context.store.claimName(request.name, id, (name) => {
    record = { ...draft, name, ...idRange(context, draft) };
    return record;
  });
  try {
    makeEtcFiles(context.store.folder(id));
    if (image !== undefined) await context.images.prepare(record, image);
    await makeVolumes(context, record);
    note(context.paths, 'create', record);
    return record;
  } catch (error) {
    await context.images.remove(record).catch(() => {});
    context.store.remove(id, record.name);
    await removeAnonymous(context, record).catch(() => {});
    throw error;
  }
}

/** `-P`: every port that the image or `--expose` names, each on a port of the host that is free. */
function withPublished(options: ContainerOptions, exposed: readonly string[]): ContainerOptions {
  // What --expose names is checked in either case.
  parsePortSpecs(options.expose);
  if (!options.publishAll) return options;
  const all = [...exposed, ...options.expose].map((one) => (one.includes('/') ? one : `${one}/tcp`));
  return { ...options, publishAll: false, publish: [...new Set([...options.publish, ...all])] };
}

/** The image's labels are its containers' too, unless they say otherwise. */
function withLabels(options: ContainerOptions, labels: Readonly<Record<string, string>>): ContainerOptions {
  const own = new Set(options.label.map((one) => one.split('=')[0]));
  const inherited = Object.entries(labels).flatMap(([name, value]) =>
    own.has(name) ? [] : [`${name}=${value}`],
  );
  return inherited.length === 0 ? options : { ...options, label: [...inherited, ...options.label] };
}

async function findImage(
  context: EngineContext,
  { options, pull = 'missing', report = () => {}, source = {} }: CreateRequest,
): Promise<EngineImage | undefined> {
  if (options.rootfs !== undefined) {
    if (options.image !== undefined) throw new OptionError('--rootfs', 'takes the place of the image');
    return undefined;
  }
  if (options.image === undefined)
    throw new OptionError('IMAGE', 'there is none', 'name an image, or a folder with --rootfs DIR');
  return context.images.find(options.image, pull, report, source);
}

/** A range that no other container has; the caller keeps others from choosing one. */
function idRange(context: EngineContext, draft: ContainerRecord): Pick<ContainerRecord, 'firstId'> {
  if (draft.firstId === undefined) return {};
  return {
    firstId: chooseIdRange(
      context.store.all().flatMap(({ firstId }) => firstId ?? []),
      rootlessFacts()?.ids,
    ),
  };
}

/** Folders that killed commands left. */
function clearOrphans(context: EngineContext): void {
  for (const id of context.store.orphans())
    rmSync(context.store.folder(id), { recursive: true, force: true });
}
