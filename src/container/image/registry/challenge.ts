/**
 * The WWW-Authenticate header (RFC 9110 11.6.1) as registries use it: `Bearer` with realm, service and scope, or `Basic`. Written by a
 * server that may be hostile: bounded, and what does not parse is ignored.
 */

export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const MAX_HEADER = 8192;
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+/;
const QUOTED = /^"((?:[^"\\]|\\.)*)"/;

/** All challenges of a header, in order. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  if (header.length > MAX_HEADER) return challenges;
  let rest = header;
  const skip = (pattern: RegExp): void => {
    rest = rest.replace(pattern, '');
  };
  for (;;) {
    skip(/^[\s,]+/);
    const word = TOKEN.exec(rest)?.[0];
    if (word === undefined) return challenges;
    rest = rest.slice(word.length);
    const current = challenges.at(-1);
    if (/^\s*=/.test(rest) && current !== undefined) {
      skip(/^\s*=\s*/);
      const quoted = QUOTED.exec(rest);
      const value = quoted?.[0] ?? TOKEN.exec(rest)?.[0];
      if (value === undefined) return challenges;
      rest = rest.slice(value.length);
      current.parameters.set(word.toLowerCase(), quoted?.[1]?.replace(/\\(.)/g, '$1') ?? value);
    } else {
      challenges.push({ scheme: word.toLowerCase(), parameters: new Map() });
    }
  }
}
