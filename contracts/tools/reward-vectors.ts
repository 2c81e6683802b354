/**
 * Writes contracts/test/vectors/rewards.json: three epochs of rewards (paper Eq. 5), their cumulative
 * sums and the tree of the last one, computed here from the formulas alone, on purpose without a line of
 * src/chain. The Solidity tests compute the rewards once more and claim every leaf; the agents' own
 * implementation is held to the same file.
 *
 *   bun contracts/tools/reward-vectors.ts
 */
import fs from "node:fs";
import path from "node:path";
import { keccak_256 } from "@noble/hashes/sha3.js";

const POOL = 1000n * 10n ** 18n;
const EPOCHS = 3;
const NODES = 37;
/** T_i in thousandths. */
const TIERS = [3000n, 1000n, 300n, 301n, 100n];

const hex = (bytes: Uint8Array) => `0x${Buffer.from(bytes).toString("hex")}`;
const bytes = (text: string) => Uint8Array.from(Buffer.from(text.slice(2), "hex"));
const word = (value: bigint) => value.toString(16).padStart(64, "0");
/** A number below `most` that depends on the name only. */
const draw = (name: string, most: bigint) =>
  BigInt(hex(keccak_256(new TextEncoder().encode(name)))) % most;

/** Eq. 5 in whole units: floors first, then one unit each by largest remainder, ties by address. */
function share(nodes: { address: string; weight: bigint }[]): bigint[] {
  const sum = nodes.reduce((total, { weight }) => total + weight, 0n);
  const floors = nodes.map(({ weight }) => (POOL * weight) / sum);
  let left = POOL - floors.reduce((total, floor) => total + floor, 0n);
  const order = nodes
    .map(({ address, weight }, index) => ({ index, rest: (POOL * weight) % sum, address }))
    .sort((a, b) =>
      a.rest === b.rest ? (a.address < b.address ? -1 : 1) : a.rest > b.rest ? -1 : 1,
    );
  for (const { index } of order) {
    if (left === 0n) break;
    floors[index]! += 1n;
    left -= 1n;
  }
  return floors;
}

const pair = (a: string, b: string) =>
  hex(
    keccak_256(
      bytes(
        `0x${[a, b]
          .sort()
          .map((t) => t.slice(2))
          .join("")}`,
      ),
    ),
  );
const leafOf = (address: string, sum: bigint) =>
  hex(keccak_256(keccak_256(bytes(`0x${word(BigInt(address))}${word(sum)}`))));

/** Level by level over the heap of 2n - 1 words, leaves by rising hash from its end. */
function grow(leaves: string[]): string[] {
  const sorted = [...leaves].sort();
  const heap: string[] = [...new Array(sorted.length - 1).fill(""), ...sorted.reverse()];
  for (let i = sorted.length - 2; i >= 0; i--) heap[i] = pair(heap[2 * i + 1]!, heap[2 * i + 2]!);
  return heap;
}

function proofOf(heap: string[], leaf: string): string[] {
  const path_: string[] = [];
  for (let i = heap.indexOf(leaf); i > 0; i = (i - 1) >> 1)
    path_.push(heap[i % 2 === 0 ? i - 1 : i + 1]!);
  return path_;
}

/** The text of the file. */
export function rewardVectors(): string {
  const addresses = Array.from({ length: NODES }, (_, i) =>
    hex(keccak_256(new TextEncoder().encode(`node ${i}`)).subarray(12)),
  ).sort();
  const sums = new Map(addresses.map((address) => [address, 0n]));
  // Who has earned nothing has no leaf.
  const leaves = () =>
    [...sums].filter(([, sum]) => sum > 0n).map(([address, sum]) => leafOf(address, sum));
  const epochs = [];
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const tiers = addresses.map((_, i) => TIERS[Number(draw(`tier ${i}`, 5n))]!);
    // Equal scores among them (ties), and nodes without any.
    const scores = addresses.map((_, i) =>
      i % 5 === 0 ? 7_777n : i % 7 === 0 ? 0n : draw(`score ${epoch} ${i}`, 10n ** 9n),
    );
    const rewards = share(
      addresses.map((address, i) => ({ address, weight: tiers[i]! * scores[i]! })),
    );
    addresses.forEach((address, i) => void sums.set(address, sums.get(address)! + rewards[i]!));
    epochs.push({
      tiers,
      scores,
      rewards,
      cumulative: [...sums.values()],
      root: grow(leaves())[0],
    });
  }
  const heap = grow(leaves());
  const proofs = addresses.map((address) => {
    const sum = sums.get(address)!;
    return sum === 0n ? [] : proofOf(heap, leafOf(address, sum));
  });
  const text = JSON.stringify(
    { pool: POOL, addresses, epochs, proofs },
    (_, value) => (typeof value === "bigint" ? value.toString() : value),
    1,
  );
  return `${text}\n`;
}

if (import.meta.main)
  fs.writeFileSync(path.join(import.meta.dir, "../test/vectors/rewards.json"), rewardVectors());
