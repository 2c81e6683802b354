/**
 * The demo's settings in one place, found by measurement at about 100 s of two cores: small
 * batches, since what counts for a model this small is the number of inner steps; many short
 * rounds, since each merge averages the workers' noise away; a mild outer momentum, since 24 rounds
 * are too few for 0.9.
 */

import { INNER_DEFAULTS } from "../../agent/job.ts";
import type { NetworkFile } from "../../agent/network-file.ts";
import type { JobSettings } from "../../agent/prepare-job.ts";
import { type ModelConfig, PRESETS } from "../../model/config.ts";

/** Processes; with the 4+2 code each holds one or two shards, and any one of them may go. */
export const AGENTS = 4;
/** Threads of each: four agents share the cores. */
export const AGENT_THREADS = 1;

export const DEMO_MODEL: ModelConfig = PRESETS.demo!;

export const DEMO_JOB: JobSettings = {
  name: "demo",
  rounds: 24,
  inner_steps: 50,
  batch: 2,
  inner: { lr: 3e-3, ...INNER_DEFAULTS },
  outer: { lr: 0.8, momentum: 0.4 },
  compression: "int4",
  round_deadline_ms: 60_000,
  heldout_sequences: 32,
  seed: 1,
};

/** The agent that is killed goes after this share of the rounds, once it has committed. */
export const KILL_AFTER_SHARE = 0.4;

/** Loopback timing: a dead agent is noticed within seconds. */
export const DEMO_TIMING: NetworkFile["timing"] = {
  heartbeat_ms: 250,
  suspect_ms: 1500,
  dead_ms: 3000,
  view_timeout_ms: 1500,
  grace_ms: 3000,
  repair_after_ms: 1000,
};

/** What the trained model is asked to go on with. */
export const PROMPT = "The President of the United States";
export const ANSWER_TOKENS = 48;
export const ANSWER_SAMPLING = { temperature: 0.5, top_p: 0.9, repetition_penalty: 1.2, seed: 1 };
