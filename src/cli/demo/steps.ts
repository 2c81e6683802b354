/**
 * The demo's steps after the network stands: rounds, the kill and the repair, and the checks on
 * them.
 */
import path from "node:path";
import { MagnetError } from "../../core/errors.ts";
import type { Output } from "../frame/output.ts";
import type { Cluster, Member, ObjectSeen, RoundSeen } from "./cluster.ts";
import { accountOf, type DemoLedger } from "./ledger.ts";

const ROUND_DEADLINE_MS = 90_000;
const REPAIR_DEADLINE_MS = 60_000;
/** A few epochs of the demo's ledger. */
const KILL_DEADLINE_MS = 120_000;

const failed = (message: string) =>
  new MagnetError("DEMO_CHECK_FAILED", message, {
    hint: "this is a bug in magnet; keep the demo's folder and report it",
    exit: "verification",
  });

/**
 * Waits until every live agent has promoted round `index` with the same state; returns the round.
 */
export async function awaitRound(cluster: Cluster, index: number): Promise<RoundSeen> {
  const round = await cluster.until(`round ${index + 1}`, ROUND_DEADLINE_MS, async () => {
    const all = await Promise.all(cluster.members.map((member) => cluster.rounds(member)));
    const seen = all.map((rounds) => rounds[index]);
    const first = seen[0];
    if (!first || seen.some((r) => r?.loss_merged == null)) return undefined;
    if (seen.some((r) => r!.round !== first.round || r!.state_hash !== first.state_hash))
      throw failed(`the agents disagree on the state after round ${index + 1}`);
    return first;
  });
  return round;
}

export const workersMean = (round: RoundSeen): number => {
  const losses = round.workers.map(({ loss_after }) => loss_after ?? Number.NaN);
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
};

export function roundLine(
  cluster: Cluster,
  index: number,
  rounds: number,
  round: RoundSeen,
): string {
  const merged = round.loss_merged!.toFixed(3);
  const view = round.view > 0 ? `, view ${round.view}` : "";
  return (
    `  round ${String(index + 1).padStart(2)}/${rounds}  loss ${merged}  ` +
    `(workers' mean ${workersMean(round).toFixed(3)})  ${round.contributors.length} merged, ` +
    `led by ${cluster.nodeIdOf(round.leader).slice(0, 9)}${view}, ` +
    `${(round.took_ms / 1000).toFixed(1)} s, state ${round.state_hash.slice(0, 8)}`
  );
}

/** Rounds [from, to) as they are promoted, each printed. */
export async function watchRounds(
  cluster: Cluster,
  out: Output,
  range: { from: number; to: number; rounds: number },
): Promise<RoundSeen[]> {
  const seen: RoundSeen[] = [];
  for (let index = range.from; index < range.to; index++) {
    const round = await awaitRound(cluster, index);
    seen.push(round);
    out.note(roundLine(cluster, index, range.rounds, round));
  }
  return seen;
}

/**
 * An object with every shard alive of which the victim alone holds some: killing it then really
 * loses shards. The last rounds' checkpoints are spread while training goes on, so this is a matter
 * of seconds.
 */
async function objectAtStake(cluster: Cluster, witness: Member, victim: Member) {
  const states = (await cluster.rounds(witness)).map(({ state_hash }) => state_hash);
  const objects = (await cluster.objects(witness)).filter(
    ({ content_hash }) => content_hash !== null && states.includes(content_hash),
  );
  const at_stake = objects.map((object) => ({ object, lost: soleShards(object, victim) }));
  return at_stake.find(({ object, lost }) => object.live === object.total && lost > 0);
}

/** Shards that only this member holds. */
const soleShards = ({ holders }: ObjectSeen, { agent }: Member) =>
  holders.filter((ids) => ids.length === 1 && ids[0] === agent.node_id).length;

export interface Repair {
  detail: string;
  cid: string;
  /** The epoch that the victim had committed to: it can never open that commitment. */
  epoch: number;
}

/**
 * Kills an agent between its commitment and its reveal, waits until each of its shards lives elsewhere, and puts the checkpoint together
 * again from shards alone. Throws DEMO_CHECK_FAILED where the bytes differ.
 */
export async function killAndRepair(
  cluster: Cluster,
  ledger: DemoLedger,
  victim: Member,
  folder: string,
): Promise<Repair> {
  const witness = cluster.members.find((member) => member !== victim)!;
  const { agent } = victim;
  const account = accountOf(agent.public_key);
  const what = "a checkpoint to be spread and a commitment to be made";
  const { at_stake, epoch } = await cluster.until(what, KILL_DEADLINE_MS, async () => {
    const found = await objectAtStake(cluster, witness, victim);
    const committed = found && (await ledger.committedEpoch(account));
    return committed === undefined ? undefined : { at_stake: found!, epoch: committed };
  });
  const { object: before, lost } = at_stake;
  await cluster.kill(victim);
  const killed = performance.now();
  const after = await cluster.until("the lost shards to be rebuilt", REPAIR_DEADLINE_MS, async () =>
    (await cluster.objects(witness)).find(
      ({ cid, live, total, holders }) =>
        cid === before.cid &&
        live === total &&
        holders.every((ids) => ids.length > 0 && !ids.includes(agent.node_id)),
    ),
  );
  const seconds = ((performance.now() - killed) / 1000).toFixed(1);
  const restored = (await witness.control.post("/v1/objects/restore", {
    cid: after.cid,
    folder: path.join(folder, "restored"),
  })) as { content_hash: string; size_bytes: number };
  const states = (await cluster.rounds(witness)).map(({ state_hash }) => state_hash);
  if (!states.includes(restored.content_hash))
    throw failed("the checkpoint put together from shards is none that was promoted");
  const detail =
    `agent ${agent.index} killed, ${lost} of ${before.total} shards lost, all ${after.total} live again ` +
    `after ${seconds} s; restored ${restored.size_bytes} bytes, SHA-256 ${restored.content_hash.slice(0, 8)} as promoted`;
  return { detail, cid: after.cid, epoch };
}

/** Merging pays: the merged model is at least as good as the workers' own on average. */
export function checkMerge(last: RoundSeen): void {
  if (last.loss_merged! > workersMean(last))
    throw failed("the merged model is worse than the mean of the workers' own");
}

/** Least fall of the held-out loss, as a share of the untrained model's. */
const LOSS_FALL_MIN = 0.35;

/** The network has learnt English: a lower loss, and better than counting pairs of bytes. */
export function checkLearning(
  before: number,
  after: number,
  bits_order2: number,
  bits: number,
): void {
  if (after > (1 - LOSS_FALL_MIN) * before)
    throw failed(`held-out loss fell from ${before.toFixed(3)} to ${after.toFixed(3)} only`);
  if (bits >= bits_order2)
    throw failed(`${bits.toFixed(3)} bits per byte is not below the order-2 model's`);
}
