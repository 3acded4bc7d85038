/** `--filter KEY=VALUE`: which keys a command knows, and what several of them mean (docker's rule: all keys must match, one value of each). */
import { UsageError } from '../usage-error.js';

/** One function a key: whether an item matches a value. */
export type Filters<T> = Readonly<Record<string, (item: T, value: string) => boolean>>;

/** @throws UsageError for a key that the command does not know */
export function filterOf<T>(
  filters: Filters<T>,
  values: readonly string[] | undefined,
): (item: T) => boolean {
  const wanted = new Map<string, string[]>();
  for (const filter of values ?? []) {
    const [key = '', value = ''] = filter.split(/=(.*)/s);
    // `label!=NAME`
    if (!Object.hasOwn(filters, key))
      throw new UsageError(
        `--filter ${filter} is not known`,
        Object.keys(filters)
          .map((one) => `${one}=`)
          .join(', '),
      );
    wanted.set(key, [...(wanted.get(key) ?? []), value]);
  }
  return (item) =>
    [...wanted].every(([key, any]) => {
      // Labels are the exception: all that are named must be there.
      const matches = (value: string) => filters[key]?.(item, value) === true;
      return key === 'label' || key === 'label!' ? any.every(matches) : any.some(matches);
    });
}

/** `NAME` or `NAME=VALUE` against labels. */
export function hasLabel(labels: Readonly<Record<string, string>>, wanted: string): boolean {
  const [name = '', value] = wanted.split(/=(.*)/s);
  return Object.hasOwn(labels, name) && (value === undefined || labels[name] === value);
}

/** `NAME=VALUE` words as a table; `NAME` alone has an empty value. @throws UsageError */
export function labelTable(option: string, words: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    words.map((word) => {
      const [name = '', value = ''] = word.split(/=(.*)/s);
      if (name === '') throw new UsageError(`${option} ${JSON.stringify(word)} is not NAME=VALUE`);
      return [name, value];
    }),
  );
}

/** `true`, `1`, `false` or `0`. @throws UsageError */
export function isTrue(option: string, text: string): boolean {
  if (/^(true|1)$/i.test(text)) return true;
  if (/^(false|0)$/i.test(text)) return false;
  throw new UsageError(`${option}=${text} is neither true nor false`);
}
