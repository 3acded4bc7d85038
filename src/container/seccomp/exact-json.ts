/**
 * JSON whose integers keep all their digits (RFC 8259 section 6 leaves precision to the reader): those beyond 2^53 become bigints, all
 * else is JSON.parse's. Seccomp compares 64-bit values, where a rounded one is another rule. Costs one search when there are none.
 */

const LONG_INTEGER = /[0-9]{16}/;
const STRING_OR_LONG_INTEGER = /"(?:[^"\\]|\\.)*"|(?<![0-9.eE+-])-?[0-9]{16,}(?![0-9.eE])/g;
const MARK = '\u0000integer:';
const MARKED = /^\0integer:(-?[0-9]+)$/;

function restore(_key: string, value: unknown): unknown {
  if (typeof value !== 'string') return value;
  const digits = MARKED.exec(value)?.[1];
  if (digits === undefined) return value;
  const integer = BigInt(digits);
  const number = Number(integer);
  return Number.isSafeInteger(number) ? number : integer;
}

/**
 * Parses JSON text without rounding integers.
 * @throws SyntaxError as JSON.parse does
 */
export function parseExactJson(text: string): unknown {
  // First of all: only valid JSON has all its strings closed, so that the search below cannot run away over hostile text.
  const plain: unknown = JSON.parse(text);
  if (!LONG_INTEGER.test(text)) return plain;
  const marked = text.replace(STRING_OR_LONG_INTEGER, (token) =>
    token.startsWith('"') || token.length > 40 ? token : JSON.stringify(MARK + token),
  );
  return JSON.parse(marked, restore);
}

/** JSON text of a value that may hold bigints; they are written as plain integers. The counterpart of {@link parseExactJson}. */
export function exactJson(value: unknown): string {
  const text = JSON.stringify(value, (_key, item: unknown) =>
    typeof item === 'bigint' ? `${MARK}${item}` : item,
  );
  return text.includes('\\u0000integer:') ? text.replace(/"\\u0000integer:(-?[0-9]+)"/g, '$1') : text;
}
