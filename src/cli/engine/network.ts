/** `tvmm network`: the networks that containers join. */
import { type Command, Option } from 'commander';
import type { EngineContext } from '../../container/engine/context.js';
import type { NetworkDefinition } from '../../container/network/definition.js';
import type { NetworkOptions } from '../../container/network/network-store.js';
import { failureText } from '../report.js';
import { UsageError } from '../usage-error.js';
import { collect, engine, integerOption, printJson, table } from './common.js';
import { addExists } from './exists.js';
import { type FormatFlags, printFormatted, withFormat } from './format.js';
import { exitWith, printError, printOut } from './here.js';

const HELP = `
Containers join the network tvmm unless --network says otherwise; it is made at its first use. A network is a bridge with addresses of its
own; its bridge and firewall rules are there while containers are on it. CNI configurations in /etc/cni/net.d are networks too:
they are listed, and left to whoever wrote them.

Examples:
  tvmm network create backend
  tvmm network create --subnet 10.9.0.0/24 --internal db      without a way out
  tvmm run -d --name api --network backend --network db api
  tvmm network connect --alias cache backend redis           while it runs
  tvmm network inspect backend
  tvmm network prune                                          networks that no container is on
`;

async function load() {
  const context = await engine();
  const [networks, { formatCidr, parseCidr }, { gatewayOf }] = await Promise.all([
    context.networks(),
    import('../../container/network/ip.js'),
    import('../../container/network/definition.js'),
  ]);
  return { context, networks, formatCidr, parseCidr, gatewayOf };
}

type Loaded = Awaited<ReturnType<typeof load>>;

/** Containers whose attachments are on record, by the name of the network. */
function members({ context, networks, formatCidr }: Loaded, name: string) {
  return networks.attachments.store
    .all()
    .attachments.filter(({ config }) => config.name === name)
    .map(({ attachment, result }) => ({
      id: attachment.containerId,
      name: context.store.read(attachment.containerId)?.name,
      interface: attachment.ifname,
      addresses: result?.ips.map(({ address }) => formatCidr(address)) ?? [],
    }));
}

function described(loaded: Loaded, definition: NetworkDefinition) {
  const { name, bridge, subnets, isolate, internal, mtu } = definition;
  return {
    name,
    driver: 'bridge',
    bridge,
    subnets: subnets.map((one) => ({ subnet: loaded.formatCidr(one), gateway: loaded.gatewayOf(one) })),
    isolate,
    internal,
    mtu,
  };
}

interface CreateFlags {
  driver?: string;
  subnet?: string[];
  ipv6?: boolean;
  isolate?: boolean;
  internal?: boolean;
  mtu?: number;
}

async function create(name: string, flags: CreateFlags): Promise<void> {
  const loaded = await load();
  if (flags.driver !== undefined && flags.driver !== 'bridge')
    throw new UsageError(
      `there is no network driver ${flags.driver}`,
      'bridge is the only one; write other networks as CNI configurations in /etc/cni/net.d',
    );
  const subnets = (flags.subnet ?? []).map((text) => {
    const cidr = loaded.parseCidr(text);
    if (cidr === undefined)
      throw new UsageError(`--subnet ${text} is no subnet`, 'for instance --subnet 10.9.0.0/24');
    return cidr;
  });
  const options: NetworkOptions = {
    name,
    ...(subnets.length === 0 ? {} : { subnets }),
    ipv6: flags.ipv6 === true,
    isolate: flags.isolate === true,
    internal: flags.internal === true,
    ...(flags.mtu === undefined ? {} : { mtu: flags.mtu }),
  };
  await loaded.networks.store.create(options);
  printOut(`${name}\n`);
}

export function register(program: Command): void {
  const network = program
    .command('network')
    .description('The networks that containers join.')
    .usage('COMMAND [options]')
    .addHelpText('after', HELP);
  network
    .command('create')
    .description('make a network; prints its name')
    .argument('<name>', 'its name')
    .option('--subnet <subnet>', 'its addresses, for instance 10.9.0.0/24; once for each IP version', collect)
    .option('--ipv6', 'addresses of IPv6 as well')
    .option('--internal', 'no way out of the network')
    .option('--isolate', 'its containers reach each other by published ports alone')
    .addOption(
      new Option('--mtu <bytes>', 'largest packet (default: the host’s)').argParser(integerOption('--mtu')),
    )
    .option('-d, --driver <driver>', 'bridge is the only one')
    .action(create);
  registerShow(network);
  network
    .command('rm')
    .description('remove networks that no container is on')
    .argument('<network...>', 'names')
    .option('-f, --force', 'no error for those that are not there')
    .action(async (names: string[], flags: { force?: boolean }) => {
      const { networks } = await load();
      for (const name of names) {
        try {
          await networks.removeNetwork(name);
          printOut(`${name}\n`);
        } catch (error) {
          const gone = error instanceof Error && 'code' in error && error.code === 'NETWORK_NOT_FOUND';
          if (flags.force === true && gone) continue;
          printError(failureText(error, false));
          exitWith(1);
        }
      }
    });
  registerJoin(network);
  addExists(network, 'network', async (word) => {
    const { networks } = await load();
    const names = [
      ...networks.store.definitions().map(({ name }) => name),
      ...networks.store.configured().networks.map(({ config }) => config.name),
    ];
    if (!names.includes(word)) throw new UsageError(`there is no network ${word}`);
  });
  network
    .command('prune')
    .description('remove networks that no container is on or wants, and what dead containers have left')
    .option('-f, --force', 'as it is anyway: nothing is asked')
    .action(async () => {
      const { context } = await load();
      const { pruneNetworks } = await import('../../container/engine/prune.js');
      await report(context, await pruneNetworks(context));
    });
}

