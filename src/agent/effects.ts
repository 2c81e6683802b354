/**
 * Carries out the effects of the node's machine: what is short at once, what is long as a task whose
 * outcome comes back as an event. Expected failures become events too; nothing here throws for them.
 */
import fs from "node:fs";
import path from "node:path";
import { toMagnetError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import type { TrainTask } from "../diloco/round-types.ts";
import type { Transport } from "../network/transport.ts";
import type { BlobStore } from "../storage/blobs.ts";
import type { CheckpointKeeper } from "./checkpoint-keeper.ts";
import type { CurrentState } from "./current-state.ts";
import type { DurableState } from "./durable-state.ts";
import type { JobRegistry } from "./job-registry.ts";
import type { NodeEffect, NodeEvent } from "./node-types.ts";
import type { PublishedBlobs } from "./published-blobs.ts";

export interface EffectContext {
  data_dir: string;
  transport: Transport;
  durable: DurableState;
  blobs: BlobStore;
  published: PublishedBlobs;
  jobs: JobRegistry;
  current: CurrentState;
  log: Log;
  feed(event: NodeEvent): void;
  fetchBlob(hash: Hash, sources: readonly PublicKey[], size_bytes?: number): Promise<void>;
  checkpoints: CheckpointKeeper;
  /** The certified state of a round is current here. */
  promoted(effect: Extract<NodeEffect, { type: "store_checkpoint" }>): void;
}

/** What went wrong, in one line for a peer or the log. */
const reasonOf = (error: unknown): string => {
  const { code, message } = toMagnetError(error);
  return `${code}: ${message}`.slice(0, 250);
};

export function createEffects(context: EffectContext): (effect: NodeEffect) => void {
  const { transport, durable, blobs, published, jobs, current, log, feed } = context;
  const training = new Map<Hash, AbortController>();

  /** Starts a task; its result and its failure are events. */
  const start = (task: Promise<NodeEvent>, failed: (reason: string) => NodeEvent): void => {
    task.then(feed, (error) => {
      const event = failed(reasonOf(error));
      log.warn("task_failed", { task: event.type, reason: reasonOf(error) });
      feed(event);
    });
  };

  const train = (task: TrainTask): void => {
    const abort = new AbortController();
    training.set(task.announce_hash, abort);
    const run = jobs.enqueue(async (): Promise<NodeEvent> => {
      abort.signal.throwIfAborted();
      const result = await jobs.runner(task.job_id).train(task, abort.signal);
      return { type: "trained", ...result };
    });
    const { announce_hash } = task;
    start(
      run.finally(() => training.delete(announce_hash)),
      (reason) => ({ type: "train_failed", announce_hash, reason }),
    );
  };

  const adopt = (effect: Extract<NodeEffect, { type: "adopt_state" }>): void => {
    const { state_hash, job_id, round } = effect;
    for (const old of current.adopt({ state_hash, job_id, round })) {
      published.withdraw(old);
      blobs.delete(old).catch((error) => log.warn("blob_not_deleted", { hash: old, error }));
    }
    published.publish(state_hash);
    feed({ type: "adopted", state_hash });
  };

  return (effect) => {
    switch (effect.type) {
      case "send":
        transport.send(effect.to, effect.message);
        return;
      case "broadcast":
        transport.broadcast(effect.message);
        return;
      case "persist":
        durable.persist(effect.key, effect.value);
        return;
      case "dial":
        transport.connect(effect.address, effect.public_key ?? undefined).catch((error) => {
          feed({ type: "dial_failed", address: effect.address, reason: reasonOf(error) });
        });
        return;
      case "prepare_job": {
        const job_id = effect.job.job_id as Hash;
        start(
          jobs
            .prepare(effect.job, effect.sources)
            .then((base_hash) => ({ type: "job_prepared", job_id, base_hash })),
          (reason) => ({ type: "job_failed", job_id, reason }),
        );
        return;
      }
      case "train":
        train(effect.task);
        return;
      case "cancel_training":
        training.get(effect.announce_hash)?.abort(new Error("the round went on without it"));
        return;
      case "publish_blob":
        published.publish(effect.hash);
        return;
      case "fetch_blob": {
        const { hash, sources, size_bytes } = effect;
        start(
          context.fetchBlob(hash, sources, size_bytes).then(() => {
            published.publish(hash);
            return { type: "blob_fetched", hash };
          }),
          (reason) => ({ type: "blob_failed", hash, reason }),
        );
        return;
      }
      case "drop_blobs":
        for (const hash of effect.hashes) {
          published.withdraw(hash);
          blobs.delete(hash).catch((error) => log.warn("blob_not_deleted", { hash, error }));
        }
        return;
      case "merge": {
        const { task } = effect;
        const { merge_hash } = task;
        start(
          jobs.enqueue(async () => {
            const state_hash = await jobs.runner(task.job_id).merge(task);
            return { type: "merged", merge_hash, state_hash };
          }),
          (reason) => ({ type: "merge_failed", merge_hash, reason }),
        );
        return;
      }
      case "adopt_state":
        adopt(effect);
        return;
      case "fetch_checkpoint": {
        const { state_hash, sources } = effect;
        start(
          context
            .fetchBlob(state_hash, sources)
            .then(() => ({ type: "checkpoint_fetched", state_hash })),
          (reason) => ({ type: "checkpoint_failed", state_hash, reason }),
        );
        return;
      }
      case "store_checkpoint":
        context.promoted(effect);
        context.checkpoints.promoted(effect);
        return;
      case "keeper":
        context.checkpoints.perform(effect.effect);
        return;
      case "evidence":
        log.warn("evidence_kept", { against: effect.evidence.public_key });
        fs.appendFileSync(
          path.join(context.data_dir, "evidence.jsonl"),
          `${JSON.stringify(effect.evidence)}\n`,
          { mode: 0o600 },
        );
        return;
      case "log":
        log[effect.level](effect.event, effect.fields);
        return;
    }
  };
}
