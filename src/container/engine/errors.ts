/** What can fail in the engine: one class an operation, each with a stable code; messages name the container as the user did. */
import { TvmmError } from '../../sys/errors.js';

/** No container, or more than one, has that name or id. */
export class ContainerNotFoundError extends TvmmError {}

/** The name is taken or is no name. */
export class ContainerNameError extends TvmmError {}

/** The container's state does not allow what was asked. */
export class ContainerStateError extends TvmmError {}

/** A file of the engine's own that is not what the engine writes. */
export class RecordError extends TvmmError {}

/** An option of run, create or update that means nothing, or that does not go with another. */
export class OptionError extends TvmmError {
  constructor(option: string, problem: string, hint?: string) {
    super(`${option}: ${problem}`, { code: 'CONTAINER_OPTION', hint });
  }
}

/** The container cannot be started. `exitCode` is docker's: 125 the engine, 126 not executable, 127 not found. */
export class StartError extends TvmmError {
  readonly exitCode: number;

  constructor(message: string, exitCode: number, options: { code: string; hint?: string; cause?: unknown }) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** A process of the container's side (the minder) does not answer. */
export class MinderError extends TvmmError {}

/** Copying into or out of a container. */
export class CopyError extends TvmmError {}

/** A pod that is not there, or whose state does not allow what was asked. */
export class PodError extends TvmmError {}

/** A volume that is not there, whose name is taken or none, or that containers use. */
export class VolumeError extends TvmmError {}
