import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TvmmError } from '../../sys/errors.js';
import { capabilityArguments, requireCapabilities } from './capabilities.js';
import { parseNetworkConfig } from './cni-config.js';
import { conflistOf, formatDefinition, type NetworkDefinition, parseDefinition } from './definition.js';
import { type Cidr, formatCidr, overlaps, parseCidr } from './ip.js';
import { needsRules, ruleset } from './isolation.js';
import { parsePortSpecs } from './ports.js';
import { chooseSubnet, subnetsOf, uniqueLocalSubnet } from './subnets.js';

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw new Error(`${text} is no CIDR`);
  return parsed;
}

const NET: NetworkDefinition = {
  name: 'tvmm',
  bridge: 'tvmm0',
  subnets: [cidr('10.214.0.0/22'), cidr('fd00:1:2::/64')],
  isolate: false,
  internal: false,
  mtu: 1400,
  versions: ['1.0.0'],
};

test('a definition is read as it was written', () => {
  expect(parseDefinition(formatDefinition(NET), 'x')).toEqual(NET);
});

test.each([
  [{ name: '../x' }, '"../x" cannot be a network'],
  [{ bridge: 'a b' }, '"a b" cannot be a link'],
  [{ subnets: [] }, 'at /subnets is empty'],
  [{ subnets: ['10.0.0.1/24'] }, '"10.0.0.1/24" is no subnet'],
  [{ subnets: ['10.0.0.0/31'] }, 'must have a prefix length of 8 to 30'],
  [{ subnets: ['10.0.0.0/24', '10.0.1.0/24'] }, 'has two subnets of one IP version'],
  [{ mtu: 100 }, 'at /mtu must be a whole number of 1280 to 65535'],
  [{ versions: ['0.2.0'] }, 'names no version that is spoken here'],
  [{ isolate: 'yes' }, 'at /isolate must be true or false'],
])('a definition with %j is refused: %s', (change, message) => {
  const text = JSON.stringify({ ...(JSON.parse(formatDefinition(NET)) as object), ...change });
  expect(() => parseDefinition(text, 'x')).toThrow(message);
});

test('arbitrary text gives a definition or an error of ours', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      try {
        parseDefinition(text, 'x');
      } catch (error) {
        expect(error).toBeInstanceOf(TvmmError);
      }
    }),
  );
});

test('the conflist has the bridge with its gateways, published ports and the firewall', () => {
  const { plugins } = conflistOf(NET, '/ipam');
  expect(plugins.map(({ type }) => type)).toEqual(['bridge', 'portmap', 'firewall']);
  expect(plugins[0]?.raw).toMatchObject({
    bridge: 'tvmm0',
    ipMasq: true,
    mtu: 1400,
    ipam: {
      dataDir: '/ipam',
      ranges: [
        [{ subnet: '10.214.0.0/22', gateway: '10.214.0.1' }],
        [{ subnet: 'fd00:1:2::/64', gateway: 'fd00:1:2::1' }],
      ],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
    },
  });
  const inside = conflistOf({ ...NET, internal: true }, '/ipam').plugins[0]?.raw;
  expect(inside).toMatchObject({ ipMasq: false, ipam: { routes: [] } });
});

test('a subnet is chosen that meets nothing in use', () => {
  expect(formatCidr(chooseSubnet([]))).toBe('10.214.0.0/22');
  expect(formatCidr(chooseSubnet([cidr('10.214.1.7/32')]))).toBe('10.214.4.0/22');
  expect(formatCidr(chooseSubnet([cidr('10.0.0.0/8')]))).toBe('172.29.0.0/22');
  expect(() => chooseSubnet([cidr('0.0.0.0/0')])).toThrow('every subnet of');
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 0xff_ffff }), { maxLength: 40 }), (numbers) => {
      const taken = numbers.map((n) => cidr(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}/32`));
      const chosen = chooseSubnet(taken);
      expect(taken.some((one) => overlaps(one, chosen))).toBe(false);
    }),
  );
});

test('an IPv6 subnet is a unique local one of 64 bits', () => {
  expect(formatCidr(uniqueLocalSubnet(Uint8Array.of(0x12, 0x34, 0x56, 0x78, 0x9a)))).toBe(
    'fd12:3456:789a::/64',
  );
});

test('the subnets of other runtimes’ networks are found wherever host-local takes them', () => {
  const list = {
    cniVersion: '1.0.0',
    name: 'podman',
    plugins: [
      {
        type: 'bridge',
        ipam: { type: 'host-local', ranges: [[{ subnet: '10.88.0.0/16' }], [{ subnet: 'bad' }]] },
      },
      { type: 'ptp', ipam: { type: 'host-local', subnet: '10.89.3.0/24' } },
    ],
  };
  const config = parseNetworkConfig(JSON.stringify(list), 'x');
  expect(subnetsOf(config).map(formatCidr)).toEqual(['10.88.0.0/16', '10.89.3.0/24']);
});

test('one open network needs no rules, and a second one does', () => {
  const other = { ...NET, name: 'b', bridge: 'tvmm1' };
  expect(needsRules([])).toBe(false);
  expect(needsRules([NET])).toBe(false);
  expect(needsRules([NET, other])).toBe(true);
  expect(needsRules([{ ...NET, isolate: true }])).toBe(true);
  expect(ruleset('tvmm', [NET])).toBe('table inet tvmm\ndelete table inet tvmm\n');
});

test('the rules deny between networks, within an isolated one even published ports, and out of an internal one', () => {
  const isolated = { ...NET, isolate: true };
  const internal = { ...NET, name: 'b', bridge: 'tvmm1', internal: true };
  expect(ruleset('tvmm', [isolated, internal])).toBe(`table inet tvmm
delete table inet tvmm
table inet tvmm {
  chain forward {
    type filter hook forward priority filter - 5; policy accept;
    iifname "tvmm0" oifname "tvmm0" drop
    ct status dnat accept
    ct state established,related accept
    iifname { "tvmm0", "tvmm1" } iifname != "tvmm0" oifname "tvmm0" drop
    iifname { "tvmm0", "tvmm1" } iifname != "tvmm1" oifname "tvmm1" drop
    iifname "tvmm1" oifname != "tvmm1" drop
    oifname "tvmm1" iifname != "tvmm1" drop
  }
}
`);
});

test('what a container asks for is said in the plugins’ words, and refused where no plugin listens', () => {
  const config = conflistOf(NET, '/ipam');
  const wanted = capabilityArguments({
    ports: parsePortSpecs(['127.0.0.1:8080:80', '53:53/udp']),
    ips: ['10.214.0.9'],
    mac: '02:00:00:00:00:01',
    aliases: ['web'],
  });
  expect(wanted).toEqual({
    portMappings: [
      { hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '127.0.0.1' },
      { hostPort: 53, containerPort: 53, protocol: 'udp' },
    ],
    ips: ['10.214.0.9'],
    mac: '02:00:00:00:00:01',
    aliases: ['web'],
  });
  expect(() => requireCapabilities(config, wanted)).not.toThrow();
  const bandwidth = { ingressRate: 1, ingressBurst: 1, egressRate: 1, egressBurst: 1 };
  expect(() => requireCapabilities(config, capabilityArguments({ bandwidth }))).toThrow(
    'the network tvmm cannot limit bandwidth',
  );
});
