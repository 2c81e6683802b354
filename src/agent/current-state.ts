/**
 * Which model states this disk holds and which one is current, in one small file that is replaced
 * atomically: after a crash the node starts from the last state that it adopted.
 */
import fs from "node:fs";
import path from "node:path";
import { z } from "zod";
import type { Hash } from "../core/types.ts";
import type { BlobStore } from "../storage/blobs.ts";
import { replaceFileSync } from "./durable-state.ts";

/** The current state and the one before it, from which a slower peer may still need to merge. */
const STATES_KEPT = 2;

const entrySchema = z.strictObject({
  state_hash: z.string().regex(/^[0-9a-f]{64}$/),
  job_id: z.string().regex(/^[0-9a-f]{64}$/),
  round: z.int().min(0),
});
const fileSchema = z.strictObject({ states: z.array(entrySchema).max(STATES_KEPT) });
export type AdoptedState = { state_hash: Hash; job_id: Hash; round: number };

/** Null for what is no JSON: the list is only a help, peers have the certified state. */
function readJson(file: string): unknown {
  const text = fs.readFileSync(file, "utf8");
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export class CurrentState {
  readonly #file: string;
  #states: AdoptedState[] = [];

  /** Reads the list; states whose blob is gone are left out, and fetched from peers when needed. */
  constructor(data_dir: string, blobs: BlobStore) {
    this.#file = path.join(data_dir, "state", "current.json");
    if (!fs.existsSync(this.#file)) return;
    const parsed = fileSchema.safeParse(readJson(this.#file));
    const known = (parsed.success ? parsed.data.states : []) as AdoptedState[];
    this.#states = known.filter(({ state_hash }) => blobs.has(state_hash));
  }

  /** Newest first. */
  get states(): readonly AdoptedState[] {
    return this.#states;
  }

  /** Makes a state current, durably; returns the states that are no longer kept. */
  adopt(state: AdoptedState): Hash[] {
    const others = this.#states.filter(({ state_hash }) => state_hash !== state.state_hash);
    const all = [state, ...others];
    this.#states = all.slice(0, STATES_KEPT);
    replaceFileSync(this.#file, JSON.stringify({ states: this.#states }));
    return all.slice(STATES_KEPT).map(({ state_hash }) => state_hash);
  }
}
