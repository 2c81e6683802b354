/**
 * Merkle Patricia trie, as Ethereum hashes its state, transactions and receipts. Nodes are loaded
 * when a path needs them and hashed once, when the trie is committed; so a block of a thousand
 * changes hashes every touched node a single time. Keys must be free of prefixes of each other
 * (32-byte hashes, or RLP of indices), so that a branch never holds a value.
 */
import { RLP } from "@ethereumjs/rlp";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { invariant } from "../../core/errors.ts";

/** Root hash of a trie that holds nothing: keccak of RLP's empty string. */
export const EMPTY_ROOT: Uint8Array = keccak_256(RLP.encode(new Uint8Array(0)));

/** Where encoded nodes lie, by their keccak hash. */
export interface NodeReader {
  /** Undefined where the node is not kept: the store is damaged, or the root was never written. */
  get(hash: Uint8Array): Uint8Array | undefined;
}

type Encoded = Uint8Array | Encoded[];
interface Leaf {
  kind: "leaf";
  path: Uint8Array;
  value: Uint8Array;
  encoded?: Encoded | undefined;
}
interface Extension {
  kind: "extension";
  path: Uint8Array;
  child: Node;
  encoded?: Encoded | undefined;
}
interface Branch {
  kind: "branch";
  children: (Node | undefined)[];
  encoded?: Encoded | undefined;
}
/** A node that has not been loaded. */
interface Stored {
  kind: "stored";
  hash: Uint8Array;
}
type Node = Leaf | Extension | Branch | Stored;

function nibblesOf(key: Uint8Array): Uint8Array {
  const nibbles = new Uint8Array(key.length * 2);
  for (let i = 0; i < key.length; i++) {
    nibbles[2 * i] = key[i]! >> 4;
    nibbles[2 * i + 1] = key[i]! & 15;
  }
  return nibbles;
}

/** Hex-prefix encoding: the first nibble says leaf or extension, and whether the length is odd. */
function packPath(path: Uint8Array, leaf: boolean): Uint8Array {
  const odd = path.length % 2;
  const packed = new Uint8Array((path.length >> 1) + 1);
  packed[0] = ((leaf ? 2 : 0) + odd) << 4;
  if (odd) packed[0]! |= path[0]!;
  for (let i = odd; i < path.length; i += 2)
    packed[(i + odd) / 2 + (odd ? 0 : 1)] = (path[i]! << 4) | path[i + 1]!;
  return packed;
}

function unpackPath(packed: Uint8Array): { path: Uint8Array; leaf: boolean } {
  const nibbles = nibblesOf(packed);
  const flags = nibbles[0]!;
  return { path: nibbles.slice(flags & 1 ? 1 : 2), leaf: (flags & 2) !== 0 };
}

function commonLength(a: Uint8Array, b: Uint8Array): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a[length] === b[length]) length++;
  return length;
}

const join = (...parts: Uint8Array[]) => Uint8Array.from(Buffer.concat(parts));

/** A child's place in its parent: a hash, the node itself where it is short, or nothing. */
function fromReference(item: Encoded): Node | undefined {
  if (!(item instanceof Uint8Array)) return fromItems(item);
  return item.length === 0 ? undefined : { kind: "stored", hash: item };
}

function fromItems(items: Encoded[]): Node {
  if (items.length === 17) {
    return { kind: "branch", children: items.slice(0, 16).map(fromReference), encoded: items };
  }
  const { path, leaf } = unpackPath(items[0] as Uint8Array);
  if (leaf) return { kind: "leaf", path, value: items[1] as Uint8Array, encoded: items };
  const child = fromReference(items[1]!);
  invariant(child !== undefined, "an extension has a child");
  return { kind: "extension", path, child, encoded: items };
}

const extend = (path: Uint8Array, child: Node): Node => {
  if (path.length === 0) return child;
  if (child.kind === "leaf")
    return { kind: "leaf", path: join(path, child.path), value: child.value };
  if (child.kind === "extension")
    return { kind: "extension", path: join(path, child.path), child: child.child };
  return { kind: "extension", path, child };
};

export class Trie {
  #root: Node | undefined;
  readonly #nodes: NodeReader;

  /** `root` must be a hash that an earlier commit returned into the same store. */
  constructor(nodes: NodeReader, root: Uint8Array = EMPTY_ROOT) {
    this.#nodes = nodes;
    this.#root =
      Buffer.compare(root, EMPTY_ROOT) === 0 ? undefined : { kind: "stored", hash: root };
  }

