/**
 * What the state machine of the loop asks of its driver, and the generators that ask it with their
 * types. The machine yields a step and is resumed with the answer: no promise, clock or file is
 * known to it, so the same answers lead to the same steps.
 */
import type { Failure, PairedDifference, Trial, TrialSpec } from "../types.ts";
import type { ResearchEventBody, SealedResult } from "./events.ts";
import type {
  Insight,
  Priors,
  Proposal,
  Signature,
  Spent,
  TeacherProposal,
  TeacherRequest,
} from "./faces.ts";

export type Step =
  | { readonly kind: "trials"; readonly batch: Proposal[]; readonly cpu_limit_s: number | null }
  | { readonly kind: "spent" }
  | { readonly kind: "prior"; readonly version: number; readonly signature: Signature }
  | { readonly kind: "record"; readonly insight: Insight }
  | {
      readonly kind: "analyse";
      readonly version: number;
      readonly best: Trial;
      readonly trials: readonly Trial[];
    }
  | { readonly kind: "teach"; readonly request: TeacherRequest }
  | {
      readonly kind: "gate";
      readonly query: number;
      readonly incumbent: TrialSpec;
      readonly contender: TrialSpec;
    }
  /** Fits a model as the final one, before it is known that it stays: the budget learns the cost. */
  | { readonly kind: "fit"; readonly spec: TrialSpec }
  | { readonly kind: "sealed"; readonly final: TrialSpec; readonly baseline: TrialSpec }
  /** Before a decision rests on these trials: what other machines said of them is computed again. */
  | { readonly kind: "vouch"; readonly trials: readonly Trial[] }
  | { readonly kind: "event"; readonly event: ResearchEventBody };

/** A part of the machine that returns R. */
export type Part<R> = Generator<Step, R, unknown>;

export function* askTrials(batch: Proposal[], cpu_limit_s: number | null): Part<Trial[]> {
  return (yield { kind: "trials", batch, cpu_limit_s }) as Trial[];
}
export function* askSpent(): Part<Spent> {
  return (yield { kind: "spent" }) as Spent;
}
export function* askPriors(version: number, signature: Signature): Part<Priors> {
  return (yield { kind: "prior", version, signature }) as Priors;
}
export function* record(insight: Insight): Part<void> {
  yield { kind: "record", insight };
}
export function* askFailures(
  version: number,
  best: Trial,
  trials: readonly Trial[],
): Part<Failure[]> {
  return (yield { kind: "analyse", version, best, trials }) as Failure[];
}
export function* askTeacher(
  request: TeacherRequest,
): Part<{ proposals: readonly TeacherProposal[]; note: string }> {
  return (yield { kind: "teach", request }) as { proposals: TeacherProposal[]; note: string };
}
export function* askGate(
  query: number,
  incumbent: TrialSpec,
  contender: TrialSpec,
): Part<PairedDifference> {
  return (yield { kind: "gate", query, incumbent, contender }) as PairedDifference;
}
export function* askFit(spec: TrialSpec): Part<void> {
  yield { kind: "fit", spec };
}
export function* vouchFor(trials: readonly Trial[]): Part<void> {
  yield { kind: "vouch", trials };
}
export function* askSealed(final: TrialSpec, baseline: TrialSpec): Part<SealedResult> {
  return (yield { kind: "sealed", final, baseline }) as SealedResult;
}
export function* tell(event: ResearchEventBody): Part<void> {
  yield { kind: "event", event };
}
