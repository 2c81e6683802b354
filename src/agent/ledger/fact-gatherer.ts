/**
 * Gathers what the ledger pays for while the node runs: proofs of promoted rounds, this node's own
 * evaluations of them, its audits of other nodes' shards. It only watches; training never waits for
 * it, and what cannot be written here is logged and missing from this node's next report.
 */
import path from "node:path";
import type { Clock } from "../../core/clock.ts";
import { toMagnetError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Random } from "../../core/random.ts";
import type { Cid } from "../../core/types.ts";
import type { Transport } from "../../network/transport.ts";
import type { ObjectManifest } from "../../storage/manifest.ts";
import type { NodeMachine } from "../node.ts";
import type { RoundRecord } from "../round-history.ts";
import { FactStore } from "./fact-store.ts";
import { RoundArchive } from "./round-archive.ts";
import { type AuditDuty, ShardAuditor } from "./shard-auditor.ts";

/** Audits of this node in one epoch, on average: each is the fetch of one shard. */
const AUDITS_PER_EPOCH = 6;

export interface GathererOptions {
  data_dir: string;
  machine: NodeMachine;
  transport: Transport;
  manifestOf(cid: Cid): ObjectManifest | undefined;
  epoch_seconds: number;
  random: Random;
  clock: Clock;
  log: Log;
  /** Whom to audit, as the ledger's epoch says; null while the chain is not known. */
  duty(): AuditDuty | null;
}

export class FactGatherer {
  readonly facts: FactStore;
  readonly archive: RoundArchive;
  readonly auditor: ShardAuditor;
  readonly #options: GathererOptions;

  /** Throws FACTS_UNUSABLE, disk errors. */
  constructor(options: GathererOptions) {
    this.#options = options;
    const { data_dir, machine, transport, epoch_seconds } = options;
    this.facts = new FactStore(path.join(data_dir, "ledger", "facts.sqlite"));
    this.archive = new RoundArchive({ machine, transport, facts: this.facts });
    const mean_ms = (epoch_seconds * 1000) / AUDITS_PER_EPOCH;
    this.auditor = new ShardAuditor({ ...options, facts: this.facts, mean_ms });
  }

  start(): void {
    this.auditor.start();
  }

  close(): void {
    this.auditor.stop();
    this.facts.close();
  }

  #try(what: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      const { code, message } = toMagnetError(error);
      this.#options.log.warn("fact_not_kept", { what, code, reason: message });
    }
  }

  /** After every step of the machine. */
  observe(): void {
    this.#try("announcement", () => this.archive.observe());
  }

  /** The certified state of a round is current here. */
  promoted(): void {
    this.#try("round", () => this.archive.promoted(this.#options.clock.now_ms()));
  }

  /** This node has evaluated the promoted state on the job's held-out set. */
  evaluated({ round, state_hash, loss_merged: loss }: RoundRecord): void {
    if (loss === null) return;
    const noted_ms = this.#options.clock.now_ms();
    this.#try("evaluation", () => this.facts.addEvaluation({ round, state_hash, loss, noted_ms }));
  }
}
