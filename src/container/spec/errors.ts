/** What is wrong with a config.json: every problem that was found, each with the place in the document. */
import { TvmmError } from '../../sys/errors.js';

/** One thing that is wrong: `path` as `process.args[0]`, `message` a clause that goes on from it (`must be a string, not 3`). */
export interface SpecProblem {
  readonly path: string;
  readonly message: string;
}

/** A document that is not a usable OCI configuration. The message tells the first problems, {@link problems} has them all. */
export class SpecError extends TvmmError {
  readonly problems: readonly SpecProblem[];

  /** @param file that the document stands in, for the message */
  constructor(problems: readonly SpecProblem[], cause?: unknown, file?: string) {
    super(`${file === undefined ? '' : `${file}: `}${tell(problems)}`, { code: 'SPEC_INVALID', cause });
    this.problems = problems;
  }
}

/** How many problems one message tells. */
const SHOWN = 5;

function tell(problems: readonly SpecProblem[]): string {
  const sentences = problems.slice(0, SHOWN).map(sentence);
  const rest = problems.length - SHOWN;
  return rest > 0 ? `${sentences.join('; ')}; and ${rest} more` : sentences.join('; ');
}

/** `process.args[0] must be a string`: a problem as one sentence. */
export function sentence({ path, message }: SpecProblem): string {
  return path === '' ? `the document ${message}` : `${path} ${message}`;
}
