/**
 * How a container is, as its checks have found: `health.json` in its folder, and what one more check makes of it. The rules are docker's: one
 * good check makes it healthy, `retries` bad ones in a row unhealthy, and until it was healthy once the bad ones of its start period do
 * not count.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere, writeReplaceable } from '../files.js';
import type { ContainerRecord } from '../record.js';
import { type Infer, list, number, object, oneOf, parseDocument, text } from '../shape.js';
import type { HealthCheck } from './check.js';

const probeShape = object({
  /** RFC 3339 */
  start: text,
  end: text,
  /** -1 when it did not end in time. */
  exitCode: number,
  /** The first bytes of what it printed. */
  output: text,
});
export type Probe = Infer<typeof probeShape>;

const healthShape = object({
  status: oneOf('starting', 'healthy', 'unhealthy'),
  failingStreak: number,
  /** The last ones, the oldest first. */
  log: list(probeShape),
});
export type Health = Infer<typeof healthShape>;
export type HealthStatus = Health['status'];

const MAX_LOG = 5;
const STARTING: Health = { status: 'starting', failingStreak: 0, log: [] };

function healthFile(folder: string): string {
  return join(folder, 'health.json');
}

/** @returns undefined for a container without a check @throws RecordError */
export function readHealth(folder: string, { healthCheck }: ContainerRecord): Health | undefined {
  if (healthCheck === undefined) return undefined;
  const json = readIfThere(healthFile(folder));
  return json === undefined ? STARTING : parseDocument(healthShape, json, healthFile(folder));
}

export function writeHealth(folder: string, health: Health): void {
  writeReplaceable(healthFile(folder), `${JSON.stringify(health)}\n`);
}

/** A start begins anew. */
export function forgetHealth(folder: string): void {
  rmSync(healthFile(folder), { force: true });
}

/** What a check makes of it. @param started when the container was, RFC 3339 */
export function advance(
  health: Health,
  probe: Probe,
  check: HealthCheck,
  started: string | undefined,
): Health {
  const log = [...health.log, probe].slice(-MAX_LOG);
  if (probe.exitCode === 0) return { status: 'healthy', failingStreak: 0, log };
  const age = started === undefined ? 0 : Date.parse(probe.start) - Date.parse(started);
  if (health.status === 'starting' && age < check.startPeriod) return { ...health, log };
  const failingStreak = health.failingStreak + 1;
  return { status: failingStreak >= check.retries ? 'unhealthy' : health.status, failingStreak, log };
}
