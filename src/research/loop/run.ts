/**
 * Drives the loop: answers the state machine's steps through the runner, the domain, the knowledge
 * base and the teacher. Steps that are not a function of stored outcomes (what a teacher says,
 * what the knowledge base held, what the clocks read, every look at gate and sealed) go through
 * `runner.once`, so that a resumed run is told the same again.
 */
import { canonicalJson } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import type { FinalModel, ResearchDomain, TrialSpec } from "../types.ts";
import { Budget, type BudgetLimits } from "./budget.ts";
import type { ResearchEvent, ResearchResult, SealedResult } from "./events.ts";
import type { KnowledgeSource, TeacherSource, TrialRunner } from "./faces.ts";
import { Gate } from "./gate.ts";
import { research } from "./machine.ts";
import { RunState, randomFor } from "./run-state.ts";
import type { Step } from "./steps.ts";

export interface ResearchOptions {
  readonly domain: ResearchDomain;
  readonly budget: BudgetLimits;
  /** Of the learners, the folds and all draws of the loop. */
  readonly seed: number;
  /** Trials proposed at once; the same whatever the number of workers. */
  readonly batch?: number;
  /** Versions without a gain before the run has converged; absent: 3, and time is used up. */
  readonly patience?: number;
  readonly epsilon?: number;
  readonly runner: TrialRunner;
  readonly knowledge?: KnowledgeSource;
  readonly teacher?: TeacherSource;
  readonly onEvent?: (event: ResearchEvent) => void;
  /** Ends the run between steps; a durable runner resumes it. */
  readonly signal?: AbortSignal;
}

/** A run's result and the model it ended with. */
export interface Researched {
  readonly result: ResearchResult;
  readonly model: FinalModel;
}

const DEFAULT_BATCH = 4;

/** Runs Algorithm 1 to its end. Throws BAD_BUDGET, BASELINE_FAILED, or the signal's reason. */
export async function runResearch(options: ResearchOptions): Promise<Researched> {
  const { domain, seed } = options;
  const batch = options.batch ?? DEFAULT_BATCH;
  if (!Number.isInteger(batch) || batch < 1)
    throw new MagnetError("BAD_BATCH", `a batch of ${batch} trials`, {
      hint: "give a whole number from 1 on",
      exit: "config",
    });
  const state = new RunState(
    domain,
    {
      seed,
      batch,
      patience: options.patience ?? null,
      epsilon: options.epsilon ?? null,
      taught: options.teacher !== undefined,
    },
    new Budget(options.budget),
    new Gate(randomFor(seed, "gate"), { lost: options.runner.lostQueries?.() ?? [] }),
  );
  const driver = new Driver(options);
  const machine = research(state);
  let step = machine.next();
  while (!step.done) {
    options.signal?.throwIfAborted();
    step = machine.next(await driver.answer(step.value));
  }
  return { result: { ...step.value, spent: options.runner.spent() }, model: await driver.model() };
}

class Driver {
  readonly #options: ResearchOptions;
  #events = 0;
  #clocks = 0;
  #fits = 0;
  /** Final models by their specification. */
  readonly #fitted = new Map<string, Promise<FinalModel>>();
  #final: TrialSpec | null = null;

  constructor(options: ResearchOptions) {
    this.#options = options;
  }

  async answer(step: Step): Promise<unknown> {
    const { runner, domain, knowledge, teacher, signal } = this.#options;
    switch (step.kind) {
      case "trials": {
        const run = { cpu_limit_s: step.cpu_limit_s, ...(signal ? { signal } : {}) };
        return runner.run(step.batch, run);
      }
      case "spent":
        return runner.once(`spent/${this.#clocks++}`, () => runner.spent());
      case "prior":
        return knowledge
          ? runner.once(`prior/${step.version}`, () =>
              knowledge.prior(step.signature, step.version),
            )
          : {};
      case "record":
        return knowledge?.record(step.insight);
      case "analyse":
        return runner.once(`failures/${step.version}`, () =>
          domain.analyse(step.best, step.trials),
        );
      case "teach":
        return runner.once(`teacher/${step.request.version}`, async () => {
          // A teacher that cannot be reached costs its ideas, never the run.
          if (!teacher) return { proposals: [], note: "no teacher" };
          try {
            return await teacher.propose(step.request, signal);
          } catch (error) {
            signal?.throwIfAborted();
            return { proposals: [], note: `the teacher failed: ${messageOf(error)}` };
          }
        });
      case "gate":
        return runner.once(`gate/${step.query}`, async () => {
          const scores = await domain.gateScores(step.incumbent, step.contender);
          return scores.gate;
        });
      case "fit":
        return runner.once(`fit/${this.#fits++}`, async () => {
          await this.#fit(step.spec);
          return { fitted: true };
        });
      case "sealed":
        return this.#sealed(step);
      case "vouch":
        return runner.vouch?.(
          step.trials.map(({ index }) => index),
          signal,
        );
      case "event":
        this.#options.onEvent?.({ index: this.#events++, ...step.event });
        return undefined;
    }
  }

  /** Once in a life of the run: what an earlier one fitted is fitted again, to the same model. */
  #fit(spec: TrialSpec): Promise<FinalModel> {
    const key = canonicalJson(spec);
    const known = this.#fitted.get(key);
    if (known) return known;
    const fitted = this.#options.domain.fitFinal(spec);
    this.#fitted.set(key, fitted);
    return fitted;
  }

  /** Fits both models and opens the sealed part, once in the life of a run. */
  async #sealed(step: Extract<Step, { kind: "sealed" }>): Promise<SealedResult> {
    const { runner, domain } = this.#options;
    this.#final = step.final;
    return runner.once("sealed", async () => {
      const model = await this.#fit(step.final);
      return sealedResult(domain, model, await this.#fit(step.baseline));
    });
  }

  /** A resumed run that has opened the sealed part only fits the model again. */
  async model(): Promise<FinalModel> {
    if (!this.#final) throw new Error("invariant broken: the run ended without a final model");
    return this.#fit(this.#final);
  }
}

/** Opens the sealed part: of a run's end, and of who verifies it. */
export async function sealedResult(
  domain: ResearchDomain,
  model: FinalModel,
  baseline: FinalModel,
): Promise<SealedResult> {
  const opened = await domain.openSealed(model, baseline);
  return { ...opened, no_edge: !(opened.model.low > opened.trivial.score) };
}

const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split("\n")[0]!;
