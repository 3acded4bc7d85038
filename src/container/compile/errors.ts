/** Why a configuration that is well formed cannot be made into a launch plan on this machine, or safely on any. */
import { TvmmError } from '../../sys/errors.js';

/** The message tells the place in config.json and what is wrong there. */
export class CompileError extends TvmmError {
  /** As `linux.sysctl["net.core.somaxconn"]`, `mounts[2]`. */
  readonly path: string;

  constructor(path: string, message: string, hint?: string) {
    super(`${path} ${message}`, { code: 'SPEC_UNUSABLE', hint });
    this.path = path;
  }
}
