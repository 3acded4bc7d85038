/**
 * What a check of the host is: a line of a table that looks at one thing and says how it stands. Checks look, they change nothing,
 * need no root, and a check that trips over something unexpected says so instead of throwing.
 */
import type { Host } from './host.js';

/** `degraded`: it works, but with less speed or fewer features, or only for some users. */
export type CheckStatus = 'ok' | 'degraded' | 'missing';

/** What a check found. */
export interface Finding {
  readonly status: CheckStatus;
  /** What was seen, one sentence without a period. */
  readonly detail: string;
  /** What to do about it; not where all is well. */
  readonly fix?: string;
}

/** One line of the table. */
export interface Check {
  /** Stable, for programs: `kvm.device`. */
  readonly id: string;
  readonly title: string;
  look(host: Host): Finding | Promise<Finding>;
}

/** A check with its answer. */
export interface CheckResult extends Finding {
  readonly id: string;
  readonly title: string;
}

export const ok = (detail: string): Finding => ({ status: 'ok', detail });
export const degraded = (detail: string, fix: string): Finding => ({ status: 'degraded', detail, fix });
export const missing = (detail: string, fix: string): Finding => ({ status: 'missing', detail, fix });

/** Runs one check; never throws. */
export async function runCheck(check: Check, host: Host): Promise<CheckResult> {
  const { id, title } = check;
  try {
    return { id, title, ...(await check.look(host)) };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return {
      id,
      title,
      ...degraded(`could not be looked at: ${why}`, 'report this: a check should never fail itself'),
    };
  }
}
