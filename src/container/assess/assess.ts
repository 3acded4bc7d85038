/**
 * `assess`: how strong the walls of a container are, from its OCI configuration and a few facts of the host. Pure: it looks at the words
 * of the configuration, not at the machine, so that a bundle can be judged before it runs. It finds what is known to weaken a container;
 * it does not prove that one is safe.
 */
import type { Check } from './check.js';
import { CAPABILITY_CHECKS } from './checks/capabilities.js';
import { KERNEL_CHECKS } from './checks/kernel.js';
import { MOUNT_CHECKS } from './checks/mounts.js';
import { NAMESPACE_CHECKS } from './checks/namespaces.js';
import { RESOURCE_CHECKS } from './checks/resources.js';
import { scoreOf } from './score.js';
import { type Subject, subjectOf } from './subject.js';
import { type AssessedSpec, type AssessFacts, type Assessment, type Finding, SEVERITIES } from './types.js';

/** All checks, in the order in which findings of one severity are told. */
export const CHECKS: readonly Check[] = [
  ...NAMESPACE_CHECKS,
  ...CAPABILITY_CHECKS,
  ...MOUNT_CHECKS,
  ...KERNEL_CHECKS,
  ...RESOURCE_CHECKS,
];

function findingOf(check: Check, subject: Subject): Finding | undefined {
  const found = check.found(subject);
  if (found === false || (typeof found === 'object' && found.length === 0)) return undefined;
  return {
    id: check.id,
    severity: typeof check.severity === 'function' ? check.severity(subject) : check.severity,
    title: check.title,
    why: check.why,
    recommendation: check.recommendation,
    ...(check.option === undefined ? {} : { option: check.option }),
    objects: found === true ? [] : [...new Set(found)],
  };
}

/**
 * Assesses a container.
 * @param spec its config.json, parsed; paths of the host in it are taken as they stand, links are not followed
 * @param facts what the host adds; see readAssessFacts
 */
export function assess(spec: AssessedSpec, facts: AssessFacts): Assessment {
  const subject = subjectOf(spec, facts);
  const found = CHECKS.flatMap((check) => findingOf(check, subject) ?? []);
  const findings = SEVERITIES.flatMap((severity) => found.filter((finding) => finding.severity === severity));
  return { findings, ...scoreOf(subject, findings) };
}
