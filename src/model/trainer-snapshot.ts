/**
 * A trainer's state as it was between two calls, to be read at leisure. On a GPU it is copied into the
 * host's memory beside the calls that follow, and only an update waits, on the device, until it may
 * overwrite what is being copied; nothing of the device's memory is taken, and of the host's the copies
 * of the arenas (12 bytes a parameter), made once. On the CPU such copies would be memory that the model
 * could have, and writing them work for the same cores: there a snapshot is the arenas themselves.
 */
import { MagnetError } from "../core/errors.ts";
import type { Address } from "../native/ffi.ts";
import type { TrainerBindings } from "../native/train.ts";

export interface Snapshot {
  readonly params: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
  /** A copy beside which the trainer goes on. Else the arenas themselves: no call until `release`. */
  readonly is_copy: boolean;
  /** Until the views hold the values; they do until `release`. */
  arrived(): Promise<void>;
  release(): void;
}

/** Of the trainer. */
interface SnapshotHost {
  is_gpu: boolean;
  native: TrainerBindings;
  views(): Pick<Snapshot, "params" | "m" | "v">;
  handle(): Address;
  exclusive<T>(call: (handle: Address) => Promise<T>): Promise<T>;
}

/** The snapshots of one trainer: one at a time, and none before the last is released. */
export class Snapshots {
  #held: Snapshot | null = null;
  constructor(private readonly host: SnapshotHost) {}

  async take(): Promise<Snapshot> {
    this.requireReleased();
    const { is_gpu, native } = this.host;
    const { mg_trainer_snapshot, mg_trainer_snapshot_wait } = native.async;
    if (is_gpu) await this.host.exclusive((handle) => mg_trainer_snapshot(undefined, handle));
    const snapshot: Snapshot = {
      ...this.host.views(),
      is_copy: is_gpu,
      arrived: async () => {
        if (is_gpu) await mg_trainer_snapshot_wait(undefined, this.host.handle());
      },
      release: () => {
        if (this.#held === snapshot) this.#held = null;
      },
    };
    this.#held = snapshot;
    return snapshot;
  }

  /** Throws TRAINER_BUSY while one is held; with `copies_too` false only where it is no copy. */
  requireReleased({ copies_too } = { copies_too: true }): void {
    if (!this.#held || (this.#held.is_copy && !copies_too)) return;
    throw new MagnetError("TRAINER_BUSY", "a snapshot of this trainer is still being read", {
      hint: "release it first",
      retryable: true,
    });
  }
}
