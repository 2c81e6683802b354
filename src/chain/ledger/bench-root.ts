/** How long one core takes from verified reports to the root, for a network of any size. */
import { sha256Hex } from "../../core/bytes.ts";
import { seededRandom } from "../../core/random.ts";
import { TIERS } from "../../core/tiers.ts";
import type { Hash } from "../../core/types.ts";
import { type Contribution, computeRecord } from "./compute-record.ts";
import type { Address, LedgerPlace } from "./ledger-types.ts";
import { EMPTY_FACTS, makeReport, reportHash } from "./report.ts";

const WEIGHTS = [1000, 5000, 2000, 1000, 1000];
const PLACE: LedgerPlace = {
  ...{ chain_id: 31_337, epochs: `0x${"e".repeat(40)}`, disputes: `0x${"d".repeat(40)}` },
  ...{ genesis_s: 0, epoch_seconds: 600 },
};

function contribution(index: number, inner_steps: number): Contribution {
  const address: Address = `0x${sha256Hex(`bench ${index}`).slice(0, 40)}`;
  const node_id = sha256Hex(address) as Hash;
  const node = { address, node_id, tier: TIERS[index % TIERS.length]!, bond: 30n };
  const round = { round: index % 4, inner_steps, parameters: 5_000_000, merge_hash: node_id };
  const facts = { ...EMPTY_FACTS, training_compute: [round] };
  const at = { chain_id: PLACE.chain_id, contract: PLACE.epochs };
  const report = makeReport(at, { epoch: 0, node: address }, facts, WEIGHTS);
  const rounds = [{ round: round.round, amount: BigInt(inner_steps) * 5_000_000n }];
  const verified = { rounds, evaluations: [], data_quality: 0n, storage: 0n, serving: 0n };
  return { node, result_hash: reportHash(report), report, verified };
}

/** Seconds of CPU time, one a repeat: scores, rewards, record, its hash, tree and root. */
export function benchRoot(nodes: number, repeat: number): number[] {
  const random = seededRandom(1);
  const list = Array.from({ length: nodes }, (_, i) => contribution(i, 1 + random.below(500)));
  const terms = { epoch: 0, pool: 10n ** 21n, axis_weights: WEIGHTS };
  const tier_rewards = [3000, 1000, 300, 300, 100];
  return Array.from({ length: repeat }, () => {
    const before = process.cpuUsage();
    computeRecord(PLACE, { ...terms, tier_rewards }, null, list);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1e6;
  });
}
