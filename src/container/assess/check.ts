/** The form of a check: one row of the tables in checks/. */
import type { Subject } from './subject.js';
import type { Severity } from './types.js';

export interface Check {
  readonly id: string;
  readonly severity: Severity | ((subject: Subject) => Severity);
  readonly title: string;
  readonly why: string;
  readonly recommendation: string;
  readonly option?: string;
  /** Whether it is so; a list tells what it is about and is true unless empty. */
  readonly found: (subject: Subject) => boolean | readonly string[];
}

/** One step milder: what reaches the host only as an ordinary user of it. */
export function milder(severity: Severity): Severity {
  return severity === 'critical' ? 'high' : severity === 'high' ? 'medium' : 'low';
}
