/**
 * One HTTP exchange after another over Node's own client: TLS, proxies from the environment, redirects, idle timeouts, bounded bodies.
 * Knows nothing of registries. Authorization never goes to another origin than it was made for, and https never falls to http.
 */
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { isIP, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { connect as tlsConnect } from 'node:tls';
import { RegistryError } from '../errors.js';
import { isLoopback, proxyFor } from './proxy.js';

const MAX_REDIRECTS = 5;
const MAX_HEADERS = 64 * 1024;

export interface HttpOptions {
  /** false takes any certificate. */
  readonly tlsVerify: boolean;
  /** Without a byte for this long an exchange has failed. */
  readonly idleMs: number;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** More certificates to trust, PEM. */
  readonly ca?: readonly string[];
}

/** A body that is sent as it is read; opened anew for each exchange. */
export interface StreamedBody {
  readonly size: number;
  open(): Readable;
}

export interface HttpRequest {
  readonly url: URL;
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | StreamedBody;
  readonly signal?: AbortSignal;
}

/** The body must be read to its end or destroyed. */
export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: IncomingMessage;
  /** After redirects. */
  readonly url: URL;
}

/** A server's text for a message: short, on one line, without control characters. */
export function quoted(text: string): string {
  return text
    .replace(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, 300);
}

/** Names a URL without what may be secret in it: query and credentials. */
export function shown(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}`;
}

function sizeOf(body: string | Uint8Array | StreamedBody): number {
  if (typeof body === 'string') return Buffer.byteLength(body);
  return body instanceof Uint8Array ? body.byteLength : body.size;
}

/** A server may answer, or go, before it has read all: then nobody needs the rest. */
function sendStream(source: Readable, outgoing: ClientRequest): void {
  source.on('error', (error) => outgoing.destroy(error));
  outgoing.on('close', () => source.destroy());
  outgoing.on('response', () => source.destroy());
  source.pipe(outgoing);
}

export class HttpClient implements Disposable {
  readonly #options: HttpOptions;
  readonly #http = new HttpAgent({ keepAlive: true, maxSockets: 8 });
  readonly #https = new HttpsAgent({ keepAlive: true, maxSockets: 8 });

  constructor(options: HttpOptions) {
    this.#options = options;
  }

  [Symbol.dispose](): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  /** Nobody stands between this machine and itself, and few have certificates for it. */
  #tls(url: URL) {
    const { ca, tlsVerify } = this.#options;
    const host = url.hostname.replace(/^\[|\]$/g, '');
    return {
      rejectUnauthorized: tlsVerify && !isLoopback(host),
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(ca === undefined ? {} : { ca: [...ca] }),
    };
  }

  /** Sends a request and follows redirects. @throws RegistryError, or the signal's reason */
  async send(request: HttpRequest): Promise<HttpResponse> {
    let { url, headers = {} } = request;
    for (let redirects = 0; ; redirects++) {
      const response = await this.#exchange({ ...request, url, headers });
      const { location } = response.headers;
      if (![301, 302, 303, 307, 308].includes(response.status) || location === undefined) return response;
      response.body.destroy();
      const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
      if (next === undefined || !/^https?:$/.test(next.protocol)) {
        throw new RegistryError(`${shown(url)} redirects to something that is no HTTP address`, {
          code: 'REDIRECT_INVALID',
        });
      }
      if (url.protocol === 'https:' && next.protocol === 'http:') {
        throw new RegistryError(`${shown(url)} redirects from https to ${shown(next)}`, {
          code: 'REDIRECT_INSECURE',
        });
      }
      if (redirects >= MAX_REDIRECTS) {
        throw new RegistryError(`${shown(request.url)} redirects more than ${MAX_REDIRECTS} times`, {
          code: 'REDIRECT_LOOP',
        });
      }
      if (next.origin !== url.origin) {
        headers = Object.fromEntries(
          Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'authorization'),
        );
      }
      url = next;
    }
  }

  async #exchange(request: HttpRequest): Promise<HttpResponse> {
    const { url, method = 'GET', headers = {}, body, signal } = request;
    signal?.throwIfAborted();
    const proxy = proxyFor(url, this.#options.environment);
    const isTls = url.protocol === 'https:';
    const tunnel = proxy !== undefined && isTls ? await this.#tunnel(proxy, url, signal) : undefined;
    const common = { method, maxHeaderSize: MAX_HEADERS, ...(signal === undefined ? {} : { signal }) };
    const all = {
      ...headers,
      ...(body === undefined ? {} : { 'content-length': String(sizeOf(body)) }),
    };
    return new Promise((resolve, reject) => {
      const answered = (message: IncomingMessage): void => {
        const { statusCode: status = 0 } = message;
        // The reader sees this; without a listener an early error would end the process.
        message.on('error', () => {});
        resolve({ status, headers: message.headers, body: message, url });
      };
      const outgoing = isTls
        ? httpsRequest(
            url,
            {
              ...common,
              ...this.#tls(url),
              headers: all,
              ...(tunnel === undefined
                ? { agent: this.#https }
                : {
                    agent: false,
                    createConnection: () =>
                      tlsConnect({ socket: tunnel, host: url.hostname, ...this.#tls(url) }),
                  }),
            },
            answered,
          )
        : proxy === undefined
          ? httpRequest(url, { ...common, headers: all, agent: this.#http }, answered)
          : httpRequest(
              {
                ...common,
                host: proxy.hostname.replace(/^\[|\]$/g, ''),
                port: proxy.port === '' ? 80 : Number(proxy.port),
                path: url.href,
                headers: { ...all, host: url.host, ...proxyAuthorization(proxy) },
                agent: this.#http,
              },
              answered,
            );
      outgoing.setTimeout(this.#options.idleMs, () => outgoing.destroy(this.#timeout(url)));
      outgoing.on('error', (cause) =>
        reject(signal?.aborted === true ? signal.reason : networkError(cause, url)),
      );
      if (body === undefined || typeof body === 'string' || body instanceof Uint8Array) outgoing.end(body);
      else sendStream(body.open(), outgoing);
    });
  }

  #timeout(url: URL): RegistryError {
    return new RegistryError(`${shown(url)} has not answered for ${this.#options.idleMs / 1000} s`, {
      code: 'ETIMEDOUT',
    });
  }

  /** A connection through a proxy (RFC 9110 9.3.6). */
  async #tunnel(proxy: URL, url: URL, signal: AbortSignal | undefined): Promise<Socket> {
    const target = `${url.hostname}:${url.port === '' ? 443 : url.port}`;
    const send = proxy.protocol === 'https:' ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      const outgoing = send({
        host: proxy.hostname.replace(/^\[|\]$/g, ''),
        port: proxy.port === '' ? (proxy.protocol === 'https:' ? 443 : 80) : Number(proxy.port),
        method: 'CONNECT',
        path: target,
        headers: { host: target, ...proxyAuthorization(proxy) },
        agent: false,
        ...(signal === undefined ? {} : { signal }),
      });
      outgoing.setTimeout(this.#options.idleMs, () => outgoing.destroy(this.#timeout(proxy)));
      outgoing.on('connect', (response, socket) => {
        if (response.statusCode === 200) {
          socket.setTimeout(0);
          resolve(socket);
          return;
        }
        socket.destroy();
        reject(
          new RegistryError(`the proxy ${proxy.host} answers ${response.statusCode ?? 0} for ${target}`, {
            code: 'PROXY_REFUSED',
          }),
        );
      });
      // A proxy that answers with a page instead.
      outgoing.on('response', (response) => {
        response.destroy();
        reject(
          new RegistryError(`the proxy ${proxy.host} does not connect to ${target}`, {
            code: 'PROXY_REFUSED',
          }),
        );
      });
      outgoing.on('error', (cause) =>
        reject(signal?.aborted === true ? signal.reason : networkError(cause, proxy)),
      );
      outgoing.end();
    });
  }
}

