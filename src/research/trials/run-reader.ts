/**
 * Reads of a run's file (`run.db` in its folder), also while another process writes it. What lies
 * there under a hash is checked against it: a damaged result is as good as none.
 */
import type { Database } from "bun:sqlite";
import fs from "node:fs";
import path from "node:path";
import { sha256Hex } from "../../core/bytes.ts";
import { openDatabase } from "../../core/database.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import type { Hash } from "../../core/types.ts";
import type { Json, Trial } from "../types.ts";
import { outputsOf } from "./outcome-record.ts";
import {
  type Life,
  type RunHeader,
  STORE_TABLES,
  STORE_VERSION,
  type StoredStep,
  type StoredTrial,
  storedTrial,
  type TrialRow,
  trialOf,
} from "./trial-rows.ts";

export const RUN_FILE = "run.db";
/** Name of the folder's lock (core/folder-lock.ts). */
export const RUN_LOCK = "run";

const corrupt = (message: string, cause?: unknown) =>
  new MagnetError("RUN_CORRUPT", message, {
    hint: "the run cannot be resumed; start it again in another folder",
    cause,
  });

export function openRunFile(folder: string): Database {
  const file = path.join(folder, RUN_FILE);
  const database = openDatabase({
    ...{ file, version: STORE_VERSION, tables: STORE_TABLES },
    // A result lost in a power failure is computed again, to the same bits.
    durable: false,
    unusable: corrupt,
  });
  try {
    const { quick_check } = database.query("PRAGMA quick_check(1)").get() as {
      quick_check: string;
    };
    if (quick_check !== "ok") throw corrupt(`${file}: ${quick_check.replaceAll("\n", " ")}`);
  } catch (error) {
    database.close();
    throw error instanceof MagnetError ? error : corrupt(`${file}: ${(error as Error).message}`);
  }
  return database;
}

/** SQLite's failures by name: a full disk, a damaged file. */
function guarded<T>(folder: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const code = String((error as { code?: unknown }).code);
    const file = path.join(folder, RUN_FILE);
    if (code === "SQLITE_FULL" || code.startsWith("SQLITE_IOERR"))
      throw toMagnetError({ code: "SQLITE_FULL", path: file });
    if (code === "SQLITE_CORRUPT" || code === "SQLITE_NOTADB")
      throw corrupt(`${file}: ${(error as Error).message}`, error);
    throw toMagnetError(error);
  }
}

/** Reads of a run's file that need no lock: another process may be writing. */
export class RunReader {
  constructor(
    readonly folder: string,
    protected readonly database: Database,
  ) {}

  /** Opens an existing run for reading, also while it runs. Throws RUN_NOT_FOUND, RUN_CORRUPT. */
  static open(folder: string): RunReader {
    if (!fs.existsSync(path.join(folder, RUN_FILE)))
      throw new MagnetError("RUN_NOT_FOUND", `${folder} holds no research run`, {
        hint: "magnet research list shows the runs",
      });
    return new RunReader(folder, openRunFile(folder));
  }

  protected read<T>(work: (database: Database) => T): T {
    return guarded(this.folder, () => work(this.database));
  }

  /** Null before the run was begun. */
  header(): RunHeader | null {
    const row = this.read((d) => d.query("SELECT header FROM run").get()) as {
      header: string;
    } | null;
    return row === null ? null : (JSON.parse(row.header) as RunHeader);
  }

  /** What the run was begun with. Throws RUN_NOT_BEGUN: an early failure leaves such a file. */
  begun(): RunHeader {
    const header = this.header();
    if (header) return header;
    throw new MagnetError("RUN_NOT_BEGUN", `the run in ${this.folder} ended before it began`, {
      hint: "remove the folder and run the task again",
    });
  }

  count(): number {
    const row = this.read((d) => d.query("SELECT count(*) AS n FROM trials").get());
    return (row as { n: number }).n;
  }

  trial(index: number): StoredTrial | null {
    const row = this.read((d) => d.query("SELECT * FROM trials WHERE trial = ?").get(index));
    return row === null ? null : storedTrial(row as TrialRow);
  }

  /** All trials in order of proposal, from `first` on. */
  trials(first = 0): StoredTrial[] {
    const rows = this.read((d) =>
      d.query("SELECT * FROM trials WHERE trial >= ? ORDER BY trial").all(first),
    );
    return (rows as TrialRow[]).map(storedTrial);
  }

  /** Outputs under this hash, checked against it; null where they are absent or damaged. */
  outputs(hash: Hash): Uint8Array | null {
    const row = this.read((d) => d.query("SELECT bytes FROM outputs WHERE hash = ?").get(hash));
    const bytes = (row as { bytes: Uint8Array } | null)?.bytes ?? null;
    return bytes !== null && sha256Hex(bytes) === hash ? bytes : null;
  }

  /** The trial with its outcome; null where it is not there or its outputs are damaged. */
  whole(index: number): Trial | null {
    const stored = this.trial(index);
    if (stored === null) return null;
    const hash = stored.record?.outputs_hash ?? null;
    const bytes = hash === null ? new Uint8Array() : this.outputs(hash);
    return bytes === null ? null : trialOf(stored, outputsOf(bytes));
  }

  steps(): StoredStep[] {
    const rows = this.read((d) =>
      d
        .query(
          "SELECT key, attempts, result IS NOT NULL AS done, began_ms, ended_ms FROM steps ORDER BY rowid",
        )
        .all(),
    );
    return (rows as (StoredStep & { done: unknown })[]).map((row) => ({
      ...row,
      done: Boolean(row.done),
    }));
  }

  /** What a step has found; null where it was not done. */
  stepResult(key: string): Json {
    const query = "SELECT result FROM steps WHERE key = ?";
    const row = this.read((d) => d.query(query).get(key)) as { result: string | null } | null;
    return row?.result ? (JSON.parse(row.result) as Json) : null;
  }

  /** Each opening of rows that the search never sees, in order; an interrupted one counts again. */
  reads(): { part: "gate" | "sealed"; key: string }[] {
    return this.steps().flatMap(({ key, attempts }) => {
      const part = /^(gate|sealed)([/~]|$)/.exec(key)?.[1];
      return Array.from({ length: part ? attempts : 0 }, () => ({
        ...{ part: part as "gate" | "sealed", key },
      }));
    });
  }

  /** Numbers of gate queries that were asked and later undone (TrialStore.distrust). */
  lostQueries(): number[] {
    return this.steps().flatMap(({ key }) => {
      const query = /^gate\/(\d+)~/.exec(key)?.[1];
      return query === undefined ? [] : [Number(query)];
    });
  }

  lives(): Life[] {
    const query = "SELECT began_ms, cpu_s, wall_s FROM lives ORDER BY life";
    return this.read((d) => d.query(query).all()) as Life[];
  }

  close(): void {
    this.database.close();
  }
}
