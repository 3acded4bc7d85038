/** `--restart`: no, always, unless-stopped, on-failure[:N]; whether and when a container that has ended is started again. Pure. */
import { OptionError } from './errors.js';
import type { ContainerRecord } from './record.js';

export interface RestartPolicy {
  readonly kind: 'no' | 'always' | 'unless-stopped' | 'on-failure';
  /** Starts that `on-failure:N` allows; undefined: any number. */
  readonly most: number | undefined;
}

/** @throws OptionError */
export function parseRestartPolicy(text: string): RestartPolicy {
  const match = /^(no|always|unless-stopped|on-failure)(?::(\d{1,6}))?$/.exec(text);
  const kind = match?.[1];
  if (kind === 'on-failure') return { kind, most: match?.[2] === undefined ? undefined : Number(match[2]) };
  if (match?.[2] === undefined && (kind === 'no' || kind === 'always' || kind === 'unless-stopped'))
    return { kind, most: undefined };
  throw new OptionError(
    '--restart',
    `${JSON.stringify(text)} is no policy`,
    'no, always, unless-stopped, on-failure or on-failure:N',
  );
}

export interface EndedRun {
  readonly exitCode: number;
  /** Starts by the policy so far. */
  readonly restarts: number;
  readonly stopRequested: boolean;
}

/** A run that nobody saw the end of counts as failed. */
export function endedRun(record: Pick<ContainerRecord, 'exitCode' | 'restarts' | 'stopRequested'>): EndedRun {
  const { exitCode = 255, restarts, stopRequested } = record;
  return { exitCode, restarts, stopRequested };
}

export function shouldRestart(policy: RestartPolicy, run: EndedRun): boolean {
  if (run.stopRequested || policy.kind === 'no') return false;
  if (policy.kind !== 'on-failure') return true;
  return run.exitCode !== 0 && (policy.most === undefined || run.restarts < policy.most);
}

/**
 * Whether a container is to be started when the machine has been, as docker does it: `always` even if the user had stopped it, `on-failure` if
 * its last run failed, which one that the machine's end has cut off did.
 */
export function wantsStartAtBoot(policy: RestartPolicy, run: EndedRun): boolean {
  if (policy.kind === 'always') return true;
  return shouldRestart(policy, run);
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 60_000;
/** A run of this length was a success: the pauses begin anew. */
const LONG_RUN_MS = 10_000;

/** How long to wait before the next start: doubled each time, at most a minute. */
export function restartPause(restarts: number, ranMs: number): number {
  if (ranMs >= LONG_RUN_MS) return FIRST_PAUSE_MS;
  return Math.min(FIRST_PAUSE_MS * 2 ** Math.min(restarts, 20), LONGEST_PAUSE_MS);
}
