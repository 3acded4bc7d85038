import { expect, test } from 'vitest';
import { removalOf, type Survivors } from './firewall-leftovers.js';
import { type Cidr, parseCidr } from './ip.js';

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw new Error(`${text} is no CIDR`);
  return parsed;
}

const SURVIVORS: Survivors = {
  networks: ['tvmm'],
  subnets: [cidr('10.77.0.0/24')],
  containers: ['live'],
  addresses: [cidr('10.77.0.3/24')],
};

/** As `iptables -t nat -S` of iptables 1.8.9 prints it. */
const nat = (network: string, id: string, tag: string) => `-P PREROUTING ACCEPT
-N CNI-${tag}8b20d67af86d3ddda2f3af
-N CNI-DN-${tag}8b20d67af86d3ddda2f
-N CNI-HOSTPORT-DNAT
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -s 10.77.0.2/32 -m comment --comment "name: \\"${network}\\" id: \\"${id}\\"" -j CNI-${tag}8b20d67af86d3ddda2f3af
-A CNI-${tag}8b20d67af86d3ddda2f3af -d 10.77.0.0/24 -m comment --comment "name: \\"${network}\\" id: \\"${id}\\"" -j ACCEPT
-A CNI-DN-${tag}8b20d67af86d3ddda2f -p tcp -m tcp --dport 18080 -j DNAT --to-destination 10.77.0.2:80
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"${network}\\" id: \\"${id}\\"" -m multiport --dports 18080 -j CNI-DN-${tag}8b20d67af86d3ddda2f
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
`;

test('the chains of a container that is gone go with the rules that lead to them', () => {
  expect(removalOf('nat', nat('tvmm', 'dead', '13'), SURVIVORS)).toBe(`*nat
-D POSTROUTING -s 10.77.0.2/32 -m comment --comment "name: \\"tvmm\\" id: \\"dead\\"" -j CNI-138b20d67af86d3ddda2f3af
-D CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"tvmm\\" id: \\"dead\\"" -m multiport --dports 18080 -j CNI-DN-138b20d67af86d3ddda2f
-F CNI-138b20d67af86d3ddda2f3af
-F CNI-DN-138b20d67af86d3ddda2f
-X CNI-138b20d67af86d3ddda2f3af
-X CNI-DN-138b20d67af86d3ddda2f
COMMIT
`);
});

test('a live container’s rules and another network’s are left alone', () => {
  expect(removalOf('nat', nat('tvmm', 'live', '13'), SURVIVORS)).toBeUndefined();
  expect(removalOf('nat', nat('podman', 'dead', '13'), SURVIVORS)).toBeUndefined();
});

test('of the forwarding rules those for addresses of ours that nobody has go', () => {
  const filter = `-N CNI-FORWARD
-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-A CNI-FORWARD -d 10.77.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A CNI-FORWARD -s 10.77.0.2/32 -j ACCEPT
-A CNI-FORWARD -s 10.77.0.3/32 -j ACCEPT
-A CNI-FORWARD -s 10.88.0.9/32 -j ACCEPT
-A CNI-FORWARD -s nonsense -j ACCEPT
`;
  expect(removalOf('filter', filter, SURVIVORS)).toBe(`*filter
-D CNI-FORWARD -d 10.77.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-D CNI-FORWARD -s 10.77.0.2/32 -j ACCEPT
COMMIT
`);
});
