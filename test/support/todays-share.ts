/**
 * Of tests with too many cases for one run: every twelfth is tried, others each day, so that a week and a half has seen them all;
 * TVMM_TEST_EVERY_STEP=1 tries all at once.
 */

export const EVERY_STEP = process.env.TVMM_TEST_EVERY_STEP === '1';
const STRIDE = EVERY_STEP ? 1 : 12;
const OFFSET = Math.floor(Date.now() / 86_400_000) % STRIDE;

/** Those whose turn it is. */
export function todaysShare<T>(all: readonly T[]): T[] {
  return all.filter((_, index) => index % STRIDE === OFFSET);
}
