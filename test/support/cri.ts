/**
 * The Container Runtime Interface (k8s.io/cri-api, runtime/v1/api.proto) as a kubelet uses it, as far as a test needs it. Numbers are those of
 * the interface's fields; what they mean stands beside them.
 */
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { GrpcClient } from './grpc.js';
import type { Decoded, Message } from './protobuf.js';

/** ContainerState */
export const RUNNING = 1;
export const EXITED = 2;

export interface ContainerRequest {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly memory: number;
}

export interface Executed {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Channels of the streaming protocol v4.channel.k8s.io. */
const CHANNEL = { stdin: 0, stdout: 1, status: 3, resize: 4 };

export class Cri implements Disposable {
  readonly #client: GrpcClient;

  constructor(
    socket: string,
    readonly cgroup: string,
    readonly logs: string,
  ) {
    this.#client = new GrpcClient(socket, 'runtime.v1.RuntimeService');
  }

  /** PodSandboxConfig: metadata (name, uid, namespace), hostname, log_directory, linux (cgroup_parent). */
  #sandbox(name: string): Message {
    return { 1: { 1: name, 2: 'uid', 3: 'default' }, 2: name, 3: this.logs, 8: { 1: this.cgroup } };
  }

  /** @returns the sandbox's id */
  async runSandbox(name: string): Promise<string> {
    return (await this.#client.call('RunPodSandbox', { 1: this.#sandbox(name) })).text(1);
  }

  /** Its address. */
  async sandboxAddress(sandbox: string): Promise<string> {
    return (await this.#client.call('PodSandboxStatus', { 1: sandbox })).text(1, 5, 1);
  }

  /** @returns the container's id */
  async create(
    sandbox: string,
    pod: string,
    { name, image, command, memory }: ContainerRequest,
  ): Promise<string> {
    // ContainerConfig: metadata, image, command, log_path, linux (resources: memory_limit_in_bytes).
    const config = {
      1: { 1: name },
      2: { 1: image },
      3: command,
      11: `${name}.log`,
      15: { 1: { 4: memory } },
    };
    return (
      await this.#client.call('CreateContainer', { 1: sandbox, 2: config, 3: this.#sandbox(pod) })
    ).text(1);
  }

  start(container: string): Promise<Decoded> {
    return this.#client.call('StartContainer', { 1: container });
  }

  async state(container: string): Promise<{ state: number; exitCode: number }> {
    const answer = await this.#client.call('ContainerStatus', { 1: container });
    return { state: answer.number(1, 3), exitCode: answer.number(1, 7) };
  }

  async execSync(container: string, command: readonly string[]): Promise<Executed> {
    const answer = await this.#client.call('ExecSync', { 1: container, 2: command, 3: 60 });
    return { status: answer.number(3), stdout: answer.text(1), stderr: answer.text(2) };
  }

  /** Usage: bytes of memory that are in use, nanoseconds of processor time. */
  async stats(container: string): Promise<{ memory: number; cpu: number }> {
    const answer = await this.#client.call('ContainerStats', { 1: container });
    return { memory: answer.number(1, 3, 2, 1), cpu: answer.number(1, 2, 2, 1) };
  }

  limitMemory(container: string, bytes: number): Promise<Decoded> {
    return this.#client.call('UpdateContainerResources', { 1: container, 2: { 4: bytes } });
  }

  /** Runs a command on a terminal of 33 lines with 99 columns each. @returns what it shows, and its status as the interface tells it */
  async execOnTerminal(
    container: string,
    command: readonly string[],
  ): Promise<{ shown: string; status: string }> {
    // ExecRequest: tty, stdin, stdout.
    const answer = await this.#client.call('Exec', { 1: container, 2: command, 3: true, 4: true, 5: true });
    const channels = await stream(answer.text(1), [
      Buffer.from([CHANNEL.resize, ...Buffer.from('{"Width":99,"Height":33}')]),
    ]);
    return { shown: channels[CHANNEL.stdout] ?? '', status: channels[CHANNEL.status] ?? '' };
  }

  stop(container: string): Promise<Decoded> {
    return this.#client.call('StopContainer', { 1: container, 2: 30 });
  }

  remove(container: string): Promise<Decoded> {
    return this.#client.call('RemoveContainer', { 1: container });
  }

  async removeSandbox(sandbox: string): Promise<void> {
    await this.#client.call('StopPodSandbox', { 1: sandbox });
    await this.#client.call('RemovePodSandbox', { 1: sandbox });
  }

  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]();
  }
}

/** Speaks WebSocket (RFC 6455) with the streaming server until it closes. @returns what came on each channel */
async function stream(url: string, messages: readonly Buffer[]): Promise<string[]> {
  const socket = await upgrade(url);
  // FIN and "binary"; a client's messages are masked, here with zeros.
  for (const message of messages)
    socket.write(Buffer.concat([Buffer.from([0x82, 0x80 | message.length, 0, 0, 0, 0]), message]));
  const parts: Buffer[] = [];
  socket.on('data', (part: Buffer) => parts.push(part));
  await new Promise((done) => socket.once('close', done));
  const channels: string[] = [];
  for (const message of unframed(Buffer.concat(parts))) {
    const [channel = 0] = message;
    channels[channel] = (channels[channel] ?? '') + message.subarray(1).toString();
  }
  return channels;
}

function upgrade(url: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const asked = request(url, {
      headers: {
        Connection: 'Upgrade',
        Upgrade: 'websocket',
        'Sec-WebSocket-Version': '13',
        'Sec-WebSocket-Key': Buffer.alloc(16).toString('base64'),
        'Sec-WebSocket-Protocol': 'v4.channel.k8s.io',
      },
    });
    asked.on('upgrade', (_answer, socket: Socket, head: Buffer) => {
      socket.unshift(head);
      resolve(socket);
    });
    asked.on('response', (answer) => reject(new Error(`${url}: ${answer.statusCode}`)));
    asked.on('error', reject);
    asked.end();
  });
}

/** Payloads of the data frames. */
function unframed(bytes: Buffer): Buffer[] {
  const payloads: Buffer[] = [];
  for (let at = 0; at + 2 <= bytes.length; ) {
    const opcode = bytes.readUInt8(at) & 0xf;
    let length = bytes.readUInt8(at + 1);
    at += 2;
    if (length === 126) {
      length = bytes.readUInt16BE(at);
      at += 2;
    } else if (length === 127) {
      length = Number(bytes.readBigUInt64BE(at));
      at += 8;
    }
    // 8 and above are control frames.
    if (opcode < 8 && length > 0) payloads.push(bytes.subarray(at, at + length));
    at += length;
  }
  return payloads;
}
