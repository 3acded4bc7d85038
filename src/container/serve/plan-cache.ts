/**
 * Compiled and encoded plans by the whole text of their configuration and all that their context says, so that the second container of a
 * bundle costs a lookup. What differs between two such containers is their id, wherever it stands in paths: plans are compiled with a word of
 * the same length in its place, and the id is written over it in the encoded bytes. The text, not a hash, is the key.
 */
import { randomBytes } from 'node:crypto';
import type { CreateContext } from '../compile/context.js';
import { compileCreate } from '../compile/create.js';
import { encodePlan } from '../plan/encode.js';
import type { Plan } from '../plan/plan.js';
import type { Bundle } from '../runtime/bundle.js';

/** Shorter ones could stand in a path by chance, which would only spoil the cache, but often. */
const REPLACEABLE_ID = /^[A-Za-z0-9_-]{8,128}$/;
const MAX_ENTRIES = 64;
const MAX_CHARACTERS = 4 * 1024 * 1024;

interface Entry {
  readonly plan: Plan;
  readonly bytes: Buffer;
  /** Where the id stands in the bytes. */
  readonly at: readonly number[];
  readonly warnings: readonly string[];
}

/** What is known of a plan besides itself. */
export interface Prepared {
  /** Valid until the next call: another plan of the same shape is made from them. */
  bytes(): Uint8Array;
  /** The plan with the right id in its texts: for the sentence about a step that failed. */
  readonly exact: () => Plan;
}

export class PlanCache {
  readonly #word = randomBytes(64).toString('hex');
  readonly #entries = new Map<string, Entry>();
  readonly #prepared = new WeakMap<Plan, Prepared>();
  #characters = 0;

  /** Plans held. */
  get size(): number {
    return this.#entries.size;
  }

  /** As compileCreate. @throws CompileError, PlanError */
  compile(bundle: Bundle, context: CreateContext): Plan {
    const { id } = context;
    if (!REPLACEABLE_ID.test(id)) return compileCreate(bundle.spec, context);
    const word = this.#word.slice(0, id.length);
    const { host, seccomp, warn, ...rest } = context;
    const described = JSON.stringify(rest);
    const key = `${id.length} ${described.replaceAll(id, word)} ${bundle.rootfs} ${bundle.text}`;
    const entry = this.#entries.get(key) ?? this.#add(key, bundle, context, described, word);
    for (const warning of entry.warnings) warn?.(warning);
    const plan = { ...entry.plan };
    this.#prepared.set(plan, {
      bytes: () => {
        for (const at of entry.at) entry.bytes.write(id, at, 'latin1');
        return entry.bytes;
      },
      exact: () => compileCreate(bundle.spec, { ...context, warn: () => {} }),
    });
    return plan;
  }

  /** Of a plan that {@link compile} has made and that may be had from here. */
  prepared(plan: Plan): Prepared | undefined {
    return this.#prepared.get(plan);
  }

  #add(key: string, bundle: Bundle, context: CreateContext, described: string, word: string): Entry {
    const { id, host, seccomp } = context;
    const warnings: string[] = [];
    const plan = compileCreate(bundle.spec, {
      // JSON holds all of it: what is left out here are no plain values.
      ...JSON.parse(described.replaceAll(id, word)),
      host,
      ...(seccomp === undefined ? {} : { seccomp }),
      warn: (warning: string) => warnings.push(warning.replaceAll(word, id)),
    });
    const bytes = Buffer.from(encodePlan(plan));
    const entry = { plan, bytes, at: placesOf(bytes, word), warnings };
    // A warning that names a container is not another one's; there are none, but nobody would notice.
    if (key.length > MAX_CHARACTERS || warnings.some((warning) => warning.includes(id))) return entry;
    this.#entries.set(key, entry);
    this.#characters += key.length;
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= MAX_ENTRIES && this.#characters <= MAX_CHARACTERS) break;
      this.#entries.delete(oldest);
      this.#characters -= oldest.length;
    }
    return entry;
  }
}

function placesOf(bytes: Buffer, word: string): number[] {
  const places: number[] = [];
  for (let at = bytes.indexOf(word); at >= 0; at = bytes.indexOf(word, at + word.length)) places.push(at);
  return places;
}

/** Of this process. */
export const planCache = new PlanCache();