interface ConnectFlags {
  ip?: string;
  ip6?: string;
  macAddress?: string;
  alias?: string[];
  interface?: string;
}

function registerJoin(network: Command): void {
  network
    .command('connect')
    .description('have a container join one more network, at once where it runs')
    .argument('<network>', 'name of the network')
    .argument('<container>', 'name or id')
    .option('--ip <address>', 'its IPv4 address there')
    .option('--ip6 <address>', 'its IPv6 address there')
    .option('--mac-address <address>', 'its hardware address there')
    .option('--alias <name>', 'another name of it there', collect)
    .option('--interface <name>', 'name of the interface in the container (default: the next ethN)')
    .action(async (name: string, word: string, flags: ConnectFlags) => {
      const context = await engine();
      const { joinNetwork } = await import('../../container/engine/join-network.js');
      await joinNetwork(context, context.store.resolve(word), {
        network: name,
        wishes: [
          ...(flags.ip === undefined ? [] : [`ip=${flags.ip}`]),
          ...(flags.ip6 === undefined ? [] : [`ip6=${flags.ip6}`]),
          ...(flags.macAddress === undefined ? [] : [`mac=${flags.macAddress}`]),
          ...(flags.alias ?? []).map((alias) => `alias=${alias}`),
          ...(flags.interface === undefined ? [] : [`interface=${flags.interface}`]),
        ],
      });
    });
  network
    .command('disconnect')
    .description('have a container leave a network, at once where it runs')
    .argument('<network>', 'name of the network')
    .argument('<container>', 'name or id')
    .option('-f, --force', 'as it is anyway')
    .action(async (name: string, word: string) => {
      const context = await engine();
      const { leaveNetwork } = await import('../../container/engine/join-network.js');
      await leaveNetwork(context, context.store.resolve(word), name);
    });
}

async function report(
  context: EngineContext,
  { removed, problems }: { removed: readonly string[]; problems: readonly Error[] },
): Promise<void> {
  printOut(removed.map((name) => `${name}\n`).join(''));
  for (const problem of problems) context.warn(problem.message);
}

function registerShow(network: Command): void {
  withFormat(network.command('ls').description('list networks').option('-q, --quiet', 'names only'), [
    'Name',
    'Driver',
    'Subnets',
    'Internal',
  ]).action(async (flags: FormatFlags & { quiet?: boolean }) => {
    const loaded = await load();
    const own = loaded.networks.store.definitions().map((one) => described(loaded, one));
    const { networks: others } = loaded.networks.store.configured();
    const foreign = others.map(({ config }) => ({ name: config.name, driver: 'cni' }));
    const all = [
      ...own.map((one) => ({
        Name: one.name,
        Driver: one.driver,
        Subnets: one.subnets.map(({ subnet }) => subnet),
        Internal: one.internal,
      })),
      ...foreign.map(({ name, driver }) => ({ Name: name, Driver: driver, Subnets: [], Internal: false })),
    ];
    if (
      printFormatted(
        flags,
        () => [...own, ...foreign],
        () => all,
      )
    )
      return;
    if (flags.quiet === true) {
      printOut([...own, ...foreign].map(({ name }) => `${name}\n`).join(''));
    } else {
      const rows = [
        ...own.map((one) => [
          one.name,
          one.driver,
          one.subnets.map(({ subnet }) => subnet).join(', '),
          [one.internal ? 'internal' : '', one.isolate ? 'isolated' : ''].filter((w) => w !== '').join(', '),
        ]),
        ...foreign.map(({ name, driver }) => [name, driver, '', '']),
      ];
      printOut(table([['NAME', 'DRIVER', 'SUBNETS', ''], ...rows]));
    }
  });
  network
    .command('inspect')
    .description('show everything about networks, as JSON')
    .argument('<network...>', 'names')
    .action(async (names: string[]) => {
      const loaded = await load();
      const definitions = loaded.networks.store.definitions();
      const { networks: others } = loaded.networks.store.configured();
      printJson(
        names.map((name) => {
          const own = definitions.find((one) => one.name === name);
          const foreign = others.find(({ config }) => config.name === name);
          if (own === undefined && foreign === undefined)
            throw new UsageError(`there is no network ${name}`, 'tvmm network ls shows all networks');
          const shown =
            own === undefined
              ? { name, driver: 'cni', plugins: foreign?.config.plugins.map(({ type }) => type) }
              : described(loaded, own);
          return { ...shown, containers: members(loaded, name) };
        }),
      );
    });
}
