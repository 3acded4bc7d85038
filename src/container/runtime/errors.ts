/**
 * What can fail with containers: one class an operation, with a stable code. Messages that runc's clients look for in its output
 * ("container does not exist", "container not running") are worded as there.
 */
import { TvmmError } from '../../sys/errors.js';

interface Details {
  readonly hint?: string;
  readonly cause?: unknown;
}

/** Any failure of this folder's code. */
export abstract class RuntimeError extends TvmmError {}

/** An id that no container can have. */
export class ContainerIdError extends RuntimeError {
  constructor(message: string) {
    super(message, {
      code: 'CONTAINER_ID',
      hint: 'An id is made of letters, digits and _ + - . and has at most 255 characters.',
    });
  }
}

/** The id is taken. */
export class ContainerExistsError extends RuntimeError {
  constructor(id: string) {
    super(`container with given ID already exists: ${id}`, {
      code: 'CONTAINER_EXISTS',
      hint: 'Delete it first, or choose another id.',
    });
  }
}

export class ContainerNotFoundError extends RuntimeError {
  constructor(id: string, folder: string) {
    super(`container does not exist: ${id} is not in ${folder}`, { code: 'CONTAINER_NOT_FOUND' });
  }
}

/** The operation is not one for the state that the container is in. */
export class ContainerStatusError extends RuntimeError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'CONTAINER_STATUS', ...details });
  }
}

/** Another command has the container and does not let go. */
export class ContainerBusyError extends RuntimeError {
  constructor(id: string, milliseconds: number) {
    super(`container ${id} is in use by another command for more than ${milliseconds / 1000} s`, {
      code: 'CONTAINER_BUSY',
    });
  }
}

/** The container's folder holds something else than this runtime has written. */
export class ContainerRecordError extends RuntimeError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'CONTAINER_RECORD', ...details });
  }
}

/** The bundle cannot be read. */
export class BundleError extends RuntimeError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'BUNDLE', ...details });
  }
}

/** The container cannot be made, or its program not be started. */
export class CreateError extends RuntimeError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'CREATE_FAILED', ...details });
  }
}

export class StartError extends RuntimeError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'START_FAILED', ...details });
  }
}

export class ExecError extends RuntimeError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'EXEC_FAILED', ...details });
  }
}

/** A signal cannot be sent. */
export class KillError extends RuntimeError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'KILL_FAILED', ...details });
  }
}

export class DeleteError extends RuntimeError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'DELETE_FAILED', ...details });
  }
}

/** A hook failed. */
export class HookError extends RuntimeError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'HOOK_FAILED', ...details });
  }
}

/** criu is missing or failed. */
export class CheckpointError extends RuntimeError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'CHECKPOINT_FAILED', ...details });
  }
}

/** The errno name of a failed node:fs call or system call; the empty string for anything else. */
export function errnoOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}
