/**
 * The durable memory of one run: a SQLite file in the run's folder (`run.db`), written by one
 * process at a time. Whatever was stored when a process was killed is there for the next one, which
 * gives the loop the same answers again; what was running is queued again. A result is returned as
 * it was stored, never as it came, so a resumed run cannot differ from an uninterrupted one.
 */
import type { Database } from "bun:sqlite";
import fs from "node:fs";
import { canonicalJson } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import { invariant, MagnetError, toMagnetError } from "../../core/errors.ts";
import { lockFolder } from "../../core/folder-lock.ts";
import type { Proposal, Spent } from "../loop/faces.ts";
import type { TrialState } from "../types.ts";
import { ERROR_LENGTH_MAX } from "./limits.ts";
import { type OutcomeRecord, outcomeAddress, proposalKey, specKey } from "./outcome-record.ts";
import { openRunFile, RUN_LOCK, RunReader } from "./run-reader.ts";
import { type RunHeader, type StoredTrial, storedTrial, type TrialRow } from "./trial-rows.ts";

/** How a trial ended. */
export interface TrialEnd {
  readonly state: Extract<TrialState, "done" | "crashed" | "timed_out" | "pruned">;
  readonly record: OutcomeRecord | null;
  /** Bytes of the outputs that the record names. */
  readonly outputs: Uint8Array | null;
  readonly error: string | null;
  readonly log: string | null;
  readonly cpu_s: number;
  /** Of a copied result, whose it was; else who began it. */
  readonly worker?: string | null;
}

/** The one writer of a run. */
export class TrialStore extends RunReader {
  readonly #clock: Clock;
  readonly #unlock: () => void;
  #life = 0;

  private constructor(folder: string, database: Database, clock: Clock, unlock: () => void) {
    super(folder, database);
    this.#clock = clock;
    this.#unlock = unlock;
  }

  /**
   * Opens a run's folder, new or begun earlier. Throws RUN_BUSY where another process works on it,
   * RUN_CORRUPT, DISK_FULL.
   */
  static openFolder(folder: string, clock: Clock): TrialStore {
    try {
      fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw toMagnetError(error);
    }
    const unlock = lockFolder({
      folder,
      name: RUN_LOCK,
      busy: (holder) =>
        new MagnetError("RUN_BUSY", `another process works on the run in ${folder}${holder}`, {
          hint: "magnet research list shows what runs; wait, stop it, or choose another folder",
        }),
      unusable: (file, cause) =>
        new MagnetError("RUN_CORRUPT", `${file}: ${(cause as Error).message}`, {
          hint: "delete this file if nothing runs on the folder",
          cause,
        }),
    });
    try {
      return new TrialStore(folder, openRunFile(folder), clock, unlock);
    } catch (error) {
      unlock();
      throw error;
    }
  }

