/**
 * Which files of audits stay on the disk: those of audits under way, and as evidence those of
 * contributions that were found wrong, the newest first, within half of the store.
 */
import type { Hash } from "../../core/types.ts";
import { readTrail } from "../trail/trail.ts";
import type { AuditFiles } from "./audit-files.ts";
import type { TrainingAudit, TrainingBook } from "./book.ts";

export class EvidenceKeeper {
  readonly #book: TrainingBook;
  readonly #files: AuditFiles;
  #sweeping: Promise<void> | null = null;

  constructor(book: TrainingBook, files: AuditFiles) {
    this.#book = book;
    this.#files = files;
  }

  /** Everything that an audit has fetched: its trail, the one before, the points, the residual. */
  async #filesOf({ round, author }: TrainingAudit): Promise<Hash[]> {
    const value = this.#book.case(round, author)?.value;
    const text = value?.trail_hash ? await this.#files.trail(value.trail_hash) : null;
    const trail = text === null ? null : readTrail(text);
    const hashes: (Hash | null)[] = [value?.trail_hash ?? null];
    if (value && trail) {
      const { points, previous, residual_before } = trail;
      const [start, end] = [points[value.stretch], points[value.stretch + 1]];
      for (const point of [start, end, points[0], points.at(-1)])
        if (point) hashes.push(point.params, point.moments);
      hashes.push(previous, residual_before);
    }
    return hashes.filter((hash) => hash !== null);
  }

  /** Deletes the rest. Call it while no audit is being done; audits that begin wait for `idle`. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep().finally(() => {
      this.#sweeping = null;
    });
    return this.#sweeping;
  }

  /** Fulfilled while no files are being deleted. */
  get idle(): Promise<void> {
    return this.#sweeping?.catch(() => undefined) ?? Promise.resolve();
  }

  async #sweep(): Promise<void> {
    if (this.#files.store.list().length === 0) return;
    const needed = new Set<Hash>();
    for (const audit of this.#book.due())
      for (const hash of await this.#filesOf(audit)) needed.add(hash);
    let room = this.#files.quota_bytes / 2;
    const wrong = this.#book.done().filter(({ state }) => state === "wrong");
    for (const audit of wrong.reverse()) {
      const hashes = await this.#filesOf(audit);
      room -= hashes.reduce((sum, hash) => sum + (this.#files.store.size(hash) ?? 0), 0);
      if (room < 0) break;
      for (const hash of hashes) needed.add(hash);
    }
    await this.#files.keepOnly(needed);
  }
}
