/**
 * `tvmm doctor`: looks at the host through a table of checks and says whether `tvmm boot` can work here, and how. Needs neither root
 * nor /dev/kvm, changes nothing, never throws.
 */
import { type Check, type CheckResult, runCheck } from './check.js';
import { containerChecks } from './containers.js';
import { deviceChecks } from './devices.js';
import { Host } from './host.js';
import { kvmChecks } from './kvm.js';
import { processorChecks } from './processor.js';
import { toolChecks } from './tools.js';

export type { CheckResult, CheckStatus } from './check.js';
export { Host } from './host.js';

/** The groups of checks in the order they are shown. */
export const CHECK_GROUPS: readonly { readonly name: string; readonly checks: readonly Check[] }[] = [
  { name: 'Processor', checks: processorChecks },
  { name: 'KVM', checks: kvmChecks },
  { name: 'Devices and memory', checks: deviceChecks },
  { name: 'Containers', checks: containerChecks },
  { name: 'Tools', checks: toolChecks },
];

/** How `tvmm boot` works here. */
export interface BootVerdict {
  readonly possible: boolean;
  /** `kvm`: on /dev/kvm itself. `lab`: in an emulated machine. `null`: not at all. */
  readonly accel: 'kvm' | 'lab' | null;
  /** One sentence without a period. */
  readonly reason: string;
}

/** Everything that the doctor found; the shape of `tvmm doctor --json`. */
export interface DoctorReport {
  /** Of this shape; a change that breaks readers raises it. */
  readonly version: 1;
  readonly boot: BootVerdict;
  readonly groups: readonly { readonly name: string; readonly checks: readonly CheckResult[] }[];
}

/** Looks at everything, one check after another: none takes long. */
export async function examine(host: Host = Host.here()): Promise<DoctorReport> {
  const groups: { name: string; checks: CheckResult[] }[] = [];
  for (const { name, checks } of CHECK_GROUPS) {
    const results: CheckResult[] = [];
    for (const check of checks) results.push(await runCheck(check, host));
    groups.push({ name, checks: results });
  }
  return { version: 1, boot: verdict(groups.flatMap(({ checks }) => checks)), groups };
}

/** What the checks mean for `tvmm boot`. */
export function verdict(results: readonly CheckResult[]): BootVerdict {
  const found = new Map(results.map((result) => [result.id, result]));
  const status = (id: string) => found.get(id)?.status ?? 'missing';
  const hardware = found.get('kvm.hardware')?.detail ?? 'no KVM';
  const kvm =
    status('kvm.hardware') === 'ok' && status('kvm.api') === 'ok' && status('kvm.capabilities') !== 'missing';
  if (kvm) return { possible: true, accel: 'kvm', reason: `tvmm boot works on /dev/kvm: ${hardware}` };
  // What KVM lacks is the more telling reason when the hardware is fine.
  const why = status('kvm.hardware') === 'ok' ? `KVM ${found.get('kvm.capabilities')?.detail}` : hardware;
  if (status('lab.tools') === 'ok')
    return { possible: true, accel: 'lab', reason: `tvmm boot works through the lab: ${why}` };
  return {
    possible: false,
    accel: null,
    reason: `tvmm boot cannot work here: ${why}, and the lab is missing too: ${found.get('lab.tools')?.detail}`,
  };
}
