/**
 * A registry's refusals as sentences (OCI distribution-spec, "Error Codes").
 */
import { CredentialError, RegistryError } from '../errors.js';
import { JsonView } from '../json.js';
import type { Reference } from '../reference.js';
import { type HttpResponse, quoted, readBody, shown } from './http.js';

const MAX_ERROR = 64 * 1024;

/** The server says how long to wait. */
export class RetryLater extends RegistryError {
  readonly afterMs: number;
  constructor(message: string, status: number, afterMs: number) {
    super(message, { code: 'REGISTRY_ANSWER', status });
    this.afterMs = afterMs;
  }
}

/** What an answer that is not the one asked for means, with the server's own words where it has some. */
export async function refusalOf(
  response: HttpResponse,
  reference: Reference,
  access: 'pull' | 'push' | 'login' = 'pull',
): Promise<RegistryError | CredentialError> {
  let detail = '';
  try {
    const body = await readBody(response, MAX_ERROR, 'the error');
    const first = JsonView.parse(body, 'the error').member('errors').elements()[0];
    const message = first?.member('message').optionalString() ?? first?.member('code').optionalString();
    detail = message === undefined ? '' : `: ${quoted(message)}`;
  } catch {
    // Not every error comes as the specification says.
  }
  const { status } = response;
  const { registry, repository, tag, digest } = reference;
  const name = `${registry}/${repository}`;
  if (status === 401 || status === 403) {
    if (access === 'login')
      return new CredentialError(`${registry} does not take this user name and password${detail}`, {
        code: 'REGISTRY_DENIED',
      });
    return new CredentialError(`${registry} does not let you ${access} ${repository}${detail}`, {
      code: 'REGISTRY_DENIED',
      hint: `Log in (tvmm login ${registry}), or check the name: registries often deny what they do not have.`,
    });
  }
  const blob = /\/blobs\/([^/]+)$/.exec(response.url.pathname)?.[1];
  if (status === 404 && blob !== undefined) {
    return new RegistryError(`${registry} lacks a part of ${repository}, ${quoted(blob)}${detail}`, {
      code: 'BLOB_NOT_FOUND',
      status,
    });
  }
  if (status === 404) {
    return new RegistryError(
      `${registry} has no ${repository}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}${detail}`,
      {
        code: 'IMAGE_NOT_FOUND',
        status,
      },
    );
  }
  const sentence = `${name}: ${shown(response.url)} answers ${status}${detail}`;
  const after = Number(response.headers['retry-after'] ?? 0);
  if (after > 0) return new RetryLater(sentence, status, after * 1000);
  return new RegistryError(sentence, { code: 'REGISTRY_ANSWER', status });
}
