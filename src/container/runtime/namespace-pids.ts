/** A container's processes where it has no cgroup: those in its pid namespace, as far as this user may look. */
import { readdirSync, statSync } from 'node:fs';

function namespaceOf(pid: string): string | undefined {
  try {
    const { dev, ino } = statSync(`/proc/${pid}/ns/pid`);
    return `${dev}:${ino}`;
  } catch {
    // Ended meanwhile, or somebody else's.
    return undefined;
  }
}

/** Ids as this process sees them; empty when `init` has ended. */
export function pidsInNamespaceOf(init: number): number[] {
  const namespace = namespaceOf(String(init));
  if (namespace === undefined) return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && namespaceOf(name) === namespace)
    .map(Number);
}
