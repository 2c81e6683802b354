/** How likely an object is lost when a part of the nodes dies at once (paper 11). */
import { invariant } from "../core/errors.ts";
import { checkCode, type ErasureCode } from "../native/codec.ts";

function binomial(n: number, k: number): number {
  if (k < 0 || k > n) return 0;
  let value = 1;
  for (let i = 1; i <= Math.min(k, n - k); i++) value = (value * (n - i + 1)) / i;
  return value;
}

/**
 * Probability that more than M shards are lost when `dead` of `nodes` nodes, chosen at random, die
 * before any repair. The K + M shards lie as evenly as they can: `total mod nodes` nodes hold one
 * more.
 */
export function lossProbability(code: ErasureCode, nodes: number, dead: number): number {
  checkCode(code);
  invariant(nodes >= 1 && dead >= 0 && dead <= nodes, "between 0 and all nodes can die");
  const total = code.data_shards + code.parity_shards;
  const least = Math.floor(total / nodes);
  const heavy = total % nodes; // nodes that hold least + 1
  let probability = 0;
  for (let hit = Math.max(0, dead - (nodes - heavy)); hit <= Math.min(heavy, dead); hit++) {
    if (dead * least + hit <= code.parity_shards) continue;
    probability +=
      (binomial(heavy, hit) * binomial(nodes - heavy, dead - hit)) / binomial(nodes, dead);
  }
  return probability;
}

export interface DurabilityReport {
  nodes: number;
  /** Loss of one object when that part of the nodes (rounded up) dies at once. */
  loss_probability: { dead_percent: number; dead_nodes: number; probability: number }[];
}

/** The figures that `magnet storage status` shows: 10, 20 and 30% of the nodes. */
export function durabilityReport(code: ErasureCode, nodes: number): DurabilityReport {
  const loss_probability = [10, 20, 30].map((dead_percent) => {
    const dead_nodes = Math.ceil((nodes * dead_percent) / 100);
    return { dead_percent, dead_nodes, probability: lossProbability(code, nodes, dead_nodes) };
  });
  return { nodes, loss_probability };
}
