/**
 * Carries out the effects of the node's machine: what is short at once, what is long as a task
 * whose outcome comes back as an event. Expected failures become events too; nothing here throws
 * for them.
 */
import fs from "node:fs";
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Hash } from "../core/types.ts";
import type { MergeTask, TrainTask } from "../diloco/round-types.ts";
import type { Transport } from "../network/transport.ts";
import type { BlobStore } from "../storage/blobs.ts";
import type { FetchBlob } from "./blob-fetcher.ts";
import type { CheckpointKeeper } from "./checkpoint-keeper.ts";
import type { CurrentState } from "./current-state.ts";
import type { DurableState } from "./durable-state.ts";
import type { JobRegistry } from "./job-registry.ts";
import type { NodeEffect, NodeEvent } from "./node-types.ts";
import type { PublishedBlobs } from "./published-blobs.ts";
import type { TrailStore } from "./trail/trail-store.ts";

export interface EffectContext {
  data_dir: string;
  transport: Transport;
  durable: DurableState;
  blobs: BlobStore;
  published: PublishedBlobs;
  jobs: JobRegistry;
  trails: TrailStore;
  current: CurrentState;
  log: Log;
  feed(event: NodeEvent): void;
  fetchBlob: FetchBlob;
  checkpoints: CheckpointKeeper;
  /** The certified state of a round is current here. */
  promoted(effect: Extract<NodeEffect, { type: "store_checkpoint" }>): void;
}

export interface Effects {
  perform(effect: NodeEffect): void;
  /** Ends local training; what is still under way ends unheard. */
  stop(): void;
}

/** Evidence of one liar is a few kilobytes; a flood of it must not fill the disk. */
const EVIDENCE_LIMIT_BYTES = 16 << 20;

/** What went wrong, in one line for a peer or the log. */
const reasonOf = (error: unknown): string => {
  const { code, message } = toMagnetError(error);
  return `${code}: ${message}`.slice(0, 250);
};

export function createEffects(context: EffectContext): Effects {
  const { transport, durable, blobs, published, jobs, current, log, feed } = context;
  const training = new Map<Hash, AbortController>();
  let stopped = false;

  /** Starts a task; its result and its failure are events. */
  const start = (task: Promise<NodeEvent>, failed: (reason: string) => NodeEvent): void => {
    task.then(feed, (error) => {
      if (stopped) return;
      const event = failed(reasonOf(error));
      log.warn("task_failed", { task: event.type, reason: reasonOf(error) });
      feed(event);
    });
  };

  /**
   * A blob that the machine counts on, but that was damaged on this disk, comes back from a peer.
   */
  const bring = async (hash: Hash): Promise<void> => {
    if (blobs.has(hash)) return;
    const peers = transport.peers().map(({ public_key }) => public_key);
    await context.fetchBlob(hash, peers);
  };

  const merge = async (task: MergeTask): Promise<NodeEvent> => {
    for (const { delta_hash } of task.contributors) await bring(delta_hash);
    await bring(task.base_hash);
    const state_hash = await jobs.run(task.job_id, (runner) => runner.merge(task));
    return { type: "merged", merge_hash: task.merge_hash, state_hash };
  };

  const keepEvidence = (evidence: unknown): void => {
    const file = path.join(context.data_dir, "evidence.jsonl");
    try {
      const line = `${JSON.stringify(evidence)}\n`;
      const size = fs.existsSync(file) ? fs.statSync(file).size : 0;
      if (size + line.length <= EVIDENCE_LIMIT_BYTES)
        fs.appendFileSync(file, line, { mode: 0o600 });
    } catch (error) {
      log.warn("evidence_not_written", { reason: reasonOf(error) });
    }
  };

  const train = (task: TrainTask): void => {
    const abort = new AbortController();
    training.set(task.announce_hash, abort);
    const run = bring(task.base_hash).then(() =>
      jobs.run(task.job_id, async (runner): Promise<NodeEvent> => {
        abort.signal.throwIfAborted();
        return { type: "trained", ...(await runner.train(task, abort.signal)) };
      }),
    );
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

  const perform = (effect: NodeEffect): void => {
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
        context.trails.openFor(effect.hash);
        return;
      case "fetch_blob": {
        const { hash, sources, size_bytes } = effect;
        const fetched =
          size_bytes > jobs.deltaBytesMax()
            ? Promise.reject(new MagnetError("BLOB_TOO_LARGE", "no job has such a pseudo-gradient"))
            : context.fetchBlob(hash, sources, { size_bytes });
        start(
          fetched.then(() => {
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
        const { merge_hash } = effect.task;
        start(merge(effect.task), (reason) => ({ type: "merge_failed", merge_hash, reason }));
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
        keepEvidence(effect.evidence);
        return;
      case "log":
        log[effect.level](effect.event, effect.fields);
        return;
    }
  };
  const stop = (): void => {
    stopped = true;
    for (const abort of training.values()) abort.abort(new Error("the node is closing"));
  };
  return { perform, stop };
}
