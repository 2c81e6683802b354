/**
 * The tables of a run's file, and what lies in them. Every trial is a row from the moment it is
 * proposed; outputs lie once under the hash of their content, whichever trials had them.
 */
import type { Hash } from "../../core/types.ts";
import type { Spent } from "../loop/faces.ts";
import type { Configuration, Json, Trial, TrialPlace, TrialSpec, TrialState } from "../types.ts";
import type { OutcomeRecord } from "./outcome-record.ts";

export const STORE_VERSION = 1;
export const STORE_TABLES = `
CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY CHECK (id = 0), header TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS trials (
  trial INTEGER PRIMARY KEY, proposal_key TEXT NOT NULL, spec_key TEXT NOT NULL,
  version INTEGER NOT NULL, strategy TEXT NOT NULL, proposer TEXT NOT NULL,
  task_hash TEXT NOT NULL, configuration TEXT NOT NULL, seed INTEGER NOT NULL,
  fidelity REAL NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  worker TEXT, record TEXT, outcome_address TEXT, score REAL, cpu_s REAL NOT NULL DEFAULT 0,
  error TEXT, log TEXT, queued_ms INTEGER NOT NULL, started_ms INTEGER, ended_ms INTEGER) STRICT;
CREATE INDEX IF NOT EXISTS trials_by_spec ON trials (spec_key, state);
CREATE TABLE IF NOT EXISTS outputs (hash TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS steps (
  key TEXT PRIMARY KEY, attempts INTEGER NOT NULL, result TEXT, trials INTEGER NOT NULL,
  began_ms INTEGER NOT NULL, ended_ms INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS lives (
  life INTEGER PRIMARY KEY, began_ms INTEGER NOT NULL, cpu_s REAL NOT NULL, wall_s REAL NOT NULL)
  STRICT;
`;

/** What a run is: a folder is only resumed with the same. */
export interface RunHeader {
  readonly schema: "magnet.research_run/1";
  readonly task_hash: Hash;
  /** The task document as it was read. */
  readonly task: Json;
  /** Everything else that decides the result: budget, seed, batch size. */
  readonly settings: Json;
  readonly code_version: string;
  /** What a worker may use, null without a limit; absent in runs of earlier versions. */
  readonly memory_bytes?: number | null;
  readonly created_ms: number;
}

/** A trial's row for people and reports; `record` is null unless it is done. */
export interface StoredTrial {
  readonly trial: number;
  readonly place: TrialPlace;
  readonly spec: TrialSpec;
  readonly state: TrialState;
  /** How often a worker was given it. */
  readonly attempts: number;
  readonly worker: string | null;
  readonly record: OutcomeRecord | null;
  readonly outcome_address: Hash | null;
  /** CPU seconds of all attempts, failed ones too. */
  readonly cpu_s: number;
  readonly error: string | null;
  /** The end of what its worker wrote to stderr. */
  readonly log: string | null;
  readonly queued_ms: number;
  readonly started_ms: number | null;
  readonly ended_ms: number | null;
}

/** A step done once: reads of the gate ("gate/N") and of the sealed part ("sealed") among them. */
export interface StoredStep {
  readonly key: string;
  /** More than 1: the run was killed within the step, and did it again. */
  readonly attempts: number;
  readonly done: boolean;
  readonly began_ms: number;
  readonly ended_ms: number | null;
}

/** One process that worked on the run, from its start to its last sign of life. */
export interface Life extends Spent {
  readonly began_ms: number;
}

/** The columns of `trials` as SQLite gives them. */
export interface TrialRow {
  trial: number;
  proposal_key: string;
  version: number;
  strategy: string;
  proposer: string;
  task_hash: string;
  configuration: string;
  seed: number;
  fidelity: number;
  state: string;
  attempts: number;
  worker: string | null;
  record: string | null;
  outcome_address: string | null;
  cpu_s: number;
  error: string | null;
  log: string | null;
  queued_ms: number;
  started_ms: number | null;
  ended_ms: number | null;
}

export function storedTrial(row: TrialRow): StoredTrial {
  const { trial, version, strategy, task_hash, seed, fidelity, attempts, worker, cpu_s } = row;
  return {
    trial,
    place: { version, strategy, proposer: row.proposer as TrialPlace["proposer"] },
    spec: {
      task_hash: task_hash as Hash,
      configuration: JSON.parse(row.configuration) as Configuration,
      ...{ seed, fidelity },
    },
    state: row.state as TrialState,
    ...{ attempts, worker, cpu_s },
    record: row.record === null ? null : (JSON.parse(row.record) as OutcomeRecord),
    outcome_address: row.outcome_address as Hash | null,
    ...{ error: row.error, log: row.log },
    ...{ queued_ms: row.queued_ms, started_ms: row.started_ms, ended_ms: row.ended_ms },
  };
}

/** The trial as the loop sees it; `outputs` are those that its record names. */
export function trialOf(stored: StoredTrial, outputs: Float32Array): Trial {
  const { trial: index, place, spec, state, error, record } = stored;
  const { score, fold_scores, figures, cpu_s } = record ?? {};
  const outcome =
    record === null
      ? null
      : { score: score!, fold_scores: fold_scores!, outputs, figures: figures!, cpu_s: cpu_s! };
  return { index, place, spec, state, outcome, error };
}
