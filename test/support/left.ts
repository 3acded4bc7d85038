/** What somebody who puts one name into everything has on this machine: cgroups, mounts, processes. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** All that bears this name; nothing, when all is cleared away. */
export function onHost(name: string): string[] {
  return [...cgroups(name), ...mounts(name), ...processes(name)];
}

export function mounts(name: string): string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return lines.filter((line) => line.includes(name));
}

/** Folders of that name in every hierarchy. */
export function cgroups(name: string): string[] {
  const places = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap((line) => (/ - cgroup2? /.test(line) ? [line.split(' ')[4] ?? ''] : []));
  return places.map((place) => join(place, name)).filter((path) => existsSync(path));
}

/** Processes whose root or working directory is below the test's folder, or whose command line names it. */
export function processes(name: string): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return [];
    try {
      const cgroup = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      // A zombie is its parent's to reap: outside of a test that is the machine's init.
      if (/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))) return [];
      return cgroup.includes(name) || command.includes(name)
        ? [`${pid} ${command.replaceAll('\0', ' ')}`]
        : [];
    } catch {
      return [];
    }
  });
}
