/** Our trie, headers and receipts against the EVM library's, which is another program. */
import { describe, expect, test } from "bun:test";
import { createBlockHeaderFromRLP } from "@ethereumjs/block";
import { Common, Hardfork, Mainnet } from "@ethereumjs/common";
import { createMPT, createMPTFromProof } from "@ethereumjs/mpt";
import { RLP } from "@ethereumjs/rlp";
import { keccak_256 } from "@noble/hashes/sha3.js";
import {
  decodeHeader,
  encodeHeader,
  type Header,
  headerHash,
} from "../../src/chain/embedded/header.ts";
import { toHex } from "../../src/chain/embedded/hex.ts";
import { EMPTY_ROOT, listRoot, Trie } from "../../src/chain/embedded/trie.ts";
import { seededRandom } from "../../src/core/random.ts";

class Nodes {
  readonly kept = new Map<string, Uint8Array>();
  get(hash: Uint8Array) {
    return this.kept.get(toHex(hash));
  }
  readonly put = (hash: Uint8Array, bytes: Uint8Array) => void this.kept.set(toHex(hash), bytes);
}

describe("the trie", () => {
  test("has the library's root after every batch of random puts and deletions", async () => {
    const seed = Date.now() % 1_000_000;
    const random = seededRandom(seed);
    const nodes = new Nodes();
    const other = await createMPT({ useKeyHashing: true });
    const values = new Map<number, Uint8Array>();
    let root = EMPTY_ROOT;
    for (let round = 0; round < 40; round++) {
      const trie = new Trie(nodes, root);
      for (let i = 0; i < 25; i++) {
        const n = random.below(120);
        const key = keccak_256(Uint8Array.of(n));
        if (random.below(3) === 0) {
          trie.delete(key);
          values.delete(n);
          await other.del(Uint8Array.of(n));
        } else {
          const value = random.bytes(1 + random.below(40));
          trie.put(key, value);
          values.set(n, value);
          await other.put(Uint8Array.of(n), value);
        }
      }
      root = trie.commit(nodes.put);
      if (toHex(root) !== toHex(other.root())) throw new Error(`seed ${seed}, round ${round}`);
      for (let n = 0; n < 120; n++)
        expect(trie.get(keccak_256(Uint8Array.of(n)))).toEqual(values.get(n));
    }
    for (const n of values.keys()) new Trie(nodes, root).get(keccak_256(Uint8Array.of(n)));
    const empty = new Trie(nodes, root);
    for (const n of values.keys()) empty.delete(keccak_256(Uint8Array.of(n)));
    expect(empty.commit(nodes.put)).toEqual(EMPTY_ROOT);
  });

  test("short values lie inside their parents, and its proofs convince the library", async () => {
    const nodes = new Nodes();
    const trie = new Trie(nodes);
    const keys = Array.from({ length: 50 }, (_, i) => keccak_256(Uint8Array.of(i)));
    for (const key of keys) trie.put(key, Uint8Array.of(key[0]!));
    const root = trie.commit(nodes.put);
    for (const key of [...keys, keccak_256(Uint8Array.of(99))]) {
      const proven = await createMPTFromProof(trie.prove(key), { root });
      expect((await proven.get(key)) ?? undefined).toEqual(trie.get(key));
    }
  });

  test("the root of a list is the library's, for every length that changes the keys' form", async () => {
    for (const length of [0, 1, 2, 17, 127, 128, 129, 300]) {
      const items = Array.from({ length }, (_, i) => keccak_256(RLP.encode(i)));
      const other = await createMPT();
      for (const [i, item] of items.entries()) await other.put(RLP.encode(i), item);
      expect(listRoot(items)).toEqual(other.root());
    }
  });
});

test("a header's encoding and hash are the library's, and it is read back", () => {
  const random = seededRandom(5);
  const common = new Common({ chain: Mainnet, hardfork: Hardfork.Cancun });
  for (let i = 0; i < 20; i++) {
    const header: Header = {
      ...{ parent_hash: random.bytes(32), state_root: random.bytes(32) },
      ...{ transactions_root: random.bytes(32), receipts_root: random.bytes(32) },
      ...{ logs_bloom: random.bytes(256), prevrandao: random.bytes(32) },
      ...{ number: BigInt(100 + random.below(2 ** 30)), timestamp: BigInt(random.below(2 ** 40)) },
      ...{ gas_limit: 30_000_000n, gas_used: BigInt(random.below(30_000_000)) },
      base_fee: BigInt(i === 0 ? 0 : random.below(2 ** 40)),
    };
    const bytes = encodeHeader(header);
    const other = createBlockHeaderFromRLP(bytes, { common, skipConsensusFormatValidation: true });
    expect(headerHash(header)).toEqual(other.hash());
    expect(other.number).toBe(header.number);
    expect(other.baseFeePerGas).toBe(header.base_fee);
    expect(decodeHeader(bytes)).toEqual(header);
  }
});
