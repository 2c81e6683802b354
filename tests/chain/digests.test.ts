/** What the contracts hash as well, against viem's ABI encoding and EIP-712; the tree against OpenZeppelin's. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { encodeAbiParameters, hashTypedData, keccak256, parseAbiParameters } from "viem";
import {
  commitDigest,
  commitmentOf,
  revealDigest,
  settlementDigest,
  voteOf,
} from "../../src/chain/ledger/digests.ts";
import type { Hex, LedgerPlace } from "../../src/chain/ledger/ledger-types.ts";
import { balanceTree, leafHash, MerkleTree, verifyProof } from "../../src/chain/ledger/merkle.ts";
import { hex, word } from "../../src/chain/ledger/words.ts";
import type { Hash } from "../../src/core/types.ts";

const hexArb = (bytes: number) =>
  fc
    .uint8Array({ minLength: bytes, maxLength: bytes })
    .map((b): Hex => `0x${Buffer.from(b).toString("hex")}`);
const addressArb = hexArb(20);
const wordArb = hexArb(32);
const hashArb = wordArb.map((text) => text.slice(2) as Hash);
const epochArb = fc.integer({ min: 0, max: 2 ** 40 });
const numberArb = fc.bigInt(0n, 2n ** 128n - 1n);
const placeArb = fc.record<LedgerPlace>({
  chain_id: fc.integer({ min: 1, max: 2 ** 40 }),
  epochs: addressArb,
  disputes: addressArb,
  genesis_s: fc.constant(0),
  epoch_seconds: fc.constant(600),
});
const openingArb = fc.record({ result_hash: hashArb, score: numberArb, nonce: wordArb });
const asWord = (hash: Hash): Hex => `0x${hash}`;

test("commitments and votes are those of abi.encode", () => {
  const types = "uint256, address, uint64, address, bytes32, uint256, bytes32";
  const same = fc.property(
    placeArb,
    epochArb,
    addressArb,
    openingArb,
    (place, epoch, sender, o) => {
      const encoded = encodeAbiParameters(parseAbiParameters(types), [
        BigInt(place.chain_id),
        place.epochs,
        BigInt(epoch),
        sender,
        asWord(o.result_hash),
        o.score,
        o.nonce,
      ]);
      expect(commitmentOf(place, epoch, sender, o)).toBe(keccak256(encoded));
    },
  );
  fc.assert(same);
  const vote = fc.property(
    placeArb,
    epochArb,
    addressArb,
    fc.boolean(),
    wordArb,
    (p, id, n, g, s) => {
      const shape = parseAbiParameters("uint256, address, uint256, address, bool, bytes32");
      const values = [BigInt(p.chain_id), p.disputes, BigInt(id), n, g, s] as const;
      const expected = keccak256(encodeAbiParameters(shape, values));
      expect(voteOf(p, { id, notary: n, guilty: g, salt: s })).toBe(expected);
    },
  );
  fc.assert(vote);
});

const domainOf = (name: string, chain_id: number, verifyingContract: Hex) => ({
  ...{ name, version: "1", chainId: chain_id, verifyingContract },
});

test("settlement digests are those of EIP-712", () => {
  const types = {
    Settlement: [
      { name: "epoch", type: "uint64" },
      { name: "parent", type: "bytes32" },
      { name: "root", type: "bytes32" },
      { name: "total", type: "uint256" },
      { name: "count", type: "uint256" },
      { name: "dataHash", type: "bytes32" },
    ],
  } as const;
  const same = fc.property(
    placeArb,
    ...([epochArb, wordArb, wordArb, numberArb, fc.nat(), hashArb] as const),
    (place, epoch, parent, root, total, count, data_hash) => {
      const expected = hashTypedData({
        domain: domainOf("Magnet Epochs", place.chain_id, place.epochs),
        ...{ types, primaryType: "Settlement" },
        message: {
          ...{ parent, root, total, epoch: BigInt(epoch), count: BigInt(count) },
          dataHash: asWord(data_hash),
        },
      });
      expect(hex(settlementDigest(place, { epoch, parent, root, total, count, data_hash }))).toBe(
        expected,
      );
    },
  );
  fc.assert(same, { numRuns: 50 });
});

test("gossiped commitments and openings are signed as EIP-712 says", () => {
  const bytes32 = <const Name extends string>(name: Name) => ({ name, type: "bytes32" }) as const;
  const epochField = { name: "epoch", type: "uint64" } as const;
  const score = { name: "score", type: "uint256" } as const;
  const types = {
    Commit: [epochField, bytes32("commitment")],
    Reveal: [epochField, bytes32("resultHash"), score, bytes32("nonce")],
  } as const;
  const same = fc.property(placeArb, epochArb, wordArb, openingArb, (place, e, commitment, o) => {
    const domain = domainOf("Magnet Disputes", place.chain_id, place.disputes);
    const epoch = BigInt(e);
    const commit = { epoch, commitment };
    expect(hex(commitDigest(place, e, commitment))).toBe(
      hashTypedData({ domain, types, primaryType: "Commit", message: commit }),
    );
    const reveal = { epoch, resultHash: asWord(o.result_hash), score: o.score, nonce: o.nonce };
    expect(hex(revealDigest(place, e, o))).toBe(
      hashTypedData({ domain, types, primaryType: "Reveal", message: reveal }),
    );
  });
  fc.assert(same, { numRuns: 50 });
});

test("a commitment is bound to chain, contract, epoch, sender and every part of its opening", () => {
  const same = fc.property(
    placeArb,
    epochArb,
    addressArb,
    openingArb,
    (place, epoch, sender, o) => {
      const other = (text: Hex): Hex => `0x${text.at(2) === "0" ? "1" : "0"}${text.slice(3)}`;
      const all = [
        commitmentOf(place, epoch, sender, o),
        commitmentOf({ ...place, chain_id: place.chain_id + 1 }, epoch, sender, o),
        commitmentOf({ ...place, epochs: other(place.epochs) }, epoch, sender, o),
        commitmentOf(place, epoch + 1, sender, o),
        commitmentOf(place, epoch, other(sender), o),
        commitmentOf(place, epoch, sender, { ...o, score: o.score + 1n }),
        commitmentOf(place, epoch, sender, { ...o, nonce: other(o.nonce) }),
      ];
      expect(new Set(all).size).toBe(all.length);
    },
  );
  fc.assert(same, { numRuns: 50 });
});

test("the tree is OpenZeppelin's: root of the example in the README of @openzeppelin/merkle-tree", () => {
  const tree = balanceTree([
    { address: `0x${"1".repeat(40)}`, cumulative: 5_000_000_000_000_000_000n },
    { address: `0x${"2".repeat(40)}`, cumulative: 2_500_000_000_000_000_000n },
  ]);
  expect(tree.root).toBe("0xd4dee0beab2d53f2cc83e567171bd2820e49898130a22622b10ead383e90bd77");
});

const balancesArb = fc.uniqueArray(
  fc.record({ address: addressArb, cumulative: fc.bigInt(1n, 2n ** 128n - 1n) }),
  { minLength: 1, maxLength: 70, selector: (b) => b.address },
);

test("every leaf is proven, no other amount is, and no inner node passes for a leaf", () => {
  const holds = fc.property(balancesArb, (balances) => {
    const tree = balanceTree(balances);
    for (const { address, cumulative } of balances) {
      const proof = tree.proof(address);
      expect(verifyProof(tree.root, leafHash(address, cumulative), proof)).toBe(true);
      expect(verifyProof(tree.root, leafHash(address, cumulative + 1n), proof)).toBe(false);
      if (proof.length === 0) continue;
      // Second preimage: the two children of the root as if they were account and amount.
      const inner = leafHash(proof.at(-1)!, cumulative);
      expect(verifyProof(tree.root, inner, [])).toBe(false);
    }
    expect(balanceTree([...balances].reverse()).root).toBe(tree.root);
  });
  fc.assert(holds, { numRuns: 60 });
});

test("a name without a leaf is refused with a hint, two leaves of one name are a bug", () => {
  const tree = balanceTree([{ address: `0x${"1".repeat(40)}`, cumulative: 1n }]);
  expect(() => tree.proof(`0x${"2".repeat(40)}`)).toThrow("has no leaf");
  const leaf = [`0x${"1".repeat(40)}`, 1n] as const;
  expect(() => new MerkleTree([leaf, leaf])).toThrow("invariant broken");
  expect(() => word(2n ** 256n)).toThrow("invariant broken");
});
