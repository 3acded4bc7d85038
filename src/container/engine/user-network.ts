/**
 * Networks without root: pasta (passt) or slirp4netns, programs that pass a container's packets on as sockets of the user's own. One process a
 * container; the host's loopback stays out of its reach. Published ports are sockets of that process. What runs is on record, so that it
 * ends with the container whatever happens to the command that started it.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pinNetns, releaseNetns } from '../../sys/netns.js';
import { NetworkError, NetworkOptionError } from '../network/errors.js';
import type { NetworkResult } from '../network/networks.js';
import { listenerOwners } from '../network/port-owners.js';
import { type PortMapping, settlePorts } from '../network/ports.js';
import { writeReplaceable } from './files.js';
import { identify, isAlive, type ProcessIdentity, processShape } from './process.js';
import { parseDocument } from './shape.js';
import { type UserTool, userNetworkFile } from './user-tools.js';

/** What both give containers; slirp4netns' defaults. */
const ADDRESS = '10.0.2.100';
const GATEWAY = '10.0.2.2';
const SLIRP_DNS = '10.0.2.3';
const PATIENCE_MS = 10_000;

export interface UserNetworkRequest {
  readonly tool: UserTool;
  readonly containerId: string;
  /** Of a process in the container's network namespace. */
  readonly pid: number;
  readonly ports: readonly PortMapping[];
  /** Where what runs is on record. */
  readonly folder: string;
}

/** Sets the network up, whole or not at all. @throws NetworkError, NetworkOptionError, PortError */
export async function startUserNetwork(request: UserNetworkRequest): Promise<NetworkResult> {
  const { tool, containerId, folder } = request;
  const sctp = request.ports.find(({ protocol }) => protocol === 'sctp');
  if (sctp !== undefined)
    throw new NetworkOptionError(`-p ${sctp.containerPort}/sctp: ${tool.kind} publishes tcp and udp only`, {
      code: 'PORT_PROTOCOL',
    });
  await stopUserNetwork(folder, containerId);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const ports = settlePorts(request.ports, request.ports.length > 0 ? listenerOwners() : []);
  const start = tool.kind === 'pasta' ? startPasta : startSlirp;
  try {
    // Not by /proc: the container's init lets nobody look into it until its program runs.
    const netns = userNetworkFile(folder, containerId);
    pinNetns(`/proc/${request.pid}/ns/net`, netns);
    const pid = await start({ ...request, ports, netns });
    remember(folder, containerId, pid);
    if (tool.kind === 'slirp4netns')
      for (const port of ports) await forward(socketOf(folder, containerId), port);
  } catch (error) {
    await stopUserNetwork(folder, containerId);
    throw error;
  }
  return {
    netns: undefined,
    interfaces: [
      {
        network: tool.kind,
        name: 'eth0',
        mac: undefined,
        addresses: [`${ADDRESS}/24`],
        gateways: [GATEWAY],
      },
    ],
    ports,
    dns:
      tool.kind === 'slirp4netns'
        ? [{ nameservers: [SLIRP_DNS], domain: undefined, search: [], options: [] }]
        : [],
  };
}

function socketOf(folder: string, containerId: string): string {
  // Paths of sockets end at 107 bytes.
  return join(folder, `${containerId.slice(0, 12)}.sock`);
}

function recordOf(folder: string, containerId: string): string {
  return join(folder, `${containerId}.json`);
}

function remember(folder: string, containerId: string, pid: number): void {
  const identity = identify(pid);
  if (identity === undefined)
    throw new NetworkError('the network of the container ended at once', { code: 'USER_NETWORK' });
  writeReplaceable(recordOf(folder, containerId), `${JSON.stringify(identity)}\n`);
}

function remembered(folder: string, containerId: string): ProcessIdentity | undefined {
  const file = recordOf(folder, containerId);
  try {
    return parseDocument(processShape, readFileSync(file, 'utf8'), file);
  } catch {
    return undefined;
  }
}

/** Ends what {@link startUserNetwork} started. Harmless when there is nothing. */
export async function stopUserNetwork(folder: string, containerId: string): Promise<void> {
  const identity = remembered(folder, containerId);
  for (let i = 0; identity !== undefined && isAlive(identity) && i < 200; i++) {
    try {
      process.kill(identity.pid, i < 100 ? 'SIGTERM' : 'SIGKILL');
    } catch {
      break;
    }
    await delay(5);
  }
  for (const file of [recordOf(folder, containerId), socketOf(folder, containerId)])
    rmSync(file, { force: true });
  // Last: while it is there, whoever comes tries again. pasta ends with it, too.
  releaseNetns(userNetworkFile(folder, containerId));
}

