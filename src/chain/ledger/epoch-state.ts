/** What a node knows about one epoch: the chain's view, gossip, reports, its own part and its record. */
import { sha256Hex } from "../../core/bytes.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { SealedRecord } from "./epoch-record.ts";
import type {
  Address,
  EpochPhase,
  EpochView,
  Hex,
  LedgerNode,
  VerifiedReport,
} from "./ledger-types.ts";
import type { LedgerCommit, LedgerReveal, RecordSignature } from "./messages.ts";
import type { ContributionReport } from "./report.ts";

/** This node's own commitment. Durable before anything of it leaves the node. */
export interface OwnPart {
  /** Canonical text of the report; null where there was nothing to report. */
  text: string | null;
  result_hash: Hash;
  score: bigint;
  nonce: Hex;
  commitment: Hex;
}

/** A report that was opened and is here. */
export interface ReportState {
  text: string;
  report: ContributionReport;
  verified: VerifiedReport | null;
  /** Why it is not verified yet. */
  reason: string;
  asked_ms: number;
  /** Chain time at which it was here. */
  here_s: number;
}

/** An opened commitment. */
export interface Opened {
  node: LedgerNode;
  result_hash: Hash;
  score: bigint;
}

/** How the settled root compares with this node's own knowledge. */
export interface Judgement {
  root: Hex;
  data_hash: Hash;
  verdict: "accepted" | "bad" | "open";
  reason: string;
}

export class EpochState {
  view: EpochView | null = null;
  view_s = 0;
  phase: EpochPhase = "collecting";
  reason = "the epoch is running";
  hint = "";
  own: OwnPart | null = null;
  /** Chain time when this node first saw a deadline passed that it had missed. */
  missed: { what: "commitment" | "reveal"; late_s: number } | null = null;
  facts_asked_ms = Number.NEGATIVE_INFINITY;
  told_ms = Number.NEGATIVE_INFINITY;
  asked_ms = Number.NEGATIVE_INFINITY;
  signed_ms = Number.NEGATIVE_INFINITY;
  /** By result hash. */
  readonly reports = new Map<Hash, ReportState>();
  /** Opened, but worth nothing: everybody sees the same bytes and comes to the same end. */
  readonly refused = new Map<Hash, string>();
  /** Reports that came before their reveal was seen; one of each registered node. */
  readonly early = new Map<PublicKey, { result_hash: Hash; text: string }>();
  readonly gossip_commits = new Map<Address, LedgerCommit>();
  readonly gossip_reveals = new Map<Address, LedgerReveal>();
  /** Leaves of a batch by its root. */
  readonly commit_sets = new Map<Hex, ReadonlyMap<Address, Hex>>();
  readonly signatures = new Map<Address, RecordSignature>();
  /** Records other than the own one that a notary has signed, as far as they were looked into. */
  readonly others = new Map<Address, Set<Hash>>();
  /** Two signed commitments of one node. */
  readonly doubles = new Map<Address, [LedgerCommit, LedgerCommit]>();
  /** A signed commitment and a signed opening that do not belong together. */
  readonly mismatches = new Map<Address, [LedgerCommit, LedgerReveal]>();
  /** Opened commitments as of a view and a state of gossip. */
  opened: { view: EpochView; gossip: string; list: readonly Opened[] } | null = null;
  record: SealedRecord | null = null;
  /** What the record was computed from. */
  record_key = "";
  judgement: Judgement | null = null;
  /** Settlements that were judged bad, by root; their signers approved them. */
  readonly rejected = new Map<Hex, readonly Address[]>();
  #ranks = new Map<string, number>();
  #by_id: Map<Hash, LedgerNode> | null = null;
  #by_address: Map<Address, LedgerNode> | null = null;

  constructor(readonly epoch: number) {}

  /** `now_s`: the chain's time as this node knew it then. */
  setView(view: EpochView, now_s: number): void {
    this.view_s = now_s;
    if (view.nodes !== this.view?.nodes) {
      this.#by_id = null;
      this.#by_address = null;
      this.#ranks.clear();
    }
    this.view = view;
    const { settlement } = view;
    if (settlement?.rejected) this.rejected.set(settlement.root, settlement.signers);
  }

  node(address: Address): LedgerNode | undefined {
    this.#by_address ??= new Map(this.view?.nodes.map((node) => [node.address, node]));
    return this.#by_address.get(address);
  }

  /** The registered node of a public key. */
  nodeOfKey(public_key: PublicKey): LedgerNode | undefined {
    this.#by_id ??= new Map(this.view?.nodes.map((node) => [node.node_id, node]));
    return this.#by_id.get(sha256Hex(Buffer.from(public_key, "hex")) as Hash);
  }

  /**
   * Place of a node among all, different for each purpose: what any node may do is done by the first
   * alone, unless it does not act.
   */
  rank(purpose: string, address: Address): number {
    const known = this.#ranks.get(purpose);
    if (known !== undefined) return known;
    const place = (who: Address) => sha256Hex(`${purpose}/${this.epoch}/${who}`);
    const own = place(address);
    const lower = this.view?.nodes.filter((node) => place(node.address) < own).length ?? 0;
    this.#ranks.set(purpose, lower);
    return lower;
  }
}
