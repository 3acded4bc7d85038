/** From the command line to a container, for `run` and `create`: the pod, the id file, the progress of a pull. */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import type { EngineContext } from '../../container/engine/context.js';
import type { ContainerRecord } from '../../container/engine/record.js';
import { UsageError } from '../usage-error.js';
import { type CreateFlags, createRequest } from './create-options.js';
import { callersPath, printError } from './here.js';

export async function makeContainer(
  context: EngineContext,
  image: string | undefined,
  words: readonly string[],
  flags: CreateFlags,
): Promise<ContainerRecord> {
  const { createContainer } = await import('../../container/engine/create.js');
  let pod: string | undefined;
  if (flags.pod !== undefined) {
    const { findPod } = await import('../../container/engine/pods.js');
    pod = findPod(context, flags.pod).id;
  }
  const { cidfile } = flags;
  if (flags.replace === true) await removeNamed(context, flags.name);
  const fd = cidfile === undefined ? undefined : openNew(cidfile);
  try {
    const record = await createContainer(context, {
      ...createRequest(image, words, flags, pod),
      report: (message) => {
        if (flags.quiet !== true) printError(`${message}\n`);
      },
    });
    if (fd !== undefined) writeSync(fd, record.id);
    return record;
  } catch (error) {
    if (cidfile !== undefined) rmSync(callersPath(cidfile), { force: true });
    throw error;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** `--replace`: the container that has the name goes. */
async function removeNamed(context: EngineContext, name: string | undefined): Promise<void> {
  if (name === undefined) throw new UsageError('--replace needs --name', 'which container would it replace?');
  const found = context.store.all().find((one) => one.name === name);
  if (found === undefined) return;
  const { removeContainer } = await import('../../container/engine/stop.js');
  await removeContainer(context, found.id, { force: true, volumes: true });
}

function openNew(file: string): number {
  try {
    return openSync(callersPath(file), 'wx', 0o644);
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? cause.code : cause;
    throw new UsageError(
      why === 'EEXIST'
        ? `--cidfile ${file} exists already`
        : `--cidfile ${file} cannot be made: ${String(why)}`,
      why === 'EEXIST' ? 'remove it, or name another' : undefined,
    );
  }
}
