/**
 * Saves the checkpoints of a trainer, on a GPU while it goes on: what is written is the trainer as it was
 * when `save` was called. One checkpoint is written at a time, so `latest` moves forward only and no more
 * than one copy of the arenas is held; the next save waits for the one before.
 */
import type { Arenas, CheckpointContent, CheckpointManifest } from "./checkpoint.ts";
import type { CheckpointStore } from "./checkpoint-store.ts";
import type { Trainer } from "./trainer.ts";

export interface SavedCheckpoint {
  folder: string;
  manifest: CheckpointManifest;
}

export class CheckpointWriter {
  private writing: Promise<void> = Promise.resolve();
  private has_failed = false;

  constructor(
    private readonly trainer: Pick<Trainer, "snapshot">,
    private readonly store: CheckpointStore,
  ) {}

  /**
   * Comes back once the trainer may go on: on a GPU at once, on the CPU when everything is on the
   * disk. Throws what went wrong with this checkpoint or the one before.
   */
  async save(
    content: Omit<CheckpointContent, keyof Arenas>,
    onSaved: (saved: SavedCheckpoint) => void,
  ): Promise<void> {
    await this.settled();
    const snapshot = await this.trainer.snapshot();
    const write = async () => {
      try {
        await snapshot.arrived();
        const { params, m, v } = snapshot;
        onSaved(await this.store.save({ ...content, params, m, v }));
      } finally {
        snapshot.release();
      }
    };
    this.writing = write();
    this.writing.catch(() => {
      this.has_failed = true;
    });
    if (!snapshot.is_copy) await this.settled();
  }

  /** Whether a checkpoint that was being written could not be: `settled` throws it. */
  get failed(): boolean {
    return this.has_failed;
  }
  /** Until what was saved last is on the disk. */
  async settled(): Promise<void> {
    await this.writing;
  }
}
