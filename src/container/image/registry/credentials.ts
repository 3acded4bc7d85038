/**
 * Where users keep their registry passwords: containers' auth.json (containers-auth.json(5)) and Docker's config.json, with its
 * credential helpers. Nothing is written here (auth-file.ts does). A file that is there but unreadable is an error, not an anonymous pull.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { CredentialError } from '../errors.js';
import { JsonView } from '../json.js';

export type Credentials =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  /** An OAuth2 refresh token. */
  | { readonly kind: 'identity'; readonly token: string };

type Environment = Readonly<Record<string, string | undefined>>;

/** How Docker's own registry is called in these files. */
export const DOCKER_HUB = 'https://index.docker.io/v1/';
const MAX_FILE = 2 ** 20;
const MAX_ANSWER = 65536;
const HELPER_TIMEOUT_MS = 30_000;
/** What helpers say when they have nothing. */
const NOT_FOUND = /credentials not found/i;

/** In the order in which they are asked; docker's own is the last. */
export function candidateFiles(environment: Environment): string[] {
  const home = environment.HOME ?? homedir();
  const chosen = environment.REGISTRY_AUTH_FILE;
  if (chosen !== undefined && chosen !== '') return [chosen];
  const runtime = environment.XDG_RUNTIME_DIR;
  const config = environment.XDG_CONFIG_HOME ?? join(home, '.config');
  return [
    ...(runtime === undefined ? withoutSession() : [join(runtime, 'containers/auth.json')]),
    join(config, 'containers/auth.json'),
    join(environment.DOCKER_CONFIG ?? join(home, '.docker'), 'config.json'),
  ];
}

/** Where podman and skopeo log in when there is no session, as root's often are. A mapped root may not look there, and has none. */
function withoutSession(): string[] {
  return [`/run/containers/${process.getuid?.() ?? 0}/auth.json`].filter((file) => existsSync(file));
}

/** @throws CredentialError ImageFormatError */
export function readConfig(file: string): JsonView | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new CredentialError(`${file}, which holds registry credentials, cannot be read`, {
      code: 'CREDENTIALS_UNREADABLE',
      cause: error,
    });
  }
  if (text.length > MAX_FILE)
    throw new CredentialError(`${file} is too large`, { code: 'CREDENTIALS_INVALID' });
  return text.trim() === '' ? undefined : JsonView.parse(text, file);
}

/** `https://host/v1/` and `host` are the same registry. */
export function hostOf(key: string): string {
  return key
    .replace(/^https?:\/\//, '')
    .replace(/\/v[12]\/?$/, '')
    .replace(/\/$/, '');
}

function decode(view: JsonView): Credentials | undefined {
  const identity = view.member('identitytoken').optionalString() ?? '';
  if (identity !== '') return { kind: 'identity', token: identity };
  const auth = view.member('auth').optionalString() ?? '';
  if (auth !== '') {
    const text = Buffer.from(auth, 'base64').toString();
    const colon = text.indexOf(':');
    if (colon < 1) view.member('auth').fail('it is not base64 of USER:PASSWORD');
    return {
      kind: 'password',
      username: text.slice(0, colon),
      password: text.slice(colon + 1).replace(/\0+$/, ''),
    };
  }
  const username = view.member('username').optionalString() ?? '';
  if (username === '') return undefined;
  return { kind: 'password', username, password: view.member('password').optionalString() ?? '' };
}

/** Runs `docker-credential-NAME ACTION`. @returns its answer; undefined when it has nothing for that registry @throws CredentialError */
export async function runHelper(
  name: string,
  action: 'get' | 'store' | 'erase',
  input: string,
): Promise<string | undefined> {
  const command = `docker-credential-${name}`;
  if (!/^[A-Za-z0-9._-]+$/.test(name)) {
    throw new CredentialError(`"${name}" is not the name of a credential helper`, {
      code: 'CREDENTIAL_HELPER',
    });
  }
  const { status, output } = await new Promise<{ status: number | null; output: string }>(
    (resolve, reject) => {
      const child = spawn(command, [action], {
        stdio: ['pipe', 'pipe', 'ignore'],
        timeout: HELPER_TIMEOUT_MS,
      });
      let output = '';
      child.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        if (output.length > MAX_ANSWER) child.kill('SIGKILL');
      });
      child.on('error', (cause) =>
        reject(
          new CredentialError(`the credential helper ${command} cannot be run`, {
            code: 'CREDENTIAL_HELPER',
            hint: 'Install it, or take it out of config.json.',
            cause,
          }),
        ),
      );
      child.on('close', (status) => resolve({ status, output }));
      // A helper that does not read its input has ended: its status says the rest.
      child.stdin.on('error', () => {});
      child.stdin.end(`${input}\n`);
    },
  );
  if (status !== 0) {
    if (NOT_FOUND.test(output)) return undefined;
    throw new CredentialError(`${command} failed: ${output.trim().slice(0, 200)}`, {
      code: 'CREDENTIAL_HELPER',
    });
  }
  return output;
}

/** @throws CredentialError */
async function askHelper(name: string, server: string): Promise<Credentials | undefined> {
  const output = await runHelper(name, 'get', server);
  if (output === undefined) return undefined;
  const view = JsonView.parse(output, `the answer of docker-credential-${name}`);
  const username = view.member('Username').string();
  const secret = view.member('Secret').string();
  if (username === '') return undefined;
  return username === '<token>'
    ? { kind: 'identity', token: secret }
    : { kind: 'password', username, password: secret };
}

/**
 * The credentials for a registry, or undefined for an anonymous pull. The most specific entry wins: `host/team/app` before `host/team`
 * before `host`.
 *
 * @throws CredentialError ImageFormatError
 */
export async function credentialsFor(
  registry: string,
  repository: string,
  environment: Environment = process.env,
): Promise<Credentials | undefined> {
  const parts = repository.split('/');
  const names = [...parts.keys()].map((i) => `${registry}/${parts.slice(0, parts.length - i).join('/')}`);
  const hosts =
    registry === 'docker.io'
      ? [...names, 'docker.io', 'index.docker.io', 'registry-1.docker.io']
      : [...names, registry];
  for (const file of candidateFiles(environment)) {
    const config = readConfig(file);
    if (config === undefined) continue;
    const helpers = config.member('credHelpers');
    const helperKey = helpers.keys().find((key) => hosts.includes(hostOf(key)));
    const store = config.member('credsStore').optionalString() ?? '';
    const server = registry === 'docker.io' ? DOCKER_HUB : registry;
    if (helperKey !== undefined) {
      const found = await askHelper(helpers.member(helperKey).string(), helperKey);
      if (found !== undefined) return found;
    }
    const auths = config.member('auths');
    const keys = auths.keys();
    for (const host of hosts) {
      const key = keys.find((one) => hostOf(one) === host);
      const found = key === undefined ? undefined : decode(auths.member(key));
      if (found !== undefined) return found;
    }
    if (store !== '') {
      const found = await askHelper(store, server);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}
