/**
 * A registry of the distribution specification (pull and push) in the process of the test, with the tokens of Docker's registries, ranges,
 * redirects, and a hook to misbehave. It listens on this machine only.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';

export const sha256 = (bytes: Uint8Array | string): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

export interface RegistryBehaviour {
  /** What a client must show. */
  auth?: 'none' | 'basic' | 'bearer';
  /** `user:password`; without it tokens are given to anyone. */
  credentials?: string;
  /** Answers a request in its own way when it returns true. */
  hook?: (request: IncomingMessage, response: ServerResponse, url: URL) => boolean;
  /** Key and certificate: https. */
  tls?: { key: string; cert: string };
}

export class TestRegistry implements AsyncDisposable {
  readonly blobs = new Map<string, Buffer>();
  readonly manifests = new Map<string, { type: string; bytes: Buffer }>();
  /** `METHOD path` of every request, and the headers of the last one by path. */
  readonly requests: string[] = [];
  readonly headers = new Map<string, IncomingMessage['headers']>();
  behaviour: RegistryBehaviour;
  readonly #server: Server;
  #uploads = 0;

  private constructor(behaviour: RegistryBehaviour) {
    this.behaviour = behaviour;
    const answer = (request: IncomingMessage, response: ServerResponse) => this.#answer(request, response);
    this.#server =
      behaviour.tls === undefined ? createServer(answer) : createTlsServer(behaviour.tls, answer);
  }

  static async start(behaviour: RegistryBehaviour = {}): Promise<TestRegistry> {
    const registry = new TestRegistry(behaviour);
    await new Promise<void>((resolve) => registry.#server.listen(0, '127.0.0.1', resolve));
    return registry;
  }

  get host(): string {
    const address = this.#server.address() as AddressInfo;
    return `127.0.0.1:${address.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  addBlob(bytes: Buffer): { digest: string; size: number } {
    const digest = sha256(bytes);
    this.blobs.set(digest, bytes);
    return { digest, size: bytes.length };
  }

  addManifest(name: string, tag: string, type: string, value: unknown): { digest: string; size: number } {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = sha256(bytes);
    for (const reference of [tag, digest]) this.manifests.set(`${name}/${reference}`, { type, bytes });
    return { digest, size: bytes.length };
  }

  /** An image of one manifest; layers are archives, packed as given. @returns the manifest's digest */
  addImage(
    name: string,
    tag: string,
    layers: readonly { packed: Buffer; diffId: string; mediaType?: string }[],
    config: Record<string, unknown> = {},
  ): { digest: string; size: number } {
    const body = {
      os: 'linux',
      architecture: 'amd64',
      config,
      rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    };
    const type = 'application/vnd.oci.image.manifest.v1+json';
    return this.addManifest(name, tag, type, {
      schemaVersion: 2,
      mediaType: type,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        ...this.addBlob(Buffer.from(JSON.stringify(body))),
      },
      layers: layers.map(({ packed, mediaType }) => ({
        mediaType: mediaType ?? 'application/vnd.oci.image.layer.v1.tar+gzip',
        ...this.addBlob(packed),
      })),
    });
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', `http://${this.host}`);
    this.requests.push(`${request.method} ${url.pathname}`);
    this.headers.set(url.pathname, request.headers);
    if (this.behaviour.hook?.(request, response, url) === true) return;
    if (url.pathname === '/token') {
      this.#token(request, response, url);
      return;
    }
    if (!this.#isAllowed(request)) {
      const scheme = this.behaviour.tls === undefined ? 'http' : 'https';
      const challenge =
        this.behaviour.auth === 'basic'
          ? 'Basic realm="test"'
          : `Bearer realm="${scheme}://${this.host}/token",service="test"`;
      response.writeHead(401, { 'www-authenticate': challenge });
      response.end(
        JSON.stringify({ errors: [{ code: 'UNAUTHORIZED', message: 'authentication required' }] }),
      );
      return;
    }
    const [, name = '', kind, reference = ''] =
      /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(url.pathname) ?? [];
    if (url.pathname === '/v2/') response.writeHead(200).end('{}');
    else if (request.method === 'POST' && url.pathname.endsWith('/blobs/uploads/')) {
      response.writeHead(202, { location: `/v2/upload/${++this.#uploads}?state=a%2Fb` }).end();
    } else if (request.method === 'PUT') {
      // A client may leave in the middle.
      this.#put(request, response, url, `${name}/${reference}`).catch(() => response.destroy());
    } else if (kind === 'manifests') this.#manifest(response, `${name}/${reference}`);
    else if (kind === 'blobs') this.#blob(request, response, reference);
    else response.writeHead(404).end();
  }

  /** A blob that was begun to be uploaded, or a manifest. */
  async #put(request: IncomingMessage, response: ServerResponse, url: URL, key: string): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    if (url.pathname.startsWith('/v2/upload/')) {
      const digest = url.searchParams.get('digest') ?? '';
      const isWhole = digest === sha256(bytes) && url.searchParams.get('state') === 'a/b';
      if (isWhole) this.blobs.set(digest, bytes);
      response.writeHead(isWhole ? 201 : 400).end();
      return;
    }
    const type = request.headers['content-type'] ?? '';
    const parts: unknown[] = [...bytes.toString().matchAll(/sha256:[0-9a-f]{64}/g)].map(([digest]) => digest);
    const lacks = parts.some((digest) => !this.blobs.has(String(digest)));
    if (!lacks)
      for (const one of [key, `${key.replace(/\/[^/]+$/, '')}/${sha256(bytes)}`])
        this.manifests.set(one, { type, bytes });
    response
      .writeHead(lacks ? 400 : 201)
      .end(JSON.stringify({ errors: [{ code: 'MANIFEST_BLOB_UNKNOWN' }] }));
  }

  #isAllowed(request: IncomingMessage): boolean {
    const { auth = 'none', credentials } = this.behaviour;
    const given = request.headers.authorization;
    if (auth === 'none') return true;
    if (auth === 'basic') return given === `Basic ${Buffer.from(credentials ?? '').toString('base64')}`;
    return given === 'Bearer let-me-in';
  }

  #token(request: IncomingMessage, response: ServerResponse, url: URL): void {
    const { credentials } = this.behaviour;
    const wanted =
      credentials === undefined ? undefined : `Basic ${Buffer.from(credentials).toString('base64')}`;
    const isRight =
      url.searchParams.get('service') === 'test' &&
      /^(|repository:.+:pull(,push)?)$/.test(url.searchParams.get('scope') ?? '');
    if (!isRight || (wanted !== undefined && request.headers.authorization !== wanted))
      response.writeHead(401).end();
    else response.writeHead(200).end(JSON.stringify({ token: 'let-me-in', expires_in: 300 }));
  }

  #manifest(response: ServerResponse, key: string): void {
    const found = this.manifests.get(key);
    if (found === undefined) {
      response.writeHead(404);
      response.end(JSON.stringify({ errors: [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }] }));
      return;
    }
    response.writeHead(200, { 'content-type': found.type, 'docker-content-digest': sha256(found.bytes) });
    response.end(found.bytes);
  }

  #blob(request: IncomingMessage, response: ServerResponse, digest: string): void {
    const bytes = this.blobs.get(digest);
    if (bytes === undefined) {
      response.writeHead(404).end();
      return;
    }
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const rest = bytes.subarray(start);
    const range = start > 0 ? { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` } : {};
    response.writeHead(start > 0 ? 206 : 200, { 'content-length': String(rest.length), ...range });
    response.end(rest);
  }
}
