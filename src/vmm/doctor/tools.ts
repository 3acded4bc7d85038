/**
 * Checks of the programs that tvmm runs: QEMU for the lab, and the distribution's tools that make the default guest.
 */
import { type Check, missing, ok } from './check.js';
import type { Host } from './host.js';

/** A program, the Debian package that has it, and what it is run for. */
interface Tool {
  readonly command: string;
  readonly package: string;
  readonly use: string;
}

const LAB_TOOLS: readonly Tool[] = [
  { command: 'qemu-system-x86_64', package: 'qemu-system-x86', use: 'emulates the AMD-V machine' },
  { command: 'setpriv', package: 'util-linux', use: 'ties QEMU to our life' },
];

const GUEST_TOOLS: readonly Tool[] = [
  { command: 'apt-get', package: 'apt', use: 'fetches the distribution’s kernel' },
  { command: 'dpkg-deb', package: 'dpkg', use: 'unpacks it' },
  { command: 'xz', package: 'xz-utils', use: 'decompresses modules' },
  { command: 'zstd', package: 'zstd', use: 'decompresses modules and kernels' },
  { command: 'mkfs.ext4', package: 'e2fsprogs', use: 'makes the root image' },
  { command: 'flock', package: 'util-linux', use: 'guards the cache' },
];

function lookForTools(host: Host, tools: readonly Tool[]) {
  const lacking = tools.filter(({ command }) => host.tool(command) === undefined);
  if (lacking.length === 0) return ok(tools.map(({ command }) => command).join(', '));
  const packages = [...new Set(lacking.map((tool) => tool.package))];
  return missing(
    `no ${lacking.map(({ command, use }) => `${command} (${use})`).join(', ')}`,
    `apt-get install --no-install-recommends ${packages.join(' ')}, as root`,
  );
}

export const toolChecks: readonly Check[] = [
  { id: 'lab.tools', title: 'the lab', look: (host) => lookForTools(host, LAB_TOOLS) },
  {
    id: 'guest.tools',
    title: 'tools for the default guest',
    look: (host) => lookForTools(host, GUEST_TOOLS),
  },
];
