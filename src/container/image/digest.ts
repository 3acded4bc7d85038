/**
 * Content digests (OCI image-spec, descriptor.md, "Digests"): `sha256:` or `sha512:` and lower-case hex, nothing else, since a digest
 * becomes a file name here. The algorithms are the two that the specification registers.
 */
import { createHash, type Hash } from 'node:crypto';
import { DigestMismatchError, ImageFormatError } from './errors.js';

/** A checked digest, e.g. `sha256:` and 64 hex digits. */
export type Digest = string & { readonly brand: 'Digest' };

const HEX_LENGTH = { sha256: 64, sha512: 128 } as const;
type Algorithm = keyof typeof HEX_LENGTH;

/** Whether `text` is a digest that this project takes. */
export function isDigest(text: string): text is Digest {
  const match = /^(sha256|sha512):([0-9a-f]+)$/.exec(text);
  return match !== null && match[2]?.length === HEX_LENGTH[match[1] === 'sha512' ? 'sha512' : 'sha256'];
}

/** @throws ImageFormatError */
export function parseDigest(text: string, where: string): Digest {
  if (isDigest(text)) return text;
  throw new ImageFormatError(`${where}: "${text.slice(0, 150)}" is not a sha256 or sha512 digest`, {
    code: 'DIGEST_INVALID',
  });
}

/** Algorithm and hex digits. */
export function digestParts(digest: Digest): { algorithm: Algorithm; hex: string } {
  const [algorithm, hex = ''] = digest.split(':');
  return { algorithm: algorithm === 'sha512' ? 'sha512' : 'sha256', hex };
}

/** The sha256 digest of some bytes. */
export function digestOf(bytes: Uint8Array | string): Digest {
  return finish(createHash('sha256').update(bytes), 'sha256');
}

function finish(hash: Hash, algorithm: Algorithm): Digest {
  const text = `${algorithm}:${hash.digest('hex')}`;
  if (!isDigest(text)) throw new Error('a hash has an unexpected length');
  return text;
}

/** Hashes a stream and counts it; with an expected digest it uses that digest's algorithm. */
export class Digester {
  readonly #algorithm: Algorithm;
  readonly #hash: Hash;
  /** Bytes so far. */
  size = 0;

  constructor(like?: Digest) {
    this.#algorithm = like === undefined ? 'sha256' : digestParts(like).algorithm;
    this.#hash = createHash(this.#algorithm);
  }

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.size += bytes.length;
  }

  /** Ends the stream. */
  digest(): Digest {
    return finish(this.#hash, this.#algorithm);
  }
}

/** Refuses bytes whose digest or size is not the promised one. @throws DigestMismatchError */
export function verifyDigest(actual: Digest, expected: Digest, what: string): void {
  if (actual === expected) return;
  throw new DigestMismatchError(`${what} has the digest ${actual} instead of ${expected}`, {
    code: 'DIGEST_MISMATCH',
    hint: 'The data was changed or damaged on its way; fetch it again, or from somewhere else.',
  });
}

/**
 * The chain ids of layers, lowest first (OCI image-spec, config.md, "Layer ChainID"): what a stack of layers looks like, where a diff id
 * names one layer alone.
 */
export function chainIds(diffIds: readonly Digest[]): Digest[] {
  const chain: Digest[] = [];
  for (const diffId of diffIds) {
    const parent = chain.at(-1);
    chain.push(parent === undefined ? diffId : digestOf(`${parent} ${diffId}`));
  }
  return chain;
}
