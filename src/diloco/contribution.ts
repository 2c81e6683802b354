/**
 * This node's own part in a round: train on its slice, commit to the hash of its pseudo-gradient,
 * and open the commitment only after the collected set is certified. Invariants: the salted
 * commitment is durable before it is sent, so a restart neither trains twice nor commits to two
 * things; nothing that lets others see the pseudo-gradient leaves the node before the certificate.
 */
import { z } from "zod";
import { toHex } from "../core/bytes.ts";
import type { Random } from "../core/random.ts";
import type { Hash } from "../core/types.ts";
import type { Sink } from "../network/effects.ts";
import type { Signer } from "../network/signer.ts";
import { hashSchema } from "../network/wire-types.ts";
import { type Content, commitmentOf, signCommit } from "./round-contents.ts";
import {
  type Announcement,
  type Commit,
  commitSchema,
  type MergePlan,
  type Reveal,
} from "./round-messages.ts";
import type { RoundEffect, TrainedResult } from "./round-types.ts";

/** Local training that failed is tried again after so long while the round is open. */
const TRAIN_RETRY_MS = 10_000;

const durableSchema = z.strictObject({
  made: z
    .strictObject({
      commit: commitSchema,
      delta_hash: hashSchema,
      salt: hashSchema,
      size_bytes: z.int().min(1),
    })
    .nullable(),
  /** Trail of the last contribution that was merged, and its job. */
  merged: z.strictObject({ job_id: hashSchema, trail_hash: hashSchema }).nullable(),
});
type Durable = z.infer<typeof durableSchema>;

export class Contribution {
  readonly #signer: Signer;
  readonly #random: Random;
  #made: Durable["made"] = null;
  #merged: Durable["merged"] = null;
  #training: Hash | null = null;
  #failure: { announce_hash: Hash; reason: string; retry_ms: number } | null = null;
  #published: Hash | null = null;

  constructor(signer: Signer, random: Random) {
    this.#signer = signer;
    this.#random = random;
  }

  /** Reads the durable state back; an unreadable one only costs this round's contribution. */
  start(persisted: unknown): void {
    const parsed = durableSchema.safeParse(persisted);
    if (parsed.success) ({ made: this.#made, merged: this.#merged } = parsed.data);
  }

  isTraining(announce_hash: Hash): boolean {
    return this.#training === announce_hash;
  }
  /** The commitment to this round, once made. */
  commit(announce_hash: Hash): Commit | null {
    return this.#made?.commit.announce_hash === announce_hash ? this.#made.commit : null;
  }
  /** Why local training for this round failed; null if it did not. */
  failure(announce_hash: Hash): string | null {
    return this.#failure?.announce_hash === announce_hash ? this.#failure.reason : null;
  }
  /** Hash of the pseudo-gradient made last; null before the first. */
  get deltaHash(): Hash | null {
    return this.#made?.delta_hash ?? null;
  }

  /** Starts local training for an announced round in which this node has a slice. */
  train(announced: Content<Announcement>, now_ms: number, out: Sink<RoundEffect>): void {
    const { hash: announce_hash, value } = announced;
    const { round, job_id, job_round, base_hash, inner_steps, data_seed, deadline_ms } = value;
    const slice_index = value.slices.indexOf(this.#signer.public_key);
    if (slice_index < 0 || this.commit(announce_hash) || this.#training === announce_hash) return;
    if (this.failure(announce_hash) !== null && now_ms < this.#failure!.retry_ms) return;
    this.stop(out);
    this.#training = announce_hash;
    const job = { round, job_id, job_round, base_hash, inner_steps, data_seed, deadline_ms };
    const slice = { slice_index, slice_count: value.slices.length };
    const previous_trail = this.#merged?.job_id === job_id ? this.#merged.trail_hash : null;
    out.push({ type: "train", task: { announce_hash, ...job, ...slice, previous_trail } });
  }

  /** Ends training that no longer counts. */
  stop(out: Sink<RoundEffect>): void {
    if (this.#training !== null)
      out.push({ type: "cancel_training", announce_hash: this.#training });
    this.#training = null;
  }

  /** Makes the commitment durable; false if the result is of a round that is over. */
  trained(result: TrainedResult, round: number, out: Sink<RoundEffect>): boolean {
    const { announce_hash, delta_hash, size_bytes, tokens } = result;
    if (this.#training !== announce_hash) return false;
    this.#training = null;
    this.#failure = null;
    const public_key = this.#signer.public_key;
    const salt = toHex(this.#random.bytes(32)) as Hash;
    const commitment = commitmentOf(round, public_key, delta_hash, salt);
    const { loss_before, loss_after, trail_hash } = result;
    const claims = { tokens, loss_before, loss_after, trail_hash };
    const fields = { announce_hash, public_key, commitment, ...claims };
    this.#made = { commit: signCommit(this.#signer, fields), delta_hash, salt, size_bytes };
    this.#persist(out);
    return true;
  }

  #persist(out: Sink<RoundEffect>): void {
    const value: Durable = { made: this.#made, merged: this.#merged };
    out.push({ type: "persist", key: "contribution", value });
  }

  /** A round was promoted. If this node's contribution is in it, the next one goes on from there. */
  promoted({ value }: Content<MergePlan>, out: Sink<RoundEffect>): void {
    const made = this.#made;
    if (!made?.commit.trail_hash || made.commit.announce_hash !== value.announce_hash) return;
    const { public_key } = this.#signer;
    if (!value.contributors.some((entry) => entry.public_key === public_key)) return;
    const { trail_hash } = made.commit;
    if (this.#merged?.trail_hash === trail_hash) return;
    this.#merged = { job_id: value.job_id, trail_hash };
    this.#persist(out);
  }

  trainFailed(announce_hash: Hash, reason: string, now_ms: number): boolean {
    if (this.#training !== announce_hash) return false;
    this.#training = null;
    this.#failure = { announce_hash, reason, retry_ms: now_ms + TRAIN_RETRY_MS };
    return true;
  }

  /**
   * Opens the commitment. Call only with a certified collection that holds it: from here on the
   * pseudo-gradient is public.
   */
  reveal(announce_hash: Hash, out: Sink<RoundEffect>): Reveal {
    const { delta_hash, salt, size_bytes } = this.#made!;
    if (this.#published !== delta_hash) {
      this.#published = delta_hash;
      out.push({ type: "publish_blob", hash: delta_hash });
    }
    return { announce_hash, delta_hash, salt, size_bytes };
  }
}
