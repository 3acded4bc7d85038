/** Unary gRPC calls over HTTP/2 on a Unix socket. */
import { type ClientHttp2Session, connect, constants } from 'node:http2';
import { createConnection } from 'node:net';
import { Decoded, encode, type Message } from './protobuf.js';

const { HTTP2_HEADER_METHOD, HTTP2_HEADER_PATH, HTTP2_HEADER_CONTENT_TYPE, HTTP2_HEADER_TE } = constants;
/** In front of each message: whether it is compressed, and its length. */
const PREFIX = 5;

export class GrpcClient implements Disposable {
  readonly #session: ClientHttp2Session;

  constructor(
    socket: string,
    readonly service: string,
  ) {
    this.#session = connect('http://localhost', { createConnection: () => createConnection(socket) });
    this.#session.on('error', () => {});
  }

  /** @throws Error with the service's own words when the call fails */
  call(method: string, message: Message): Promise<Decoded> {
    const body = encode(message);
    const prefix = Buffer.alloc(PREFIX);
    prefix.writeUInt32BE(body.length, 1);
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({
        [HTTP2_HEADER_METHOD]: 'POST',
        [HTTP2_HEADER_PATH]: `/${this.service}/${method}`,
        [HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc',
        [HTTP2_HEADER_TE]: 'trailers',
      });
      const parts: Buffer[] = [];
      let status: unknown;
      let words: unknown;
      const take = (headers: Readonly<Record<string, unknown>>) => {
        status = headers['grpc-status'] ?? status;
        words = headers['grpc-message'] ?? words;
      };
      stream.on('response', take);
      stream.on('trailers', take);
      stream.on('data', (part: Buffer) => parts.push(part));
      stream.on('error', reject);
      stream.on('close', () => {
        if (status === '0') resolve(new Decoded(Buffer.concat(parts).subarray(PREFIX)));
        else reject(new Error(`${method}: status ${status}: ${decodeURIComponent(String(words ?? ''))}`));
      });
      stream.end(Buffer.concat([prefix, body]));
    });
  }

  [Symbol.dispose](): void {
    this.#session.destroy();
  }
}
