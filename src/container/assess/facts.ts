/** The facts of this host that an assessment takes: who runs the engine, and which security modules the kernel has. */
import { readFileSync } from 'node:fs';
import type { AssessFacts } from './types.js';

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Reads the facts. What cannot be read counts as not there. */
export function readAssessFacts(): AssessFacts {
  const modules = text('/sys/kernel/security/lsm')
    .trim()
    .split(',')
    .filter((name) => name !== '');
  // securityfs is often not mounted where AppArmor's own switch can be read.
  if (!modules.includes('apparmor') && text('/sys/module/apparmor/parameters/enabled').startsWith('Y'))
    modules.push('apparmor');
  // Root of a user namespace is an ordinary user of the host: only the host itself maps all ids to themselves.
  const identity = /^\s*0\s+0\s+4294967295\s*$/.test(text('/proc/self/uid_map'));
  return { rootless: process.geteuid?.() !== 0 || !identity, securityModules: modules };
}
