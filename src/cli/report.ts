/**
 * How a failure looks to a person: one sentence, then what to do about it. Stack traces and causes only with `--debug`.
 */
import { inspect } from 'node:util';
import { escaped, TvmmError } from '../sys/errors.js';
import { exhaustionOf } from '../sys/exhausted.js';

/** Some messages have several lines; nothing else in them reaches the terminal that would steer it. */
function forTerminal(text: string): string {
  return text.split('\n').map(escaped).join('\n');
}

/** The lines for stderr, ending in a newline. Whatever was thrown gives text; it may be no Error at all. */
export function failureText(error: unknown, debug: boolean): string {
  const lines: string[] = [];
  const exhausted = exhaustionOf(error);
  if (error instanceof TvmmError) {
    lines.push(`tvmm: ${forTerminal(error.message)}`);
    const hint = error.hint ?? exhausted?.hint ?? '';
    if (hint !== '') lines.push(`hint: ${forTerminal(hint)}`);
  } else if (exhausted !== undefined && error instanceof Error) {
    lines.push(`tvmm: ${exhausted.what}: ${forTerminal(error.message)}`, `hint: ${exhausted.hint}`);
  } else {
    const message = error instanceof Error ? error.message : String(error);
    lines.push(`tvmm: internal error: ${message === '' ? 'no message' : forTerminal(message)}`);
    if (!debug)
      lines.push('hint: run the same with --debug to see where; this is a defect of tvmm, please report it');
  }
  if (debug) lines.push(inspect(error));
  return `${lines.join('\n')}\n`;
}