  #load(node: Node): Exclude<Node, Stored> {
    if (node.kind !== "stored") return node;
    const bytes = this.#nodes.get(node.hash);
    invariant(bytes !== undefined, "a node of the state is missing from the store");
    return fromItems(RLP.decode(bytes) as Encoded[]) as Exclude<Node, Stored>;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    let path = nibblesOf(key);
    let node = this.#root;
    while (node !== undefined) {
      const here = this.#load(node);
      if (here.kind === "branch") {
        node = here.children[path[0]!];
        path = path.subarray(1);
        continue;
      }
      const shared = commonLength(here.path, path);
      if (shared < here.path.length) return undefined;
      if (here.kind === "leaf") return here.value;
      node = here.child;
      path = path.subarray(shared);
    }
    return undefined;
  }

  /**
   * Encoded nodes from the root to the key, as EIP-1186 proves a value or its absence. Only of a
   * trie without changes; a node shorter than a hash lies inside its parent and is not repeated.
   */
  prove(key: Uint8Array): Uint8Array[] {
    invariant(this.#root === undefined || this.#root.kind === "stored", "the trie is committed");
    const proof: Uint8Array[] = [];
    let path = nibblesOf(key);
    let node = this.#root;
    while (node !== undefined) {
      const here = this.#load(node);
      if (node.kind === "stored") proof.push(RLP.encode(here.encoded as never));
      if (here.kind === "branch") {
        node = here.children[path[0]!];
        path = path.subarray(1);
        continue;
      }
      const shared = commonLength(here.path, path);
      if (shared < here.path.length || here.kind === "leaf") return proof;
      node = here.child;
      path = path.subarray(shared);
    }
    return proof;
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#root = this.#insert(this.#root, nibblesOf(key), value);
  }

  delete(key: Uint8Array): void {
    this.#root = this.#remove(this.#root, nibblesOf(key));
  }

  #insert(node: Node | undefined, path: Uint8Array, value: Uint8Array): Node {
    if (node === undefined) return { kind: "leaf", path, value };
    const here = this.#load(node);
    if (here.kind === "branch") {
      const children = here.children.slice();
      const slot = path[0]!;
      children[slot] = this.#insert(children[slot], path.subarray(1), value);
      return { kind: "branch", children };
    }
    const shared = commonLength(here.path, path);
    if (shared === here.path.length) {
      if (here.kind === "leaf") return { kind: "leaf", path, value };
      const child = this.#insert(here.child, path.subarray(shared), value);
      return { kind: "extension", path: here.path, child };
    }
    const children: (Node | undefined)[] = new Array(16).fill(undefined);
    const rest = here.path.subarray(shared + 1);
    children[here.path[shared]!] =
      here.kind === "leaf"
        ? { kind: "leaf", path: rest, value: here.value }
        : rest.length === 0
          ? here.child
          : { kind: "extension", path: rest, child: here.child };
    children[path[shared]!] = { kind: "leaf", path: path.subarray(shared + 1), value };
    return extend(path.subarray(0, shared), { kind: "branch", children });
  }

  #remove(node: Node | undefined, path: Uint8Array): Node | undefined {
    if (node === undefined) return undefined;
    const here = this.#load(node);
    if (here.kind === "branch") {
      const slot = path[0]!;
      const before = here.children[slot];
      const after = this.#remove(before, path.subarray(1));
      if (after === before) return node;
      const children = here.children.slice();
      children[slot] = after;
      return this.#collapse(children);
    }
    const shared = commonLength(here.path, path);
    if (shared < here.path.length) return node;
    if (here.kind === "leaf") return undefined;
    const child = this.#remove(here.child, path.subarray(shared));
    if (child === here.child) return node;
    invariant(child !== undefined, "a branch keeps at least one of its children");
    return extend(here.path, this.#load(child));
  }

  /** A branch with one child left becomes a part of that child's path. */
  #collapse(children: (Node | undefined)[]): Node | undefined {
    const left = children.flatMap((child, slot) => (child === undefined ? [] : [slot]));
    if (left.length > 1) return { kind: "branch", children };
    if (left.length === 0) return undefined;
    const slot = left[0]!;
    return extend(Uint8Array.of(slot), this.#load(children[slot]!));
  }

  /** Hashes what changed and hands every new node to `write`. Returns the root. */
  commit(write?: (hash: Uint8Array, bytes: Uint8Array) => void): Uint8Array {
    if (this.#root === undefined) return EMPTY_ROOT;
    if (this.#root.kind === "stored") return this.#root.hash;
    const bytes = RLP.encode(encode(this.#root, write) as never);
    const hash = keccak_256(bytes);
    write?.(hash, bytes);
    // With a writer the nodes can be had again: the next change loads what it needs.
    if (write !== undefined) this.#root = { kind: "stored", hash };
    return hash;
  }
}

type Writer = ((hash: Uint8Array, bytes: Uint8Array) => void) | undefined;

function reference(node: Node, write: Writer): Encoded {
  if (node.kind === "stored") return node.hash;
  const known = node.encoded !== undefined;
  const encoded = encode(node, write);
  const bytes = RLP.encode(encoded as never);
  if (bytes.length < 32) return encoded;
  const hash = keccak_256(bytes);
  if (!known) write?.(hash, bytes);
  return hash;
}

function encode(node: Exclude<Node, Stored>, write: Writer): Encoded {
  if (node.encoded !== undefined) return node.encoded;
  if (node.kind === "leaf") {
    node.encoded = [packPath(node.path, true), node.value];
  } else if (node.kind === "extension") {
    node.encoded = [packPath(node.path, false), reference(node.child, write)];
  } else {
    const nothing = new Uint8Array(0);
    const children = node.children.map((child) =>
      child === undefined ? nothing : reference(child, write),
    );
    node.encoded = [...children, nothing];
  }
  return node.encoded;
}

const NO_NODES: NodeReader = { get: () => undefined };

/** Root over a list, each item under the RLP of its index: transactions, receipts, withdrawals. */
export function listRoot(items: readonly Uint8Array[]): Uint8Array {
  const trie = new Trie(NO_NODES);
  for (const [i, item] of items.entries()) trie.put(RLP.encode(i), item);
  return trie.commit();
}
