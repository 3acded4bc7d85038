/** A command line that cannot be: one sentence, and what to write instead. */
import { TvmmError } from '../sys/errors.js';

export class UsageError extends TvmmError {
  constructor(message: string, hint?: string) {
    super(message, { code: 'USAGE', hint });
  }
}
