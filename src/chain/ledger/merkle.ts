/**
 * The tree of cumulative rewards, as OpenZeppelin's StandardMerkleTree builds it: leaves are hashed
 * twice (so no inner node can pass for a leaf) and sorted, pairs are sorted before they are hashed, and
 * the tree is a complete binary one. Its root goes on the chain; a claim carries a proof.
 */
import { toHex } from "../../core/bytes.ts";
import { invariant, MagnetError } from "../../core/errors.ts";
import type { Address, Hex } from "./ledger-types.ts";
import { encodeWords, hex, keccak, type Word } from "./words.ts";

const HASH_BYTES = 32;

/** keccak256(bytes.concat(keccak256(abi.encode(first, second)))). */
export const leafHash = (first: Word, second: Word): Uint8Array =>
  keccak(keccak(encodeWords(first, second)));

function isLess(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < HASH_BYTES; i++) if (a[i] !== b[i]) return a[i]! < b[i]!;
  return false;
}

function hashPair(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(2 * HASH_BYTES);
  both.set(isLess(b, a) ? b : a);
  both.set(isLess(b, a) ? a : b, HASH_BYTES);
  return keccak(both);
}

/** A tree over leaves of two single-word values; the first names the leaf and occurs once. */
export class MerkleTree {
  /** Node i has the children 2i + 1 and 2i + 2; the leaves are the last ones, in falling order. */
  readonly #nodes: Uint8Array[];
  readonly #places: ReadonlyMap<string, number>;

  constructor(leaves: readonly (readonly [name: Hex, value: Word])[]) {
    invariant(leaves.length > 0, "a tree has a leaf");
    const hashed = leaves.map(([name, value]) => ({ name, hash: leafHash(name, value) }));
    hashed.sort((a, b) => (isLess(a.hash, b.hash) ? -1 : 1));
    const nodes = new Array<Uint8Array>(2 * hashed.length - 1);
    const places = new Map<string, number>();
    for (const [i, { name, hash }] of hashed.entries()) {
      nodes[nodes.length - 1 - i] = hash;
      places.set(name, nodes.length - 1 - i);
    }
    invariant(places.size === leaves.length, "no name occurs twice in a tree");
    for (let i = nodes.length - 1 - hashed.length; i >= 0; i--)
      nodes[i] = hashPair(nodes[2 * i + 1]!, nodes[2 * i + 2]!);
    this.#nodes = nodes;
    this.#places = places;
  }

  get root(): Hex {
    return hex(this.#nodes[0]!);
  }

  /** Siblings from the leaf to the root. Throws NO_SUCH_LEAF. */
  proof(name: Hex): Hex[] {
    let i = this.#places.get(name);
    if (i === undefined)
      throw new MagnetError("NO_SUCH_LEAF", `${name} has no leaf in this tree`, {
        hint: "the account has earned nothing under this root",
      });
    const siblings: Hex[] = [];
    for (; i > 0; i = (i - 1) >> 1) siblings.push(hex(this.#nodes[i % 2 === 0 ? i - 1 : i + 1]!));
    return siblings;
  }
}

/** True if the leaf lies under the root: what the contract checks at a claim. */
export function verifyProof(root: Hex, leaf: Uint8Array, proof: readonly Hex[]): boolean {
  let hash = leaf;
  for (const sibling of proof) hash = hashPair(hash, Buffer.from(sibling.slice(2), "hex"));
  return `0x${toHex(hash)}` === root;
}

/** The tree that claims are made against. Accounts without a balance have no leaf. */
export const balanceTree = (
  balances: readonly { address: Address; cumulative: bigint }[],
): MerkleTree =>
  new MerkleTree(balances.map(({ address, cumulative }) => [address, cumulative] as const));

/** The tree over gossiped commitments whose root the proposer puts on the chain. */
export const commitTree = (commits: readonly { node: Address; commitment: Hex }[]): MerkleTree =>
  new MerkleTree(commits.map((entry) => [entry.node, entry.commitment] as const));
