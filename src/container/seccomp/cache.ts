/**
 * Compiled profiles by their whole text. A resident engine starts many containers with few profiles; the text, not a hash, is the key,
 * because a hostile profile must never be answered with another one's filter. Bounded in entries and in characters held.
 */
import { compileSeccomp, type SeccompProgram } from './compile.js';
import { exactJson, parseExactJson } from './exact-json.js';
import { type OciSeccomp, parseSeccomp } from './profile.js';

/** Bounds of a {@link SeccompCache}. */
export interface SeccompCacheLimits {
  readonly entries: number;
  /** Sum of the texts' lengths, in UTF-16 code units. */
  readonly characters: number;
}

const LIMITS: SeccompCacheLimits = { entries: 64, characters: 4 * 1024 * 1024 };

/** Least recently used goes first. What it returns is shared: nobody may write to the filter's bytes. */
export class SeccompCache {
  readonly #programs = new Map<string, SeccompProgram>();
  /** A configuration that is used again need not be written as text again. */
  readonly #parsed = new WeakMap<OciSeccomp, SeccompProgram>();
  readonly #limits: SeccompCacheLimits;
  #characters = 0;

  constructor(limits: SeccompCacheLimits = LIMITS) {
    this.#limits = limits;
  }

  /** Profiles held. */
  get size(): number {
    return this.#programs.size;
  }

  /** The program of a profile's JSON text; two texts of one meaning are two entries. */
  text(profileJson: string, pointer = ''): SeccompProgram {
    return this.#get(profileJson, () =>
      compileSeccomp(parseSeccomp(parseExactJson(profileJson), pointer), pointer),
    );
  }

  /** The program of a profile that is parsed already, and stays as it is. */
  profile(profile: OciSeccomp, pointer = ''): SeccompProgram {
    const known = this.#parsed.get(profile);
    if (known !== undefined) return known;
    const program = this.#get(exactJson(profile), () => compileSeccomp(profile, pointer));
    this.#parsed.set(profile, program);
    return program;
  }

  #get(key: string, compile: () => SeccompProgram): SeccompProgram {
    const known = this.#programs.get(key);
    if (known !== undefined) {
      this.#programs.delete(key);
      this.#programs.set(key, known);
      return known;
    }
    // What does not compile is not kept: its message may name another place in another document.
    const program = compile();
    if (key.length > this.#limits.characters) return program;
    this.#programs.set(key, program);
    this.#characters += key.length;
    for (const oldest of this.#programs.keys()) {
      if (this.#programs.size <= this.#limits.entries && this.#characters <= this.#limits.characters) break;
      this.#programs.delete(oldest);
      this.#characters -= oldest.length;
    }
    return program;
  }
}

const shared = new SeccompCache();
/** Parsed profiles are never changed, so that one that comes again need not be made a text again. */
const byProfile = new WeakMap<OciSeccomp, SeccompProgram>();

/**
 * The program of a profile, compiled at most once while the process lives and the profile is in use.
 * @param profile the parsed profile, or its JSON text
 * @param pointer JSON pointer of the profile in its document, for messages
 * @throws what parseSeccomp and compileSeccomp throw; SyntaxError for text that is no JSON
 */
export function cachedSeccomp(profile: OciSeccomp | string, pointer = ''): SeccompProgram {
  if (typeof profile === 'string') return shared.text(profile, pointer);
  const known = byProfile.get(profile);
  if (known !== undefined) return known;
  const program = shared.profile(profile, pointer);
  byProfile.set(profile, program);
  return program;
}
