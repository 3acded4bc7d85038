/**
 * Turns verdicts by number into instructions: the whole range of numbers is cut into segments of one verdict, over which a balanced tree
 * of comparisons finds the right one; conditions on arguments stand at the leaves. Some seven comparisons for a profile of 400 names.
 */
import {
  ALU_AND_K,
  type BackwardAssembler,
  JMP_JEQ_K,
  JMP_JGE_K,
  JMP_JGT_K,
  LD_W_ABS,
  type Position,
  SECCOMP_DATA_ARGS,
} from './bpf.js';
import type { Condition, ConditionalVerdict, Leaf } from './rules.js';

/** From `from` up to the next segment's, numbers get `leaf`. */
export interface Segment {
  readonly from: number;
  readonly leaf: Leaf;
}

/** Lays exceptions over a background of segments; both ascending, the background starting at 0. Neighbours that agree become one. */
export function overlay(background: readonly Segment[], exceptions: ReadonlyMap<number, Leaf>): Segment[] {
  const numbers = [...exceptions.keys()].sort((a, b) => a - b);
  const out: Segment[] = [];
  const push = (from: number, leaf: Leaf) => {
    if (out.at(-1)?.leaf !== leaf) out.push({ from, leaf });
  };
  let next = 0;
  background.forEach(({ from, leaf }, index) => {
    const end = background[index + 1]?.from ?? 2 ** 32;
    let cursor = from;
    for (let number = numbers[next]; number !== undefined && number < end; number = numbers[next]) {
      if (number > cursor) push(cursor, leaf);
      push(number, exceptions.get(number) ?? leaf);
      cursor = number + 1;
      next += 1;
    }
    if (cursor < end) push(cursor, leaf);
  });
  return out;
}

/** Makes leaves that say the same the same object, so that they compare and are compiled as one. */
export function internLeaves(leaves: Map<number, Leaf>): Map<number, Leaf> {
  const known = new Map<string, Leaf>();
  for (const [number, leaf] of leaves) {
    if (typeof leaf === 'number') continue;
    const key = JSON.stringify(leaf, (_key, value: unknown) =>
      typeof value === 'bigint' ? `${value}` : value,
    );
    const same = known.get(key);
    if (same === undefined) known.set(key, leaf);
    else leaves.set(number, same);
  }
  return leaves;
}

/** Writes trees and leaves of one program. */
export class TreeWriter {
  readonly #out: BackwardAssembler;
  readonly #leaves = new Map<Leaf, Position>();

  constructor(out: BackwardAssembler) {
    this.#out = out;
  }

  /** The tree over all segments; A holds the number where it begins. */
  tree(segments: readonly Segment[], low = 0, high = segments.length): Position {
    const first = segments[low];
    if (first === undefined) throw new RangeError('a tree needs at least one segment');
    if (high - low === 1) return this.leaf(first.leaf);
    const second = segments[low + 1];
    const third = segments[low + 2];
    // One number between two of the same verdict takes one comparison.
    if (high - low === 3 && second !== undefined && third !== undefined && first.leaf === third.leaf) {
      if (third.from === second.from + 1) {
        const around = this.leaf(first.leaf);
        const inside = this.leaf(second.leaf);
        return this.#out.jump(JMP_JEQ_K, second.from, inside, around);
      }
    }
    const middle = (low + high) >>> 1;
    const right = this.tree(segments, middle, high);
    const left = this.tree(segments, low, middle);
    return this.#out.jump(JMP_JGE_K, segments[middle]?.from ?? 0, right, left);
  }

  /** A verdict, or the conditions that lead to one. */
  leaf(leaf: Leaf): Position {
    if (typeof leaf === 'number') return this.#out.ret(leaf);
    const known = this.#leaves.get(leaf);
    if (known !== undefined) return known;
    let position = this.#out.ret(leaf.fallback);
    for (const attempt of leaf.tries.toReversed()) position = this.#attempt(attempt, position);
    this.#leaves.set(leaf, position);
    return position;
  }

  #attempt(attempt: ConditionalVerdict, otherwise: Position): Position {
    let position = this.#out.ret(attempt.verdict);
    for (const condition of attempt.conditions.toReversed()) {
      position = this.#condition(condition, position, otherwise);
    }
    return position;
  }

  #condition({ index, op, bits, mask, value }: Condition, hit: Position, miss: Position): Position {
    const low = SECCOMP_DATA_ARGS + 8 * index;
    const words = { low: Number(value & 0xffffffffn), high: Number(value >> 32n) };
    const masks = { low: Number(mask & 0xffffffffn), high: Number(mask >> 32n) };
    // Six operators are three comparisons: the others ask the opposite.
    const [yes, no] = op === 'ne' || op === 'lt' || op === 'le' ? [miss, hit] : [hit, miss];
    if (op === 'eq' || op === 'ne') {
      let position = yes;
      if (masks.low !== 0) position = this.#word(low, masks.low, words.low, position, no);
      if (bits === 64 && masks.high !== 0)
        position = this.#word(low + 4, masks.high, words.high, position, no);
      return position;
    }
    // Nothing is below zero.
    if (value === 0n && (op === 'ge' || op === 'lt')) return yes;
    const code = op === 'ge' || op === 'lt' ? JMP_JGE_K : JMP_JGT_K;
    const lower = this.#out.step(LD_W_ABS, low, this.#out.jump(code, words.low, yes, no));
    if (bits === 32) return lower;
    const equal = this.#out.jump(JMP_JEQ_K, words.high, lower, no);
    return this.#out.step(LD_W_ABS, low + 4, this.#out.jump(JMP_JGT_K, words.high, yes, equal));
  }

  /** One half of an equality. */
  #word(offset: number, mask: number, value: number, equal: Position, other: Position): Position {
    let position = this.#out.jump(JMP_JEQ_K, value, equal, other);
    if (mask !== 0xffffffff) position = this.#out.step(ALU_AND_K, mask, position);
    return this.#out.step(LD_W_ABS, offset, position);
  }
}
