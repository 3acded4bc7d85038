/**
 * A registry's client (OCI distribution-spec 1.1; tokens after the Docker registry's token specification). Manifests are
 * bounded and checked against their digest; blobs come as streams that the downloader checks. Retries what may pass: broken
 * connections, 429 and 5xx, with growing pauses or as long as the server says.
 */
import { setTimeout } from 'node:timers/promises';
import { type Digest, Digester, isDigest, verifyDigest } from '../digest.js';
import { RegistryError } from '../errors.js';
import { JsonView } from '../json.js';
import { type Descriptor, MANIFEST_TYPES, MAX_MANIFEST } from '../manifest.js';
import type { Reference } from '../reference.js';
import { type Challenge, parseChallenges } from './challenge.js';
import { type Credentials, credentialsFor } from './credentials.js';
import { HttpClient, type HttpRequest, type HttpResponse, quoted, readBody, shown } from './http.js';
import { isLoopback } from './proxy.js';
import { RetryLater, refusalOf } from './refusal.js';

export interface RegistryOptions {
  /** false takes any certificate, and plain http where there is no TLS. */
  readonly tlsVerify?: boolean;
  /** Default: what the user's files say. */
  readonly credentials?: Credentials;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly ca?: readonly string[];
  /** Milliseconds; the first pause before a retry, which doubles, and how long a silence may be. */
  readonly retryMs?: number;
  readonly idleMs?: number;
  readonly signal?: AbortSignal;
  /** What is asked of the repository, for tokens: default `pull`. `login` asks for no repository. */
  readonly access?: 'pull' | 'push' | 'login';
}

export interface RegistryRequest extends Pick<HttpRequest, 'method' | 'headers' | 'body'> {
  readonly path: string;
  /** Statuses that are answers; others are thrown. */
  readonly allowed: readonly number[];
}

export interface FetchedManifest {
  readonly bytes: Buffer;
  readonly digest: Digest;
  /** As the server says. */
  readonly mediaType: string;
}

const MAX_TRIES = 5;
const MAX_PAUSE_MS = 30_000;
const MAX_TOKEN_ANSWER = 2 ** 20;
/** Answers that may be others the next time. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);
const NETWORK = new Set([
  'ECONNRESET',
  'ETIMEDOUT',
  'EPIPE',
  'EAI_AGAIN',
  'ECONNREFUSED',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'NETWORK',
  'UND_ERR_SOCKET',
  'ERR_STREAM_PREMATURE_CLOSE',
  'BLOB_SHORT',
]);

/** Whether another try may help. */
export function isPassing(error: unknown): boolean {
  if (!(error instanceof RegistryError)) return false;
  return error.status === undefined ? NETWORK.has(error.code) : PASSING.has(error.status);
}

export class RegistryClient implements Disposable {
  readonly #reference: Reference;
  readonly #options: RegistryOptions;
  readonly #environment: Readonly<Record<string, string | undefined>>;
  readonly #http: HttpClient;
  #base: URL | undefined;
  #challenge: (Challenge & { readonly isForeign: boolean }) | undefined;
  #authorization: Promise<string | undefined> | undefined;