/** What a program prints until it ends or is `ready`, for the error. */
async function waitFor(
  child: ReturnType<typeof spawn>,
  name: string,
  ready?: Promise<unknown>,
): Promise<void> {
  let said = '';
  child.stderr?.on('data', (bytes: Buffer) => {
    said = `${said}${bytes.toString()}`.slice(-2000);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code));
  });
  const timeout = new AbortController();
  const late = delay(PATIENCE_MS, 'late' as const, { signal: timeout.signal }).catch(() => 'late' as const);
  try {
    const result = await Promise.race([ended, late, ...(ready === undefined ? [] : [ready])]);
    if (result === 'ready' || (ready === undefined && result === 0)) return;
    const why = result === 'late' ? 'it was not ready in time' : lastLines(said);
    throw new NetworkError(`${name} cannot connect the container: ${why}`, {
      code: 'USER_NETWORK',
      hint: hintFor(said),
    });
  } finally {
    timeout.abort();
  }
}

function lastLines(said: string): string {
  const lines = said.split('\n').filter((line) => line.trim() !== '' && !line.includes('to syslog'));
  return lines.slice(-3).join('; ') || 'it gave no reason';
}

function hintFor(said: string): string {
  if (/tun/.test(said))
    return 'The user needs /dev/net/tun: it must exist, readable and writable for everybody.';
  if (/bind|port|Permission denied/i.test(said))
    return 'Ports below 1024 need sysctl net.ipv4.ip_unprivileged_port_start to be as low.';
  return '--network none and host work without it.';
}

type Started = UserNetworkRequest & { readonly netns: string };

/** pasta goes into the background when it is ready, and writes its pid. */
async function startPasta({ tool, netns, ports, folder, containerId }: Started): Promise<number> {
  const pidFile = join(folder, `${containerId}.pid`);
  const published = (protocol: 'tcp' | 'udp') => {
    const own = ports.filter((port) => port.protocol === protocol);
    if (own.length === 0) return ['none'];
    return own.map(
      ({ hostIp, hostPort, containerPort }) =>
        `${hostIp === undefined ? '' : `${hostIp}/`}${hostPort}:${containerPort}`,
    );
  };
  const words = [
    ...['--config-net', '--quiet', '--stderr', '--no-map-gw', '--ns-ifname', 'eth0', '--pid', pidFile],
    ...['-a', ADDRESS, '-n', '24', '-g', GATEWAY],
    ...published('tcp').flatMap((one) => ['-t', one]),
    ...published('udp').flatMap((one) => ['-u', one]),
    ...['-T', 'none', '-U', 'none'],
    ...['--netns', netns],
  ];
  rmSync(pidFile, { force: true });
  const child = spawn(tool.path, words, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  try {
    await waitFor(child, 'pasta');
    return Number(readFileSync(pidFile, 'utf8'));
  } finally {
    child.stderr?.destroy();
    rmSync(pidFile, { force: true });
  }
}

/** slirp4netns stays in the foreground and says on a descriptor when it is ready. */
async function startSlirp({ tool, netns, folder, containerId }: Started): Promise<number> {
  const nothing = openSync('/dev/null', 'r+');
  try {
    const words = [
      ...['--configure', '--mtu=65520', '--disable-host-loopback', '--ready-fd=3'],
      ...['--api-socket', socketOf(folder, containerId), '--netns-type=path', netns, 'eth0'],
    ];
    rmSync(socketOf(folder, containerId), { force: true });
    const child = spawn(tool.path, words, {
      stdio: ['ignore', nothing, 'pipe', 'pipe'],
      detached: true,
    });
    const ready = new Promise<'ready'>((resolve) => child.stdio[3]?.once('data', () => resolve('ready')));
    await waitFor(child, 'slirp4netns', ready);
    for (const stream of [child.stderr, child.stdio[3]]) stream?.destroy();
    child.unref();
    return child.pid ?? 0;
  } finally {
    closeSync(nothing);
  }
}

/** slirp4netns(1), "API socket". */
async function forward(socket: string, port: PortMapping): Promise<void> {
  const answer = await new Promise<string>((resolve, reject) => {
    let text = '';
    const connection = connect(socket);
    connection.setTimeout(PATIENCE_MS, () => connection.destroy(new Error('no answer')));
    connection.on('error', reject);
    connection.on('data', (bytes) => {
      text += bytes.toString();
    });
    connection.on('close', () => resolve(text));
    connection.end(
      JSON.stringify({
        execute: 'add_hostfwd',
        arguments: {
          proto: port.protocol,
          host_addr: port.hostIp ?? '0.0.0.0',
          host_port: port.hostPort,
          guest_addr: ADDRESS,
          guest_port: port.containerPort,
        },
      }),
    );
  });
  if (!/"error"/.test(answer)) return;
  throw new NetworkError(`slirp4netns cannot publish port ${port.hostPort}: ${answer.slice(0, 200)}`, {
    code: 'USER_NETWORK',
    hint: hintFor('bind'),
  });
}
