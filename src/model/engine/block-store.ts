/**
 * Blocks of the KV pool: who holds which, and which of them hold a known beginning (the prefix
 * cache). A full block is known by its parent block and its 16 tokens; as a parent cannot go before
 * its children, that pair stands for the whole chain from position 0, and tokens are compared
 * themselves, not hashes of them. Invariants: a block is free, held, or cached and held by nobody;
 * whoever holds a block holds its parent; so the least recently used cached block has no children.
 */
import { invariant } from "../../core/errors.ts";

/** Positions of a block: MG_KV_BLOCK of magnet_infer.h. */
export const BLOCK_TOKENS = 16;
/** Parent of the block that holds positions 0..15. */
export const ROOT = -1;

/** Blocks that `tokens` positions take. */
export const blocksFor = (tokens: number): number => Math.ceil(tokens / BLOCK_TOKENS);

/** The tokens of a chain, and in whose company they are known. */
export interface Chain {
  tokens: Int32Array;
  /** Chains of different scopes never share a block: nobody learns from it what others asked. */
  scope: string;
}

const key = (parent: number, { tokens, scope }: Chain, from: number): string =>
  `${parent === ROOT ? `root ${scope}` : parent}:${tokens.subarray(from, from + BLOCK_TOKENS).join()}`;

export class BlockStore {
  readonly total: number;
  readonly #caching: boolean;
  readonly #free: number[];
  /** Sequences that hold the block. */
  readonly #holders: Uint32Array;
  /** Key under which the block is known; undefined: its content is nobody else's business. */
  readonly #keys: (string | undefined)[];
  readonly #known = new Map<string, number>();
  /**
   * Cached blocks that nobody holds, the least recently used first: a Set keeps the order in which
   * members were added.
   */
  readonly #idle = new Set<number>();

  constructor(total: number, options: { caching: boolean }) {
    invariant(Number.isInteger(total) && total > 0, `a pool of ${total} blocks`);
    this.total = total;
    this.#caching = options.caching;
    this.#free = Array.from({ length: total }, (_, i) => total - 1 - i);
    this.#holders = new Uint32Array(total);
    this.#keys = new Array(total).fill(undefined);
  }

  /** Held by sequences; a shared block counts once. */
  get in_use(): number {
    return this.total - this.available;
  }
  /** Held by the cache alone. */
  get cached(): number {
    return this.#idle.size;
  }
  /** What `take` can give. */
  get available(): number {
    return this.#free.length + this.#idle.size;
  }
  holders(block: number): number {
    return this.#holders[block]!;
  }

  /** A block for its taker alone, of unknown content. The oldest cached one is forgotten for it. */
  take(): number {
    let block = this.#free.pop();
    if (block === undefined) {
      const oldest = this.#idle.values().next();
      invariant(!oldest.done, "a block is taken from a full pool");
      block = oldest.value;
      this.#idle.delete(block);
      this.#forget(block);
    }
    invariant(this.#holders[block] === 0, `block ${block} is given out twice`);
    this.#holders[block] = 1;
    return block;
  }

  #forget(block: number): void {
    this.#known.delete(this.#keys[block]!);
    this.#keys[block] = undefined;
  }

  /** Cached blocks that hold the beginning of a chain, at most `most`; nothing is held yet. */
  find(chain: Chain, most: number): number[] {
    const found: number[] = [];
    for (let parent = ROOT; found.length < most; ) {
      const block = this.#known.get(key(parent, chain, found.length * BLOCK_TOKENS));
      if (block === undefined) break;
      found.push(block);
      parent = block;
    }
    return found;
  }

  /** One more holder of a block that `find` has given. */
  hold(block: number): void {
    invariant(this.#keys[block] !== undefined, `block ${block} is shared before it is known`);
    if (this.#holders[block]!++ === 0) this.#idle.delete(block);
  }

  /**
   * Makes a full block of one holder known: the chain from `from` on, after `parent`. Where an equal
   * one is known already (two requests computed it at the same time; its bits are the same), the
   * holder gets that one instead. Returns the block to go on with.
   */
  share(block: number, parent: number, chain: Chain, from: number): number {
    if (!this.#caching) return block;
    invariant(this.#keys[block] === undefined, `block ${block} is made known twice`);
    invariant(parent === ROOT || this.#keys[parent] !== undefined, `parent ${parent} is unknown`);
    const name = key(parent, chain, from);
    const known = this.#known.get(name);
    if (known !== undefined) {
      this.hold(known);
      this.#drop(block);
      return known;
    }
    this.#known.set(name, block);
    this.#keys[block] = name;
    return block;
  }

  /** Ends the holding of a sequence's blocks, given in order of position. */
  release(blocks: readonly number[]): void {
    // Children first: so they are older than their parents, and forgotten before them.
    for (let i = blocks.length - 1; i >= 0; i--) this.#drop(blocks[i]!);
  }

  #drop(block: number): void {
    invariant(this.#holders[block]! > 0, `block ${block} is released by nobody`);
    if (--this.#holders[block]! > 0) return;
    if (this.#keys[block] === undefined) this.#free.push(block);
    else this.#idle.add(block);
  }

  /** Forgets what is cached and held by nobody. */
  clear(): void {
    for (const block of this.#idle) {
      this.#forget(block);
      this.#free.push(block);
    }
    this.#idle.clear();
  }
}