  constructor(reference: Reference, options: RegistryOptions = {}) {
    this.#reference = reference;
    this.#options = options;
    this.#environment = options.environment ?? process.env;
    this.#http = new HttpClient({
      tlsVerify: options.tlsVerify ?? true,
      idleMs: options.idleMs ?? 60_000,
      environment: this.#environment,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
    });
  }

  [Symbol.dispose](): void {
    this.#http[Symbol.dispose]();
  }

  /** The default registry's API is on a host of its own. */
  get #host(): string {
    return this.#reference.registry === 'docker.io' ? 'registry-1.docker.io' : this.#reference.registry;
  }

  /** A manifest or index by tag or digest; without one, of the reference. @throws RegistryError DigestMismatchError CredentialError */
  async manifest(digest?: Digest): Promise<FetchedManifest> {
    const { tag, repository, digest: wanted } = this.#reference;
    const expected = digest ?? wanted;
    const which = expected ?? tag ?? 'latest';
    return this.#retry(async () => {
      const response = await this.#get(`/v2/${repository}/manifests/${which}`, {
        accept: MANIFEST_TYPES.join(', '),
      });
      const what = `the manifest ${which} of ${repository}`;
      const bytes = await readBody(response, MAX_MANIFEST, what);
      const promised = response.headers['docker-content-digest'];
      const header = typeof promised === 'string' && isDigest(promised) ? promised : undefined;
      // A registry's own word is only good for finding damage: the digest that counts is the one asked for, or that of the bytes.
      const reference = expected ?? header;
      const digester = new Digester(reference);
      digester.update(bytes);
      const actual = digester.digest();
      if (reference !== undefined) verifyDigest(actual, reference, what);
      const type =
        String(response.headers['content-type'] ?? '')
          .split(';')[0]
          ?.trim() ?? '';
      return { bytes, digest: actual, mediaType: type };
    });
  }

  /**
   * A blob from `offset` on, where the server can; `offset` of the answer says where it really starts. One try: whoever reads the body
   * knows how far it came. @throws RegistryError CredentialError
   */
  async blob(descriptor: Descriptor, offset: number): Promise<{ response: HttpResponse; offset: number }> {
    const headers: Record<string, string> = offset > 0 ? { range: `bytes=${offset}-` } : {};
    const path = `/v2/${this.#reference.repository}/blobs/${descriptor.digest}`;
    const response = await this.#get(path, headers, offset > 0 ? [416] : []);
    const refuse = (why: string): never => {
      response.body.destroy();
      throw new RegistryError(`${shown(response.url)} ${why}`, { code: 'BLOB_INVALID' });
    };
    const encoding = response.headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity')
      refuse(`is sent as "${quoted(encoding)}", which nobody asked for`);
    if (response.status === 416) {
      response.body.destroy();
      return this.blob(descriptor, 0);
    }
    let start = 0;
    if (response.status === 206) {
      const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(String(response.headers['content-range'] ?? ''));
      if (
        range === null ||
        Number(range[1]) !== offset ||
        (range[3] !== '*' && Number(range[3]) !== descriptor.size)
      ) {
        refuse('sends another range than was asked for');
      }
      start = offset;
    }
    const length = response.headers['content-length'];
    if (length !== undefined && Number(length) !== descriptor.size - start) {
      refuse(`has ${quoted(length)} bytes where ${descriptor.size - start} were promised`);
    }
    return { response, offset: start };
  }

  /** Whether the registry takes the credentials. @throws CredentialError RegistryError */
  async login(): Promise<void> {
    const response = await this.request({ path: '/v2/', allowed: [200] });
    response.body.destroy();
  }

  /** Runs an attempt again while its failure may pass. */
  async retry<T>(attempt: () => Promise<T>): Promise<T> {
    return this.#retry(attempt);
  }

  async #retry<T>(attempt: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await attempt();
      } catch (error) {
        if (tries >= MAX_TRIES || !isPassing(error)) throw error;
        await this.pause(tries, error);
      }
    }
  }

  /** Waits before try number `tries` + 1. */
  async pause(tries: number, error?: unknown): Promise<void> {
    const asked = error instanceof RetryLater ? error.afterMs : 0;
    const base = (this.#options.retryMs ?? 300) * 2 ** (tries - 1);
    const ms = Math.min(Math.max(asked, base * (0.75 + Math.random() / 2)), MAX_PAUSE_MS);
    await setTimeout(
      ms,
      undefined,
      this.#options.signal === undefined ? {} : { signal: this.#options.signal },
    );
  }

  #get(
    path: string,
    headers: Readonly<Record<string, string>>,
    allowed: readonly number[] = [],
  ): Promise<HttpResponse> {
    return this.request({ path, headers, allowed: [200, 206, ...allowed] });
  }

  /**
   * One authorized exchange with the registry. @param request.path below the registry, or a whole address that it has given; that of another
   * host gets no authorization
   *
   * @throws RegistryError CredentialError for a status that is not allowed
   */
  async request({
    path,
    method = 'GET',
    headers = {},
    body,
    allowed,
  }: RegistryRequest): Promise<HttpResponse> {
    const base = await this.#findBase();
    const url = new URL(path, base);
    if (base.protocol === 'https:' && url.protocol !== 'https:')
      throw new RegistryError(`${shown(base)} leads from https to ${shown(url)}`, {
        code: 'REDIRECT_INSECURE',
      });
    for (let tries = 1; ; tries++) {
      const authorization = url.origin === base.origin ? await this.#authorize() : undefined;
      const response = await this.#http.send({
        url,
        method,
        headers: {
          ...headers,
          'user-agent': 'tvmm',
          ...(authorization === undefined ? {} : { authorization }),
        },
        ...(body === undefined ? {} : { body }),
        ...this.#signal,
      });
      if (allowed.includes(response.status)) return response;
      if (response.status === 401 && tries === 1) {
        // A token has its time, and some registries only say per repository what they want.
        this.#challenge = challengeOf(response, base) ?? this.#challenge;
        this.#authorization = undefined;
        response.body.destroy();
        continue;
      }
      throw await refusalOf(response, this.#reference, this.#options.access);
    }
  }

  /** Passwords cross no network in the clear unasked, wherever a registry of this machine sends us. */
  #mayBePlain(url: URL): boolean {
    return this.#options.tlsVerify === false || isLoopback(url.hostname);
  }

  get #signal(): { signal?: AbortSignal } {
    return this.#options.signal === undefined ? {} : { signal: this.#options.signal };
  }

  /** Finds out how the registry speaks, by the end-1 request of the specification. */
  async #findBase(): Promise<URL> {
    if (this.#base !== undefined) return this.#base;
    const isLocal = isLoopback(this.#host.replace(/:\d+$/, ''));
    const mayBePlain = this.#options.tlsVerify === false || isLocal;
    if (!mayBePlain) {
      this.#base = await this.#retry(() => this.#ping('https'));
      return this.#base;
    }
    const [first, second] = isLocal ? (['http', 'https'] as const) : (['https', 'http'] as const);
    try {
      this.#base = await this.#ping(first);
    } catch (error) {
      // A server of the other kind answers with an alert, a reset, a 400, or not at all.
      if (
        !(error instanceof RegistryError) ||
        (isLocal && ['ECONNREFUSED', 'ETIMEDOUT'].includes(error.code))
      )
        throw error;
      this.#base = await this.#retry(() => this.#ping(PASSING.has(error.status ?? 0) ? first : second));
    }
    return this.#base;
  }

  async #ping(scheme: 'http' | 'https'): Promise<URL> {
    const url = new URL(`${scheme}://${this.#host}/v2/`);
    const response = await this.#http.send({ url, headers: { 'user-agent': 'tvmm' }, ...this.#signal });
    response.body.destroy();
    const { status } = response;
    if (PASSING.has(status) || status === 400) {
      throw new RegistryError(`${shown(url)} answers ${status}`, { code: 'REGISTRY_ANSWER', status });
    }
    if (status === 401) this.#challenge = challengeOf(response, url);
    return url;
  }

  /** The Authorization header, asked for once. */
  #authorize(): Promise<string | undefined> {
    this.#authorization ??= this.#newAuthorization();
    return this.#authorization;
  }

  async #newAuthorization(): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    const { registry, repository } = this.#reference;
    // Whom the registry redirects to may want a token as well, but has no claim to the password.
    const credentials = challenge.isForeign
      ? undefined
      : (this.#options.credentials ?? (await credentialsFor(registry, repository, this.#environment)));
    if (challenge.scheme === 'basic') {
      return credentials?.kind === 'password' ? basic(credentials) : undefined;
    }
    return `Bearer ${await this.#retry(() => this.#token(challenge, credentials))}`;
  }

  async #token(challenge: Challenge, credentials: Credentials | undefined): Promise<string> {
    const realm = challenge.parameters.get('realm') ?? '';
    const { registry, repository } = this.#reference;
    const url = URL.canParse(realm) ? new URL(realm) : undefined;
    if (
      url === undefined ||
      !/^https?:$/.test(url.protocol) ||
      (url.protocol === 'http:' && (this.#base?.protocol === 'https:' || !this.#mayBePlain(url)))
    ) {
      throw new RegistryError(`${registry} names no proper address for tokens: "${quoted(realm)}"`, {
        code: 'TOKEN_REALM',
      });
    }
    const service = challenge.parameters.get('service') ?? '';
    const { access = 'pull' } = this.#options;
    const scope =
      access === 'login' ? undefined : `repository:${repository}:${access === 'push' ? 'pull,push' : 'pull'}`;
    const agent = { 'user-agent': 'tvmm' };
    let response: HttpResponse;
    if (credentials?.kind === 'identity') {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        refresh_token: credentials.token,
        service,
        ...(scope === undefined ? {} : { scope }),
        client_id: 'tvmm',
      });
      const type = { 'content-type': 'application/x-www-form-urlencoded' };
      response = await this.#http.send({
        url,
        method: 'POST',
        headers: { ...agent, ...type },
        body: form.toString(),
        ...this.#signal,
      });
    } else {
      if (service !== '') url.searchParams.set('service', service);
      if (scope !== undefined) url.searchParams.append('scope', scope);
      const headers = credentials === undefined ? agent : { ...agent, authorization: basic(credentials) };
      response = await this.#http.send({ url, headers, ...this.#signal });
    }
    if (response.status !== 200) throw await refusalOf(response, this.#reference, access);
    const answer = JsonView.parse(
      await readBody(response, MAX_TOKEN_ANSWER, 'a token'),
      `the token of ${shown(url)}`,
    );
    const token =
      answer.member('token').optionalString() ?? answer.member('access_token').optionalString() ?? '';
    if (!/^[\x21-\x7e]+$/.test(token)) {
      throw new RegistryError(`${shown(url)} gives no usable token`, { code: 'TOKEN_INVALID' });
    }
    return token;
  }
}

function basic({ username, password }: Extract<Credentials, { kind: 'password' }>): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** The challenge that is answered: Bearer before Basic. @param asked whose credentials these would be: redirects lead elsewhere */
function challengeOf(response: HttpResponse, asked: URL) {
  const all = parseChallenges(String(response.headers['www-authenticate'] ?? ''));
  const found = all.find(({ scheme }) => scheme === 'bearer') ?? all.find(({ scheme }) => scheme === 'basic');
  return found === undefined ? undefined : { ...found, isForeign: response.url.origin !== asked.origin };
}
