/** A container's /etc/hosts, /etc/resolv.conf and /etc/hostname: files of the engine, bound into the container, written before it starts. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { hostname as ownName } from 'node:os';
import { join } from 'node:path';
import { hostResolver, resolvConf } from '../network/dns.js';
import { hostnameFile, hostsFile, hostsFileOfHost, parseAddHost } from '../network/hosts.js';
import type { NetworkMode } from '../network/mode.js';
import type { NetworkResult } from '../network/networks.js';
import type { EngineContext } from './context.js';
import { hostnameOf } from './options/compile.js';
import { peersOf } from './peers.js';
import type { ContainerRecord } from './record.js';
import { hostFile } from './store.js';

/** Makes the files so that they can be bound; their content comes with the network. */
export function makeEtcFiles(folder: string): void {
  mkdirSync(join(folder, 'etc'), { recursive: true, mode: 0o711 });
  // In place, never renamed over: what is bound is the file, not its name.
  for (const name of ['hosts', 'resolv.conf', 'hostname'])
    writeFileSync(join(folder, 'etc', name), '', { mode: 0o644 });
}

/** Fills the files. @throws NetworkOptionError for --dns or --add-host that mean nothing */
export function fillEtcFiles(
  context: EngineContext,
  record: ContainerRecord,
  mode: NetworkMode,
  network: Pick<NetworkResult, 'interfaces' | 'dns'>,
): void {
  const { options, id } = record;
  const folder = join(context.store.folder(id), 'etc');
  const hostname = hostnameOf(options, id, ownName()) ?? ownName();
  const addresses = network.interfaces.flatMap(({ addresses: all }) =>
    all.map((one) => one.replace(/\/\d+$/, '')),
  );
  const gateway = network.interfaces.flatMap(({ gateways }) => gateways)[0];
  const added = options.addHost.map((one) => parseAddHost(one, mode.kind === 'host' ? '127.0.0.1' : gateway));
  const aliases = mode.kind === 'networks' ? mode.networks.flatMap((one) => one.aliases) : [];
  const names = [
    ...(options.domainname === undefined ? [] : [`${hostname}.${options.domainname}`]),
    hostname,
    ...[record.name, ...aliases].filter((name) => name !== hostname),
  ];
  const hosts =
    mode.kind === 'host'
      ? hostsFileOfHost(hostFile('/etc/hosts') ?? '', added)
      : hostsFile(addresses, names, added);
  const given = {
    ...(options.dns.length > 0 ? { servers: options.dns } : {}),
    ...(options.dnsSearch.length > 0 ? { search: options.dnsSearch } : {}),
    ...(options.dnsOption.length > 0 ? { options: options.dnsOption } : {}),
  };
  const resolver = resolvConf(hostResolver(hostFile), network.dns, given, mode.kind !== 'host');
  // Without a network nothing answers, so that nobody needs to hear that nothing can be reached.
  if (mode.kind === 'networks' || mode.kind === 'user')
    for (const warning of resolver.warnings) context.warn(warning);
  writeFileSync(join(folder, 'hosts'), `${hosts}${peersOf(context, id, network.interfaces)}`);
  writeFileSync(join(folder, 'resolv.conf'), resolver.content);
  writeFileSync(join(folder, 'hostname'), hostnameFile(hostname));
}
