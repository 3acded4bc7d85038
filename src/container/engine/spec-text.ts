/** A specification as the text of config.json: numbers of 64 bits keep all their digits. */
import type { OciSpec } from '../spec/types.js';

/** Stands for a bigint until JSON.stringify is done; no string of a specification looks like it, since NUL is refused everywhere. */
const MARK = '\\u0000';

export function specText(spec: OciSpec): string {
  const text = JSON.stringify(
    spec,
    (_key, value: unknown) => (typeof value === 'bigint' ? `\0${value}` : value),
    1,
  );
  return `${text.replaceAll(new RegExp(`"${MARK.replace('\\', '\\\\')}(-?[0-9]+)"`, 'g'), '$1')}\n`;
}
