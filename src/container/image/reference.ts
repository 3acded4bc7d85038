/**
 * Image names (distribution-spec, "Pulling manifests": <name>, <reference>) and how people shorten them: `debian` is
 * `docker.io/library/debian:latest`. Strict: what does not parse is refused with the part that is wrong, never guessed at.
 */
import { type Digest, isDigest } from './digest.js';
import { ImageNameError } from './errors.js';

/** Where an image is to be found. */
export interface Reference {
  /** Host, with port where one is given: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly registry: string;
  /** `library/debian`. */
  readonly repository: string;
  /** Absent where only a digest is given. */
  readonly tag?: string;
  readonly digest?: Digest;
}

const DEFAULT_REGISTRY = 'docker.io';
const DEFAULT_TAG = 'latest';
/** distribution-spec: names are at most 255 characters, registry included, as clients have it. */
const MAX_NAME = 255;
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;
const HOST =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:.]+\])(?::([0-9]{1,5}))?$/;

function refuse(text: string, why: string): never {
  throw new ImageNameError(
    `"${text.length > 300 ? `${text.slice(0, 300)}…` : text}" is no image name: ${why}`,
    {
      code: 'REFERENCE_INVALID',
      hint: 'An image is named [REGISTRY/]REPOSITORY[:TAG][@DIGEST], for example debian:12 or localhost:5000/team/app@sha256:….',
    },
  );
}

/** The first part of a name is a registry when it cannot be part of a repository of the default one. */
function looksLikeHost(part: string): boolean {
  return part === 'localhost' || /[.:[]/.test(part) || part !== part.toLowerCase();
}

/** Parses an image name as a user writes it. @throws ImageNameError */
export function parseReference(text: string): Reference {
  if (text === '') refuse(text, 'it is empty');
  if (/[\p{Cc} ]/u.test(text)) refuse(text, 'it contains a space or a control character');
  if (text.includes('://')) refuse(text, 'it is a URL; leave the scheme out');
  let rest = text;
  let digest: Digest | undefined;
  const at = rest.indexOf('@');
  if (at !== -1) {
    const written = rest.slice(at + 1);
    if (!isDigest(written)) refuse(text, `"${written}" is not a sha256 or sha512 digest`);
    digest = written;
    rest = rest.slice(0, at);
  }
  let registry = DEFAULT_REGISTRY;
  const slash = rest.indexOf('/');
  if (slash !== -1 && looksLikeHost(rest.slice(0, slash))) {
    registry = rest.slice(0, slash);
    rest = rest.slice(slash + 1);
    const host = HOST.exec(registry);
    if (host === null || Number(host[1] ?? 1) > 65535 || Number(host[1] ?? 1) === 0) {
      refuse(text, `"${registry}" is not a host`);
    }
  }
  let tag: string | undefined;
  const colon = rest.indexOf(':');
  if (colon !== -1) {
    tag = rest.slice(colon + 1);
    if (!TAG.test(tag)) refuse(text, `"${tag}" is not a tag`);
    rest = rest.slice(0, colon);
  }
  if (rest === '') refuse(text, 'the repository is missing');
  for (const component of rest.split('/')) {
    if (COMPONENT.test(component)) continue;
    refuse(
      text,
      component.toLowerCase() === component
        ? `"${component}" cannot be part of a repository's name`
        : `repositories are written in lower case, not "${component}"`,
    );
  }
  if (registry === 'index.docker.io') registry = DEFAULT_REGISTRY;
  const repository = registry === DEFAULT_REGISTRY && !rest.includes('/') ? `library/${rest}` : rest;
  if (registry.length + 1 + repository.length > MAX_NAME)
    refuse(text, `it is longer than ${MAX_NAME} characters`);
  if (tag === undefined && digest === undefined) tag = DEFAULT_TAG;
  return {
    registry,
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** The whole name, with nothing left out: what the store uses as a key. */
export function formatReference({ registry, repository, tag, digest }: Reference): string {
  return `${registry}/${repository}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

/** The name as people write it: without the default registry and `library/`. */
export function familiarName(reference: Reference): string {
  const whole = formatReference(reference);
  if (reference.registry !== DEFAULT_REGISTRY) return whole;
  const rest = whole.slice(DEFAULT_REGISTRY.length + 1);
  return /^library\/[^/]+$/.test(rest) ? rest.slice('library/'.length) : rest;
}
