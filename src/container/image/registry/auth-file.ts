/**
 * Writes what `login` and `logout` change: the `auths` of Docker's config.json, or of the file that REGISTRY_AUTH_FILE names, as
 * credentials.ts reads them. All else in the file stays. Where the file has a credential helper for the registry, the helper is told.
 */
import { mkdirSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { CredentialError } from '../errors.js';
import type { JsonView } from '../json.js';
import { candidateFiles, DOCKER_HUB, hostOf, readConfig, runHelper } from './credentials.js';

type Environment = Readonly<Record<string, string | undefined>>;
type Json = Readonly<Record<string, unknown>>;

function objectOf(view: JsonView): Json {
  return Object.fromEntries(view.keys().map((key) => [key, view.member(key).value]));
}

/** The whole file or the old one; only its owner may read it. @throws CredentialError */
function replaceFile(file: string, content: Json): void {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const target = realTarget(file);
    const fresh = `${target}.${process.pid}.new`;
    try {
      writeFileSync(fresh, `${JSON.stringify(content, undefined, '\t')}\n`, { mode: 0o600, flag: 'wx' });
      renameSync(fresh, target);
    } finally {
      rmSync(fresh, { force: true });
    }
  } catch (cause) {
    throw new CredentialError(`${file} cannot be written`, { code: 'CREDENTIALS_UNWRITABLE', cause });
  }
}

/** A link to a file elsewhere stays one. */
function realTarget(file: string): string {
  try {
    return realpathSync(file);
  } catch {
    return file;
  }
}

function helperFor(config: JsonView | undefined, registry: string): string | undefined {
  if (config === undefined) return undefined;
  const helpers = config.member('credHelpers');
  const key = helpers.keys().find((one) => hostOf(one) === registry);
  if (key !== undefined) return helpers.member(key).string();
  const store = config.member('credsStore').optionalString() ?? '';
  return store === '' ? undefined : store;
}

const serverOf = (registry: string): string => (registry === 'docker.io' ? DOCKER_HUB : registry);

/** Whether an entry of a file is about a registry as a whole. */
function isOf(key: string, registry: string): boolean {
  const host = hostOf(key);
  return host === registry || (registry === 'docker.io' && host === 'index.docker.io');
}

/** The file that `login` writes: docker's own, unless REGISTRY_AUTH_FILE names another. */
export function loginFile(environment: Environment): string {
  return candidateFiles(environment).at(-1) ?? '';
}

/** @returns where it was written @throws CredentialError ImageFormatError */
export async function saveLogin(
  registry: string,
  { username, password }: { readonly username: string; readonly password: string },
  environment: Environment = process.env,
): Promise<string> {
  const file = loginFile(environment);
  const config = readConfig(file);
  const helper = helperFor(config, registry);
  if (helper !== undefined) {
    const entry = { ServerURL: serverOf(registry), Username: username, Secret: password };
    await runHelper(helper, 'store', JSON.stringify(entry));
    return `docker-credential-${helper}`;
  }
  const whole = config === undefined ? {} : objectOf(config);
  const auths = config === undefined ? {} : objectOf(config.member('auths'));
  const kept = Object.fromEntries(Object.entries(auths).filter(([key]) => !isOf(key, registry)));
  const auth = Buffer.from(`${username}:${password}`).toString('base64');
  replaceFile(file, { ...whole, auths: { ...kept, [serverOf(registry)]: { auth } } });
  return file;
}

/** Forgets a registry, or all, wherever it is written. @returns the files and helpers that had it @throws CredentialError ImageFormatError */
export async function forgetLogin(
  registry: string | undefined,
  environment: Environment = process.env,
): Promise<string[]> {
  const changed: string[] = [];
  for (const file of candidateFiles(environment)) {
    const config = readConfig(file);
    if (config === undefined) continue;
    const helper = registry === undefined ? undefined : helperFor(config, registry);
    if (helper !== undefined && registry !== undefined) {
      await runHelper(helper, 'erase', serverOf(registry));
      changed.push(`docker-credential-${helper}`);
    }
    const auths = Object.entries(objectOf(config.member('auths')));
    const kept = auths.filter(([key]) => registry !== undefined && !isOf(key, registry));
    if (kept.length === auths.length) continue;
    replaceFile(file, { ...objectOf(config), auths: Object.fromEntries(kept) });
    changed.push(file);
  }
  return changed;
}
