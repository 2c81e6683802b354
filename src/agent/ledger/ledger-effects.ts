/**
 * Carries out what the ledger's state machine asks for: transactions, facts, checks of reports,
 * records, verdicts. Work that takes time comes back as an event; its failure too, or it is logged and
 * asked for again by the machine.
 */
import type { Ledger } from "../../chain/client/ledger.ts";
import type { Entry, QueueEvent } from "../../chain/client/queue-types.ts";
import type { TransactionQueue } from "../../chain/client/transaction-queue.ts";
import type {
  EpochView,
  LedgerCall,
  LedgerEffect,
  LedgerEvent,
  TransactionStatus,
} from "../../chain/ledger/ledger-types.ts";
import { toMagnetError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { Transport } from "../../network/transport.ts";
import type { ChainReader } from "./chain-reader.ts";
import { encodeCall } from "./encode-call.ts";
import { judgeTier } from "./judge.ts";
import type { RecordStore } from "./record-store.ts";
import { type FactContext, gatherFacts } from "./report-facts.ts";
import { type VerifyContext, verifyReport } from "./verify-report.ts";

export interface LedgerEffectContext {
  ledger: Ledger;
  queue: TransactionQueue;
  reader: ChainReader;
  transport: Transport;
  records: RecordStore;
  facts: FactContext;
  verify: Omit<VerifyContext, "findRound" | "benchmark">;
  /** False: rewards stay on the ledger until the operator claims them. */
  claims: boolean;
  viewOf(epoch: number): EpochView | undefined;
  now_ms(): number;
  persist(value: unknown): void;
  feed(event: LedgerEvent): void;
  /** A transaction waits in the queue. */
  submitted(): void;
  log: Log;
}

type Of<T extends LedgerEffect["type"]> = Extract<LedgerEffect, { type: T }>;
const NO_BENCHMARK = /^0x0{64}$/;

export class LedgerEffects {
  readonly #context: LedgerEffectContext;
  /** Challenges that wait for the allowance of their bond. */
  readonly #waiting = new Map<string, Of<"submit">>();

  /** Facts being gathered and reports being checked: asked for again, they are not begun again. */
  readonly #busy = new Set<string>();

  constructor(context: LedgerEffectContext) {
    this.#context = context;
  }

  #once(key: string, work: () => Promise<void>): Promise<void> {
    if (this.#busy.has(key)) return Promise.resolve();
    this.#busy.add(key);
    return work().finally(() => this.#busy.delete(key));
  }

  perform(effect: LedgerEffect): void {
    const { transport, log, persist } = this.#context;
    switch (effect.type) {
      case "send":
        transport.send(effect.to, effect.message);
        return;
      case "broadcast":
        transport.broadcast(effect.message);
        return;
      case "log":
        log[effect.level](effect.event, effect.fields);
        return;
      case "persist":
        persist(effect.value);
        return;
      case "submit":
        this.#start("submit", this.#submit(effect));
        return;
      case "gather_facts":
        this.#start(
          "gather_facts",
          this.#once(`gather/${effect.epoch}`, () => this.#gather(effect)),
        );
        return;
      case "verify_report":
        this.#start(
          "verify_report",
          this.#once(`verify/${effect.epoch}/${effect.result_hash}`, () => this.#verify(effect)),
        );
        return;
      case "judge_dispute":
        this.#start(
          "judge_dispute",
          this.#once(`judge/${effect.dispute.id}`, () => this.#judge(effect)),
        );
        return;
      default:
        this.#record(effect);
    }
  }

  #start(task: string, work: Promise<void>): void {
    work.catch((error) => {
      const { code, message } = toMagnetError(error);
      this.#context.log.warn("ledger_task_failed", { task, code, reason: message });
    });
  }

  #record(effect: Of<"store_record" | "drop_records" | "fetch_record" | "store_evidence">): void {
    const { records, feed } = this.#context;
    switch (effect.type) {
      case "store_record": {
        const { epoch, data_hash, bytes } = effect;
        this.#start(effect.type, records.storeRecord(epoch, data_hash, bytes));
        return;
      }
      case "store_evidence":
        this.#start(effect.type, records.storeEvidence(effect.evidence_hash, effect.bytes));
        return;
      case "drop_records":
        this.#start(effect.type, records.drop(effect.data_hashes));
        return;
      case "fetch_record": {
        const { data_hash } = effect;
        records.fetch(data_hash, this.#sources(effect.sources)).then(
          (bytes) => feed({ type: "record_fetched", data_hash, bytes }),
          (error) => {
            const reason = toMagnetError(error).message;
            feed({ type: "record_failed", data_hash, reason });
          },
        );
        return;
      }
    }
  }

  /** These first, then everybody who is connected. */
  #sources(first: readonly PublicKey[]): PublicKey[] {
    const peers = this.#context.transport.peers().map(({ public_key }) => public_key);
    const connected = first.filter((key) => peers.includes(key));
    return [...new Set([...connected, ...peers])];
  }

  async #gather({ epoch, after_round }: Of<"gather_facts">): Promise<void> {
    const { facts, viewOf, feed, log } = this.#context;
    const view = viewOf(epoch);
    if (!view) return; // asked again once the chain has told of it
    await gatherFacts(facts, view, after_round).then(
      (gathered) => feed({ type: "facts", epoch, facts: gathered }),
      (error) => log.warn("facts_not_gathered", { epoch, reason: toMagnetError(error).message }),
    );
  }

  async #verify(effect: Of<"verify_report">): Promise<void> {
    const { epoch, node, public_key, result_hash, report } = effect;
    const { verify, facts, reader, viewOf, feed, now_ms } = this.#context;
    const unverified = (reason: string) =>
      feed({ type: "report_unverified", epoch, result_hash, reason });
    const view = viewOf(epoch);
    if (!view) return unverified("the chain has not told of this epoch yet");
    try {
      const { benchmarkHash } = (await reader.fixedOf(epoch)).values;
      const sources = this.#sources(public_key ? [public_key] : []);
      const verified = await verifyReport(
        {
          ...verify,
          benchmark: NO_BENCHMARK.test(benchmarkHash) ? null : (benchmarkHash.slice(2) as never),
          findRound: (round) => facts.gatherer.archive.find(round, sources, now_ms()),
        },
        view,
        node,
        report,
      );
      feed({ type: "report_verified", epoch, result_hash, verified });
    } catch (error) {
      unverified(toMagnetError(error).message);
    }
  }

  async #judge({ dispute }: Of<"judge_dispute">): Promise<void> {
    const { facts, records, feed, log } = this.#context;
    const { id, offence } = dispute;
    const fetch = (evidence_hash: Hash) =>
      records.fetch(evidence_hash, this.#sources([])).catch(() => null); // asked again later
    const verdict = await judgeTier(facts, dispute, { fetch });
    if (verdict === null) {
      log.warn("dispute_not_judged", { id, offence, reason: "this node has not re-computed it" });
      return;
    }
    log.info("dispute_judged", { id, offence, ...verdict });
    feed({ type: "dispute_judged", id, guilty: verdict.guilty });
  }

  async #submit(effect: Of<"submit">): Promise<void> {
    const { ledger, queue, reader, claims, feed } = this.#context;
    const { key, call } = effect;
    if (call.method === "claim" && !claims) return;
    if (call.method === "challenge" && !(await this.#bondAllowed(effect))) return;
    const signersOf = (id: number) => reader.signersOfDispute(id);
    const deadline_s = this.#deadline(call);
    try {
      const entry = queue.submit({
        key,
        ...encodeCall(ledger, call, signersOf),
        ...(deadline_s !== undefined && { deadline_s }),
      });
      this.#answer(key, entry);
      this.#context.submitted();
    } catch (error) {
      const reason = toMagnetError(error).message;
      feed({ type: "transaction", key, status: "failed", reason });
    }
  }

  /** After this second of chain time the call is worthless. */
  #deadline(call: LedgerCall): number | undefined {
    if (!("epoch" in call)) return undefined;
    const windows = this.#context.viewOf(call.epoch)?.windows;
    if (call.method === "commit" || call.method === "commitRoot") return windows?.commit_end_s;
    if (call.method === "reveal") return windows?.reveal_end_s;
    return call.method === "settle" ? windows?.settle_end_s : undefined;
  }

  /** A challenge stakes its bond by allowance: false until that is in a block. */
  async #bondAllowed(effect: Of<"submit">): Promise<boolean> {
    const { ledger, queue } = this.#context;
    if (queue.get(effect.key) !== undefined) return true;
    const disputes = ledger.address("disputes");
    const { challengerBond } = await ledger.read("params", "current", []);
    const allowed = await ledger.read("magToken", "allowance", [queue.address, disputes]);
    if (allowed >= challengerBond) return true;
    const approve = ledger.call("magToken", "approve", [disputes, challengerBond]);
    const key = `${effect.key}/allowance`;
    this.#waiting.set(key, effect);
    this.#allowed(key, queue.submit({ key, ...approve }).state);
    this.#context.submitted();
    return false;
  }

  #allowed(key: string, state: Entry["state"] | QueueEvent["kind"]): void {
    const effect = this.#waiting.get(key);
    if (!effect || !(state === "mined" || state === "confirmed")) return;
    this.#waiting.delete(key);
    this.#start("submit", this.#submit(effect));
  }

  /** What is known of a key already, after a restart. */
  #answer(key: string, { state, reason }: Entry): void {
    const status = STATUS_OF[state];
    if (status)
      this.#context.feed({ type: "transaction", key, status, reason: reason?.message ?? "" });
  }

  /** What the queue has found out. */
  queueEvent({ key, kind, reason }: QueueEvent): void {
    this.#allowed(key, kind);
    const status = STATUS_OF[kind];
    const isOurs = key.endsWith("/allowance") || key.startsWith("stake/");
    // "mined" was told before: deeper in the chain it says nothing new.
    if (!status || isOurs || kind === "confirmed") return;
    this.#context.feed({ type: "transaction", key, status, reason: reason?.message ?? "" });
  }
}

/** One block is enough to go on: what a reorganisation undoes, the next look at the chain shows. */
const STATUS_OF: Partial<Record<Entry["state"] | QueueEvent["kind"], TransactionStatus>> = {
  mined: "confirmed",
  confirmed: "confirmed",
  reverted: "reverted",
  failed: "failed",
  dropped: "failed",
};
