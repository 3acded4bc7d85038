/** Which of a container's networks publishes its ports, and whether it can. Pure. */
import { PortError } from './errors.js';
import { parseIp } from './ip.js';
import type { FoundNetwork } from './network-store.js';
import type { PortMapping } from './ports.js';

/** A port of an IPv6 address leads nowhere on a network without IPv6, and portmap says nothing. @throws PortError */
export function checkFamilies(ports: readonly PortMapping[], found: readonly FoundNetwork[]): void {
  const publisher = found[publisherOf(found)]?.definition;
  if (publisher === undefined) return;
  for (const { hostIp, hostPort, protocol } of ports) {
    const ip = hostIp === undefined ? undefined : parseIp(hostIp);
    if (ip === undefined || publisher.subnets.some(({ family }) => family === ip.family)) continue;
    throw new PortError(
      `port ${hostPort}/${protocol} of ${hostIp} cannot be published: the network ${publisher.name} has no IPv${ip.family}`,
      { code: 'PORT_FAMILY', hint: 'leave out the address, or use a network that has both' },
    );
  }
}

/** Which network publishes ports: the first that can; -1 where none can. */
export function publisherOf(found: readonly FoundNetwork[]): number {
  return found.findIndex(({ config }) =>
    config.plugins.some(({ capabilities }) => capabilities.includes('portMappings')),
  );
}