function proxyAuthorization(proxy: URL): Record<string, string> {
  if (proxy.username === '') return {};
  const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(pair).toString('base64')}` };
}

function networkError(cause: Error, url: URL): RegistryError {
  if (cause instanceof RegistryError) return cause;
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : 'NETWORK';
  const hint = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ALTNAME/.test(code)
    ? 'Its certificate is not trusted here; --tls-verify=false takes any.'
    : /^(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT)$/.test(code)
      ? 'Is that its name, and is there a network? Proxies are taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.'
      : undefined;
  return new RegistryError(`${url.host} cannot be reached: ${quoted(cause.message)}`, {
    code,
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Reads a body of at most `limit` bytes. @throws RegistryError when there is more, or the connection breaks */
export async function readBody(response: HttpResponse, limit: number, what: string): Promise<Buffer> {
  const declared = Number(response.headers['content-length'] ?? 0);
  const tooLarge = (): never => {
    response.body.destroy();
    throw new RegistryError(`${what} is larger than ${limit} bytes`, { code: 'BODY_TOO_LARGE' });
  };
  if (declared > limit) tooLarge();
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of response.body) {
      const piece: Buffer = chunk;
      length += piece.length;
      if (length > limit) tooLarge();
      chunks.push(piece);
    }
  } catch (cause) {
    if (cause instanceof RegistryError) throw cause;
    throw networkError(cause instanceof Error ? cause : new Error(String(cause)), response.url);
  }
  return Buffer.concat(chunks);
}
