/**
 * What the chain says about epochs, disputes and this node's account, in the terms of the ledger's
 * state machine: mostly read off the contracts' events, so that every node sees the same; asked of
 * the contracts is only what no event tells.
 */
import type { Ledger } from "../../chain/client/ledger.ts";
import type {
  AccountView,
  Address,
  DisputePhase,
  DisputeView,
  EpochView,
  EpochWindows,
  LedgerNode,
  SettlementView,
} from "../../chain/ledger/ledger-types.ts";
import { OFFENCES } from "../../chain/ledger/ledger-types.ts";
import { invariant } from "../../core/errors.ts";
import type { Hash } from "../../core/types.ts";
import type { AnyLog, LogIndex } from "./log-index.ts";
import { activeNodes, type TimedNodeLog } from "./node-roll.ts";

type LogOf<N extends "epochs" | "disputes", E extends string> = Extract<
  AnyLog<N>,
  { eventName: E }
>;
type Values = Awaited<ReturnType<ChainReader["valuesAt"]>>;

const lower = (address: string) => address.toLowerCase() as Address;
const hashOf = (word: string) => word.slice(2).toLowerCase() as Hash;
const NOBODY = /^0x0{40}$/;

/** `Phase` of IDisputes. */
const PHASES: (DisputePhase | null)[] = [
  null,
  "drawing",
  "vote_commit",
  "vote_reveal",
  "guilty",
  "dismissed",
  "inconclusive",
];
/** Reads that go by time are asked again after so many seconds of the chain. */
const TIMED_S = 5;
/** Epochs whose active nodes are remembered. */
const ROLLS_MAX = 64;
/** `Offence` by number. */
const BAD_ROOT = OFFENCES.indexOf("bad_root");

/** What is read once per head, the same for all epochs. */
interface Panel {
  notaries: readonly Address[];
  signatures_needed: number;
}

/** What never changes once an epoch has begun. */
interface Fixed {
  windows: EpochWindows;
  values: Values;
}

export class ChainReader {
  readonly #ledger: Ledger;
  readonly #index: LogIndex;
  readonly #self: Address;
  readonly #fixed = new Map<number, Fixed>();
  #version = "";
  readonly #reads = new Map<string, Promise<unknown>>();
  /** Active nodes of an epoch, and the logs that they follow from. */
  readonly #rolls = new Map<number, { key: string; nodes: LedgerNode[] }>();

  constructor(ledger: Ledger, index: LogIndex, self: Address) {
    this.#ledger = ledger;
    this.#index = index;
    this.#self = lower(self);
  }

  async valuesAt(epoch: number) {
    return this.#ledger.read("params", "valuesAt", [BigInt(epoch)]);
  }

  /** Values and windows of an epoch that has begun: neither can change any more. */
  async fixedOf(epoch: number): Promise<Fixed> {
    const known = this.#fixed.get(epoch);
    if (known) return known;
    const [values, raw] = await Promise.all([
      this.valuesAt(epoch),
      this.#ledger.read("epochs", "windowsOf", [BigInt(epoch)]),
    ]);
    const [commit_start_s, commit_end_s, reveal_end_s, proposer_end_s, settle_end_s] = raw.map(
      Number,
    ) as [number, number, number, number, number];
    const windows = { commit_start_s, commit_end_s, reveal_end_s, proposer_end_s, settle_end_s };
    const fixed = { windows, values };
    this.#fixed.set(epoch, fixed);
    return fixed;
  }

  /**
   * Whatever changes in the ledger's contracts leaves an event: reads are asked once for each state of
   * the logs, and those that go by time every few seconds besides.
   */
  logsRead(): void {
    const version = this.#index.version();
    if (version === this.#version) return;
    this.#version = version;
    this.#reads.clear();
  }

  #once<T>(key: string, read: () => Promise<T>): Promise<T> {
    const known = this.#reads.get(key) as Promise<T> | undefined;
    if (known) return known;
    const reading = read();
    this.#reads.set(key, reading);
    reading.catch(() => this.#reads.delete(key)); // the caller sees the failure and asks again
    return reading;
  }

  panel(): Promise<Panel> {
    return this.#once("panel", () => this.#readPanel());
  }

  async #readPanel(): Promise<Panel> {
    const [[seats], needed] = await Promise.all([
      this.#ledger.read("nodes", "notaries", []),
      this.#ledger.read("epochs", "signaturesNeeded", []),
    ]);
    return { notaries: seats.map(lower), signatures_needed: Number(needed) };
  }