  /**
   * Begins the run, or checks that it is the same one and queues again what was running. Throws
   * RUN_DIFFERS, naming what differs.
   */
  begin(header: Omit<RunHeader, "schema" | "created_ms">): RunHeader {
    const known = this.header();
    const now_ms = this.#clock.now_ms();
    const whole = { schema: "magnet.research_run/1" as const, ...header, created_ms: now_ms };
    for (const key of ["task_hash", "settings", "code_version"] as const)
      if (known !== null && canonicalJson(known[key]) !== canonicalJson(header[key]))
        throw differs(this.folder, key, known[key], header[key]);
    this.#write((d) => {
      if (known === null)
        d.query("INSERT INTO run (id, header) VALUES (0, ?)").run(JSON.stringify(whole));
      d.query("UPDATE trials SET state = 'queued', worker = NULL WHERE state = 'running'").run();
      const row = d
        .query("INSERT INTO lives (began_ms, cpu_s, wall_s) VALUES (?, 0, 0) RETURNING life")
        .get(now_ms);
      this.#life = (row as { life: number }).life;
    });
    return known ?? whole;
  }

  /** Stores what this process has used until now. */
  noteSpent({ cpu_s, wall_s }: Spent): void {
    const query = "UPDATE lives SET cpu_s = ?, wall_s = ? WHERE life = ?";
    this.read((d) => d.query(query).run(cpu_s, wall_s, this.#life));
  }

  /** What earlier processes have used together. */
  spentBefore(): Spent {
    const query =
      "SELECT total(cpu_s) AS cpu_s, total(wall_s) AS wall_s FROM lives WHERE life <> ?";
    return this.read((d) => d.query(query).get(this.#life)) as Spent;
  }

  /** Queues proposals as trials `first`, `first` + 1...; those known already must be the same. */
  queue(first: number, batch: readonly Proposal[]): StoredTrial[] {
    const insert = `INSERT INTO trials (trial, proposal_key, spec_key, version, strategy, proposer,
      task_hash, configuration, seed, fidelity, state, queued_ms)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?)`;
    const now_ms = this.#clock.now_ms();
    this.#write((d) => {
      for (const [i, proposal] of batch.entries()) {
        const index = first + i;
        const key = proposalKey(proposal);
        const query = "SELECT proposal_key FROM trials WHERE trial = ?";
        const known = d.query(query).get(index) as { proposal_key: string } | null;
        if (known !== null && known.proposal_key !== key) throw diverged(this.folder, index);
        if (known !== null) continue;
        const { place, spec } = proposal;
        d.query(insert).run(
          ...[index, key, specKey(spec), place.version, place.strategy, place.proposer],
          ...[spec.task_hash, JSON.stringify(spec.configuration), spec.seed, spec.fidelity],
          now_ms,
        );
      }
    });
    return batch.map((_, i) => this.trial(first + i)!);
  }

  started(index: number, worker: string): void {
    this.#write((d) =>
      d
        .query(
          `UPDATE trials SET state = 'running', worker = ?, attempts = attempts + 1, started_ms = ?
           WHERE trial = ?`,
        )
        .run(worker, this.#clock.now_ms(), index),
    );
  }

  /** Back into the queue: its worker was lost, or the run stops. */
  requeue(index: number, cpu_s: number): void {
    const query =
      "UPDATE trials SET state = 'queued', worker = NULL, cpu_s = cpu_s + ? WHERE trial = ?";
    this.#write((d) => d.query(query).run(cpu_s, index));
  }

  /** Stores how a trial ended, with its outputs, in one step. */
  end(index: number, end: TrialEnd): StoredTrial {
    const { state, record, outputs, error, log, cpu_s, worker = null } = end;
    invariant((state === "done") === (record !== null), "a record belongs to a done trial");
    const known = this.trial(index);
    invariant(known !== null, `trial ${index} was never queued`);
    const address = record === null ? null : outcomeAddress(known.spec, record);
    this.#write((d) => {
      if (record?.outputs_hash)
        d.query("INSERT OR REPLACE INTO outputs (hash, bytes) VALUES (?, ?)").run(
          record.outputs_hash,
          outputs,
        );
      d.query(
        `UPDATE trials SET state = ?, record = ?, outcome_address = ?, score = ?, error = ?, log = ?,
         cpu_s = cpu_s + ?, ended_ms = ?, worker = coalesce(?, worker) WHERE trial = ?`,
      ).run(
        ...[state, record === null ? null : JSON.stringify(record), address],
        ...[record?.score ?? null, error, log, cpu_s, this.#clock.now_ms(), worker, index],
      );
    });
    return this.trial(index)!;
  }

  /** Forgets a result whose outputs were damaged on the disk; it is computed again. */
  forget(index: number): void {
    const query = `UPDATE trials SET state = 'queued', record = NULL, outcome_address = NULL,
      score = NULL WHERE trial = ?`;
    this.#write((d) => d.query(query).run(index));
  }

  /**
   * Undoes all that followed from results of a worker that was found to be wrong: the run goes on
   * from its first one when it is resumed. Reads of gate and sealed stay in the log, under another
   * key: they did happen. Returns how many trials were dropped.
   */
  distrust(worker: string): number {
    const query = "SELECT min(trial) AS first FROM trials WHERE worker = ?";
    const { first } = this.read((d) => d.query(query).get(worker)) as { first: number | null };
    if (first === null) return 0;
    const dropped = this.#undoAfter(first);
    this.forget(first);
    return dropped;
  }

  /** Has a trial count as crashed, undoing what followed from its result, as distrust does. */
  giveUp(index: number, error: string): number {
    const dropped = this.#undoAfter(index);
    this.forget(index);
    this.end(index, {
      ...{ state: "crashed", record: null, outputs: null, log: null, cpu_s: 0 },
      error: error.slice(0, ERROR_LENGTH_MAX),
    });
    return dropped;
  }

  #undoAfter(first: number): number {
    const dropped = this.count() - first;
    this.#write((d) => {
      d.query("DELETE FROM trials WHERE trial > ?").run(first);
      d.query(
        "DELETE FROM steps WHERE trials > ? AND key NOT GLOB 'gate/*' AND key <> 'sealed'",
      ).run(first);
      d.query(
        `UPDATE steps SET key = key || '~' || (SELECT count(*) FROM steps)
         WHERE trials > ? AND key NOT GLOB '*~*'`,
      ).run(first);
    });
    return dropped;
  }

  /** A done trial of the same specification: equal specifications have equal outcomes. */
  sameSpec(index: number): StoredTrial | null {
    const query = `SELECT b.* FROM trials a JOIN trials b ON a.spec_key = b.spec_key
      WHERE a.trial = ? AND b.trial <> a.trial AND b.state = 'done' ORDER BY b.trial LIMIT 1`;
    const row = this.read((d) => d.query(query).get(index));
    return row === null ? null : storedTrial(row as TrialRow);
  }

  /** See TrialRunner.once. The beginning is stored before the step, its result after it. */
  async once<T>(key: string, step: () => T | Promise<T>): Promise<T> {
    const query = "SELECT result FROM steps WHERE key = ?";
    const known = this.read((d) => d.query(query).get(key)) as { result: string | null } | null;
    if (known?.result) return JSON.parse(known.result) as T;
    const now_ms = this.#clock.now_ms();
    this.#write((d) =>
      d
        .query(
          `INSERT INTO steps (key, attempts, trials, began_ms)
           VALUES (?, 1, (SELECT count(*) FROM trials), ?)
           ON CONFLICT (key) DO UPDATE SET attempts = attempts + 1`,
        )
        .run(key, now_ms),
    );
    // As a resumed run will read it: what JSON does not hold must not be seen even once.
    const text = JSON.stringify((await step()) ?? null);
    this.#write((d) =>
      d
        .query("UPDATE steps SET result = ?, ended_ms = ? WHERE key = ?")
        .run(text, this.#clock.now_ms(), key),
    );
    return JSON.parse(text) as T;
  }

  #write(work: (database: Database) => void): void {
    this.read((database) => database.transaction(() => work(database)).immediate());
  }

  override close(): void {
    super.close();
    this.#unlock();
  }
}

function differs(folder: string, key: string, known: unknown, now: unknown): MagnetError {
  const short = (value: unknown) => canonicalJson(value).slice(0, 120);
  const what = { task_hash: "the task or its data", settings: "its settings" }[key] ?? "magnet";
  return new MagnetError(
    "RUN_DIFFERS",
    `the run in ${folder} was begun with another version of ${what}: ${short(known)}, now ${short(now)}`,
    { hint: "a run is resumed with what it was begun with; start a new one in another folder" },
  );
}

const diverged = (folder: string, index: number) =>
  new MagnetError(
    "RUN_DIVERGED",
    `the run in ${folder} proposes another trial ${index} than in its earlier life`,
    { hint: "this is a bug in magnet: please report it with the folder; start the run again" },
  );
