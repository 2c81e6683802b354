/**
 * Audits of storage (paper 11, 13): at random times this node takes a random shard that another
 * node says it holds, fetches the whole of it from that node and no other, and compares its SHA-256
 * with the manifest's. The time between two audits is exponentially distributed, so that nobody can
 * tell when the next one comes. A holder that does not answer has failed the audit as well: were
 * silence not counted, one would be silent wherever a shard is gone.
 */
import type { Clock } from "../../core/clock.ts";
import { toMagnetError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Random } from "../../core/random.ts";
import type { Cid, Hash, PublicKey } from "../../core/types.ts";
import { blobGet, CHUNK_MAX } from "../../network/bulk-messages.ts";
import type { Transport } from "../../network/transport.ts";
import { type ObjectManifest, shardBytes } from "../../storage/manifest.ts";
import type { NodeMachine } from "../node.ts";
import type { FactStore } from "./fact-store.ts";

const CHUNK_TIMEOUT_MS = 30_000;
/** Between two audits at least, however short the mean. */
const INTERVAL_MIN_MS = 50;
/** Large shards are audited more rarely: an average of half a MiB a second is what audits may cost. */
const BYTES_PER_MS = 512;

/** One shard as a holder claims it. */
export interface Claim {
  holder: PublicKey;
  cid: Cid;
  /** Of the object that the shard is a part of. */
  content_hash: Hash;
  shard: number;
  hash: Hash;
  size_bytes: number;
}

export interface AuditorOptions {
  machine: NodeMachine;
  transport: Transport;
  manifestOf(cid: Cid): ObjectManifest | undefined;
  facts: FactStore;
  random: Random;
  clock: Clock;
  log: Log;
  /** Mean time between two audits, at least. */
  mean_ms: number;
  /** What the ledger asks of this node as an auditor now; null while the chain is not known. */
  duty(): AuditDuty | null;
}

export interface AuditDuty {
  /** Holders that this node may audit in the epoch that runs. */
  isAssigned(holder: PublicKey): boolean;
  /** A shard was found whole; `held_s`: what this sample stands for. */
  passed(claim: Claim, held_s: number): void;
}

export class ShardAuditor {
  readonly #options: AuditorOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  constructor(options: AuditorOptions) {
    this.#options = options;
  }

  start(): void {
    const { random } = this.#options;
    const wait_ms = Math.max(INTERVAL_MIN_MS, -Math.log(1 - random.next()) * this.#mean_ms());
    this.#timer = setTimeout(() => {
      this.auditOnce()
        .catch((error) => {
          const { message } = toMagnetError(error);
          this.#options.log.warn("audit_not_done", { reason: message });
        })
        .finally(() => {
          if (!this.#stopped) this.start();
        });
    }, wait_ms);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Every shard that a live node other than this one claims, by holder. */
  claims(): Map<PublicKey, Claim[]> {
    const { machine, transport, manifestOf } = this.#options;
    const found = new Map<PublicKey, Claim[]>();
    for (const { cid, holders } of machine.keeper.health()) {
      const manifest = manifestOf(cid);
      if (!manifest) continue;
      const size_bytes = shardBytes(manifest);
      for (const [shard, keys] of holders.entries())
        for (const holder of keys) {
          if (holder === transport.public_key) continue;
          const { content_hash } = manifest;
          const hash = manifest.shards[shard]!;
          const claim = { holder, cid, content_hash, shard, hash, size_bytes };
          found.set(holder, [...(found.get(holder) ?? []), claim]);
        }
    }
    return found;
  }

  /** Shards that this node may audit now. */
  #pool(): Claim[] {
    const duty = this.#options.duty();
    const all = [...this.claims()].filter(([holder]) => duty?.isAssigned(holder) ?? true);
    return all.flatMap(([, claims]) => claims);
  }

  #mean_ms(): number {
    const pool = this.#pool();
    const bytes = pool.reduce((sum, { size_bytes }) => sum + size_bytes, 0);
    return Math.max(this.#options.mean_ms, bytes / Math.max(1, pool.length) / BYTES_PER_MS);
  }

  /** One audit of a random shard; false where there is nothing to audit. */
  async auditOnce(): Promise<boolean> {
    const { random, facts, clock, log } = this.#options;
    const pool = this.#pool();
    const mean_ms = this.#mean_ms();
    // Every shard is as likely as any other: who holds more is audited more often.
    const claim = pool[random.below(pool.length)];
    if (!claim) return false;
    const reason = await this.#examine(claim);
    if (this.#stopped) return false;
    const { holder, cid, shard, size_bytes } = claim;
    const passed = reason === "";
    // What it has given up since (its object is superseded, its place has moved) it need not have.
    if (!passed && !this.#isStillClaimed(claim)) return false;
    facts.addAudit({ holder, cid, shard, size_bytes, passed, reason, at_ms: clock.now_ms() });
    log[passed ? "debug" : "warn"]("shard_audited", { holder, cid, shard, passed, reason });
    // Samples come once in mean_ms on average and hit each of the pool alike.
    if (passed) this.#options.duty()?.passed(claim, (pool.length * mean_ms) / 1000);
    return true;
  }

  #isStillClaimed({ holder, cid, shard }: Claim): boolean {
    return (this.claims().get(holder) ?? []).some((c) => c.cid === cid && c.shard === shard);
  }

  /** Empty if the holder has the shard, else what is wrong. */
  async #examine({ holder, hash, size_bytes }: Claim): Promise<string> {
    const { transport } = this.#options;
    const hasher = new Bun.CryptoHasher("sha256");
    try {
      for (let offset = 0; offset < size_bytes; offset += CHUNK_MAX) {
        const length = Math.min(CHUNK_MAX, size_bytes - offset);
        const body = { hash, offset, length };
        const answer = await transport.request(holder, blobGet.request.type, body, {
          timeout_ms: CHUNK_TIMEOUT_MS,
        });
        const { data } = blobGet.response.schema.parse(answer);
        if (data.length !== length) return `it sent ${data.length} of ${length} bytes`;
        hasher.update(data);
      }
    } catch (error) {
      return toMagnetError(error).message;
    }
    return hasher.digest("hex") === hash ? "" : "its bytes do not have the shard's hash";
  }
}