  /** The same list as long as nothing has happened to the nodes: the machine compares by identity. */
  async #nodesAt(epoch: number, { windows, values }: Fixed): Promise<LedgerNode[]> {
    const logs = this.#index.of("nodes");
    const key = `${logs.length} ${logs.at(-1)?.blockHash}`;
    const known = this.#rolls.get(epoch);
    if (known?.key === key) return known.nodes;
    const timed: TimedNodeLog[] = [];
    for (const log of logs) timed.push({ log, time_s: await this.#index.timeOf(log) });
    const end_s = windows.commit_start_s;
    const nodes = activeNodes(timed, { epoch, end_s }, values.tierBonds);
    this.#rolls.set(epoch, { key, nodes });
    if (this.#rolls.size > ROLLS_MAX) this.#rolls.delete([...this.#rolls.keys()][0]!);
    return nodes;
  }

  /** `time_s`: what a transaction mined now would see. */
  async epochView(epoch: number, panel: Panel, time_s: number): Promise<EpochView> {
    const fixed = await this.fixedOf(epoch);
    const settlement = await this.#settlement(epoch, fixed.values.challengeSeconds, time_s);
    const isUpheld = settlement !== null && !settlement.rejected;
    const isOver = time_s >= fixed.windows.settle_end_s;
    // What a settlement has minted, and who has proposed it, is asked for no more.
    const [pool, proposer] = isUpheld
      ? [settlement.total, settlement.proposer]
      : isOver
        ? [0n, null]
        : await Promise.all([this.#pool(epoch, time_s), this.#proposer(epoch, time_s)]);
    const nodes = await this.#nodesAt(epoch, fixed);
    const { tierRewards, axisWeights, challengeSeconds } = fixed.values;
    return {
      epoch,
      windows: fixed.windows,
      tier_rewards: tierRewards,
      axis_weights: axisWeights,
      challenge_seconds: challengeSeconds,
      pool,
      proposer,
      ...panel,
      nodes,
      ...this.#commitments(epoch),
      settlement,
    };
  }

  /** In the block that comes next, since the caps on emission go by time. */
  #pool(epoch: number, time_s: number): Promise<bigint> {
    return this.#once(`pool/${epoch}/${Math.floor(time_s / TIMED_S)}`, () =>
      this.#soon((block) => this.#ledger.read("epochs", "poolOf", [BigInt(epoch)], block)),
    );
  }

  /** Drawn from the last settlement that is final, which goes by time too. */
  #proposer(epoch: number, time_s: number): Promise<Address | null> {
    return this.#once(`proposer/${epoch}/${Math.floor(time_s / TIMED_S)}`, async () => {
      const drawn = await this.#soon((block) =>
        this.#ledger.read("epochs", "proposerOf", [BigInt(epoch)], block),
      );
      return NOBODY.test(drawn) ? null : lower(drawn);
    });
  }

  /** Not every RPC knows the pending block; the newest one then has to do. */
  async #soon<T>(read: (block: "pending" | "latest") => Promise<T>): Promise<T> {
    return read("pending").catch(() => read("latest"));
  }

  #epochLogs<E extends AnyLog<"epochs">["eventName"]>(epoch: number, event: E) {
    const logs = this.#index.of("epochs").filter((log) => log.eventName === event);
    return (logs as LogOf<"epochs", E>[]).filter(
      (log) => "epoch" in log.args && Number(log.args.epoch) === epoch,
    );
  }

  #commitments(epoch: number): Pick<EpochView, "commits" | "reveals" | "commit_root"> {
    const punished = new Set(
      this.#index
        .of("disputes")
        .filter((log) => log.eventName === "Punished")
        .filter(({ args }) => OFFENCES[args.offence] === "no_reveal" || isMismatch(args.offence))
        .filter(({ args }) => BigInt(args.subject) === BigInt(epoch))
        .map(({ args }) => lower(args.node)),
    );
    const commits = this.#epochLogs(epoch, "Committed").map(({ args }) => {
      const node = lower(args.node);
      return { node, commitment: args.commitment, punished: punished.has(node) };
    });
    const reveals = this.#epochLogs(epoch, "Revealed").map(({ args }) => ({
      node: lower(args.node),
      result_hash: hashOf(args.resultHash),
      score: args.score,
      nonce: args.nonce,
      matches: args.matches,
    }));
    const batch = this.#epochLogs(epoch, "CommitRoot").at(-1)?.args;
    const commit_root = batch
      ? { root: batch.root, count: Number(batch.count), proposer: lower(batch.proposer) }
      : null;
    return { commits, reveals, commit_root };
  }

  /** The newest settlement of an epoch; whether it is rejected or final follows from later events. */
  async #settlement(
    epoch: number,
    challenge_seconds: number,
    time_s: number,
  ): Promise<SettlementView | null> {
    const settled = this.#epochLogs(epoch, "Settled").at(-1);
    if (!settled) return null;
    const { root, total, count, dataHash, proposer, signers } = settled.args;
    const after = (log: { blockNumber: bigint; logIndex: number }) =>
      log.blockNumber > settled.blockNumber ||
      (log.blockNumber === settled.blockNumber && log.logIndex > settled.logIndex);
    const rejected = this.#epochLogs(epoch, "Rejected").some(after);
    const settled_at_s = await this.#index.timeOf(settled);
    const disputes = this.#openAgainst(epoch).filter(after).length;
    const superseded = this.#index
      .of("epochs")
      .some((log) => log.eventName === "Settled" && Number(log.args.epoch) > epoch && after(log));
    const isOver = time_s >= settled_at_s + challenge_seconds && disputes === 0;
    return {
      root,
      total,
      count: Number(count),
      data_hash: hashOf(dataHash),
      proposer: lower(proposer),
      settled_at_s,
      disputes,
      rejected,
      final: !rejected && (superseded || isOver),
      signers: signers.map(lower),
    };
  }

  /** Challenges of an epoch's root that are not resolved. */
  #openAgainst(epoch: number): LogOf<"disputes", "Challenged">[] {
    const resolved = this.#resolved();
    return this.#challenges().filter(
      ({ args }) =>
        args.offence === BAD_ROOT &&
        BigInt(args.subject) === BigInt(epoch) &&
        !resolved.has(args.id),
    );
  }

  #challenges(): LogOf<"disputes", "Challenged">[] {
    return this.#index.of("disputes").filter((log) => log.eventName === "Challenged");
  }

  #resolved(): Set<bigint> {
    const logs = this.#index.of("disputes").filter((log) => log.eventName === "Resolved");
    return new Set(logs.map(({ args }) => args.id));
  }

  /** Disputes that are open, and those in `also` (to learn how they ended). */
  async disputeViews(also: ReadonlySet<number>): Promise<DisputeView[]> {
    const resolved = this.#resolved();
    const wanted = this.#challenges().filter(
      ({ args }) => !resolved.has(args.id) || also.has(Number(args.id)),
    );
    return Promise.all(wanted.map((challenge) => this.#disputeView(challenge)));
  }

  async #disputeView(challenge: LogOf<"disputes", "Challenged">): Promise<DisputeView> {
    const { id, evidenceHash } = challenge.args;
    const [dispute, panel] = await Promise.all([
      this.#ledger.read("disputes", "disputeOf", [id]),
      this.#ledger.read("disputes", "panelOf", [id]),
    ]);
    const phase = PHASES[dispute.phase];
    invariant(phase, `dispute ${id} is known`);
    return {
      id: Number(id),
      offence: OFFENCES[dispute.offence]!,
      phase,
      accused: lower(dispute.accused),
      challenger: lower(dispute.challenger),
      subject: dispute.subject,
      evidence_hash: hashOf(evidenceHash),
      draw_block: Number(dispute.drawBlock),
      commit_end_s: Number(dispute.commitEnd),
      reveal_end_s: Number(dispute.revealEnd),
      panel: panel.map(lower),
      own_vote: this.#ownVote(id),
    };
  }

  #ownVote(id: bigint): DisputeView["own_vote"] {
    const mine = this.#index
      .of("disputes")
      .filter((log) => log.eventName === "VoteCommitted" || log.eventName === "VoteRevealed")
      .filter(({ args }) => args.id === id && lower(args.notary) === this.#self);
    if (mine.some(({ eventName }) => eventName === "VoteRevealed")) return "revealed";
    return mine.length > 0 ? "committed" : "none";
  }

  async accountView(time_s: number): Promise<AccountView> {
    const self = [this.#self] as const;
    const [node, active, claimed] = await this.#once(
      `account/${Math.floor(time_s / TIMED_S)}`,
      () =>
        Promise.all([
          this.#ledger.read("nodes", "nodeOf", self),
          this.#ledger.read("nodes", "isActive", self),
          this.#ledger.read("epochs", "claimed", self),
        ]),
    );
    let last: AccountView["last"] = null;
    let final: AccountView["final"] = null;
    const settled = [...this.#index.of("epochs")].filter((log) => log.eventName === "Settled");
    const epochs = [...new Set(settled.map(({ args }) => Number(args.epoch)))];
    for (const epoch of epochs.sort((a, b) => b - a)) {
      const { values } = await this.fixedOf(epoch);
      const found = await this.#settlement(epoch, values.challengeSeconds, time_s);
      if (!found || found.rejected) continue;
      const { root, data_hash } = found;
      last ??= { epoch, root, data_hash, final: found.final };
      if (!found.final) continue;
      final = { epoch, root, data_hash };
      break;
    }
    return { registered: node.registered, active, claimed, final, last };
  }

  /**
   * The signers of the settlement that a dispute is about, as `drawPanel` wants them: none for other
   * offences.
   */
  signersOfDispute(id: number): Address[] {
    const challenge = this.#challenges().find(({ args }) => Number(args.id) === id);
    if (challenge?.args.offence !== BAD_ROOT) return [];
    const settled = this.#epochLogs(Number(challenge.args.subject), "Settled");
    const before = settled.findLast(({ blockNumber }) => blockNumber <= challenge.blockNumber);
    return (before?.args.signers ?? []).map(lower);
  }

  /** Epochs from `from` on that have commitments or a settlement. */
  epochsSeen(from: number): Set<number> {
    const seen = new Set<number>();
    for (const { args } of this.#index.of("epochs"))
      if ("epoch" in args && Number(args.epoch) >= from) seen.add(Number(args.epoch));
    return seen;
  }
}

const isMismatch = (offence: number) => OFFENCES[offence] === "mismatch";
