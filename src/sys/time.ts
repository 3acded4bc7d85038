/**
 * A clock and a pause without `performance` and `node:timers/promises`: Node loads a dozen modules of its own for the first, and more for the
 * second, which the commands that end at once would wait for.
 */

/** Milliseconds of the monotonic clock, since no particular time. */
export function now(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}

/** Resolves after so many milliseconds. */
export function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });
}
