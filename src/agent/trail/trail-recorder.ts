/**
 * Records one round's trail while its steps are done. On a GPU a point is copied and written beside the
 * steps that follow; on the CPU, whose arrays are read in place, training waits for it. A point that cannot
 * be written ends the recording and not the training: the contribution then has no trail.
 */
import { toMagnetError } from "../../core/errors.ts";
import { roomLog } from "../../core/log.ts";
import type { Hash } from "../../core/types.ts";
import type { TrainTask } from "../../diloco/round-types.ts";
import type { Trainer } from "../../model/trainer.ts";
import type { Device } from "../../native/device.ts";
import type { JobSpec } from "../job.ts";
import { stretchesOf, strideOf, type Trail, type TrailPoint, trailHash } from "./trail.ts";
import type { TrailStore } from "./trail-store.ts";

const log = roomLog("agent");

export interface RecordedRound {
  store: TrailStore;
  trainer: Pick<Trainer, "snapshot" | "arena" | "pull" | "param_count">;
  job: JobSpec;
  task: Pick<TrainTask, "announce_hash" | "round">;
  device: Device["kind"];
  /** What the moments and the residual are the end of; null: zeros. */
  previous: Trail | null;
  /** Inner steps that the moments have seen. */
  optimizer_steps: number;
}

/** Bytes of a round's points, the residuals included, that are not here as the end of another round. */
export function trailBytes(job: JobSpec, n: number, has_previous: boolean): number {
  const start = has_previous ? 4 * n : 12 * n;
  return start + stretchesOf(job) * 12 * n + 4 * n;
}

export class TrailRecorder {
  readonly #points: TrailPoint[] = [];
  readonly #stride: number;
  #writing: Promise<void> = Promise.resolve();
  #has_failed = false;

  private constructor(private readonly round: RecordedRound) {
    this.#stride = strideOf(round.job);
  }

  /** Begins with the base's weights, which must not change while the steps are done. */
  static start(round: RecordedRound, base: Float32Array): TrailRecorder {
    const recorder = new TrailRecorder(round);
    recorder.#write(() => recorder.#start(base));
    return recorder;
  }

  async #start(base: Float32Array): Promise<void> {
    const { store, previous } = this.round;
    const params = await store.put(base);
    const zeros = () => new Float32Array(base.length);
    const last = previous?.points.at(-1);
    if (last) this.#points.push({ step: 0, params, moments: last.moments });
    else {
      const m = zeros();
      this.#points.push({ step: 0, params, moments: await store.put(m, m) });
    }
  }

  /** One thing is written at a time; what fails is told once. */
  #write(work: () => Promise<void>): void {
    this.#writing = this.#writing
      .then(() => (this.#has_failed ? undefined : work()))
      .catch((error) => {
        this.#has_failed = true;
        const { code, message } = toMagnetError(error);
        log.warn("trail_not_kept", { round: this.round.task.round, code, reason: message });
      });
  }

  /** After so many steps; comes back once the trainer may go on. */
  async stepDone(step: number): Promise<void> {
    if (this.#has_failed) return;
    if (step % this.#stride !== 0 && step !== this.round.job.inner_steps) return;
    await this.settled();
    const { store, trainer } = this.round;
    const snapshot = await trainer.snapshot();
    this.#write(async () => {
      await snapshot.arrived();
      const params = await store.put(snapshot.params);
      const moments = await store.put(snapshot.m, snapshot.v);
      this.#points.push({ step, params, moments });
    });
    this.#writing = this.#writing.finally(() => snapshot.release());
    if (!snapshot.is_copy) await this.settled();
  }

  /** Until nothing of the trainer is read any more. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  /**
   * The trail of the contribution whose last point gave this pseudo-gradient, durable; null where it
   * could not be kept.
   */
  async end(delta_hash: Hash): Promise<{ hash: Hash; trail: Trail } | null> {
    const { store, trainer, task, device, previous, optimizer_steps } = this.round;
    await this.settled();
    let residual_after: Hash | undefined;
    if (!this.#has_failed) {
      await trainer.pull("residual");
      this.#write(async () => {
        residual_after = await store.put(trainer.arena("residual"));
      });
      await this.settled();
    }
    if (residual_after === undefined) {
      await this.abandon();
      return null;
    }
    const trail: Trail = {
      schema: "magnet.trail/1",
      announce_hash: task.announce_hash,
      public_key: store.options.public_key,
      delta_hash,
      device,
      stride: this.#stride,
      optimizer_steps,
      previous: previous && trailHash(previous),
      points: this.#points,
      residual_before: previous?.residual_after ?? null,
      residual_after,
    };
    return { hash: store.add(trail), trail };
  }

  /** The round came to nothing; what was written goes. Never throws. */
  async abandon(): Promise<void> {
    await this.settled();
    await this.round.store.abandon().catch((error) => {
      log.warn("points_not_deleted", { reason: toMagnetError(error).message });
    });
  }
}
