/**
 * A teacher's ideas for a version's sweeps (paper 5, DesignStrategies): it is told the failures,
 * the spaces and what was tried, and answers with settings by path, which are checked here against
 * the space and later by the domain. It never sees a row of the data.
 */
import { z } from "zod";
import type { TeacherProposal, TeacherRequest, TeacherSource } from "../loop/faces.ts";
import { applySettings, type Settings } from "../search/space.ts";
import type { Dimension, Json, Space } from "../types.ts";
import { jsonIn } from "./json-answer.ts";
import { TEACHER_LIMITS } from "./limits.ts";
import type { Teacher } from "./teacher.ts";

const SYSTEM = `You help an automatic machine learning search. You are given the failures found in \
the best model, search spaces of strategies, and earlier trials with their scores (higher is \
better). Propose settings that are likely to score higher than anything tried and that differ \
from each other. Answer with JSON only: {"proposals": [{"strategy": "ID", "settings": \
{"PATH": VALUE, ...}}, ...]}. Use only listed strategies and paths, and values inside their \
bounds; paths left out keep the value of the strategy's base.`;

const answerSchema = z.object({
  proposals: z
    .array(z.object({ strategy: z.string().max(100), settings: z.record(z.string(), z.json()) }))
    .max(200),
});

const sameJson = (a: Json, b: Json) => JSON.stringify(a) === JSON.stringify(b);

/** Whether a value lies on an axis. */
export function onAxis(dimension: Dimension, value: Json): boolean {
  if (dimension.kind === "choice") return dimension.options.some((o) => sameJson(o, value));
  if (typeof value !== "number" || !Number.isFinite(value)) return false;
  if (dimension.kind === "integer" && !Number.isInteger(value)) return false;
  return value >= dimension.min && value <= dimension.max;
}

const insideSpace = (space: Space, settings: Settings): boolean =>
  Object.entries(settings).every(([path, value]) => {
    const dimension = Object.hasOwn(space, path) ? space[path] : undefined;
    return dimension !== undefined && onAxis(dimension, value);
  });

function questionText(request: TeacherRequest): string {
  const { facts, metric, best, failures, sweeps, tried } = request;
  return JSON.stringify({
    task: facts,
    score: metric,
    best,
    failures: failures.map(({ kind, strength, potential, text }) => ({
      kind,
      strength,
      potential,
      text,
    })),
    strategies: sweeps.map(({ strategy, summary, base, space, wanted }) => ({
      ...{ id: strategy, summary, base, space },
      proposals_wanted: wanted,
    })),
    tried: tried.slice(0, TEACHER_LIMITS.tried),
  });
}

/** What of an answer can be used, and how much was dropped. */
export function readProposals(
  request: TeacherRequest,
  answer: string,
): { proposals: TeacherProposal[]; dropped: number } {
  const parsed = answerSchema.safeParse(jsonIn(answer));
  if (!parsed.success) return { proposals: [], dropped: 0 };
  const sweeps = new Map(request.sweeps.map((sweep) => [sweep.strategy, sweep]));
  const left = new Map(request.sweeps.map((sweep) => [sweep.strategy, sweep.wanted]));
  const proposals: TeacherProposal[] = [];
  for (const { strategy, settings } of parsed.data.proposals) {
    const sweep = sweeps.get(strategy);
    const wanted = left.get(strategy) ?? 0;
    if (!sweep || wanted <= 0 || !insideSpace(sweep.space, settings)) continue;
    left.set(strategy, wanted - 1);
    proposals.push({ strategy, configuration: applySettings(sweep.base, settings) });
  }
  return { proposals, dropped: parsed.data.proposals.length - proposals.length };
}

/** A run that ends by the clock does not wait for a teacher until its end. */
function timed(signal: AbortSignal | undefined, wall_s: number | undefined) {
  if (wall_s === undefined) return signal;
  const limit = AbortSignal.timeout(1000 * TEACHER_LIMITS.wall_share * wall_s);
  return signal ? AbortSignal.any([signal, limit]) : limit;
}

/** The loop's teacher. A failed call costs the run nothing but the teacher's ideas. */
export function teacherSource(teacher: Teacher, seed: number, wall_s?: number): TeacherSource {
  let failed = 0;
  return {
    async propose(request, signal) {
      if (failed >= TEACHER_LIMITS.failures)
        return { proposals: [], note: "not asked again: it failed before" };
      const question = {
        system: SYSTEM,
        prompt: questionText(request),
        answer_tokens: TEACHER_LIMITS.answer_tokens,
        temperature: teacher.settings.temperature,
        seed: seed + request.version,
      };
      try {
        const { text } = await teacher.ask(question, timed(signal, wall_s));
        failed = 0;
        const { proposals, dropped } = readProposals(request, text);
        const note =
          proposals.length + dropped === 0
            ? "the answer held no proposals"
            : dropped > 0
              ? `${dropped} outside of the space`
              : "";
        return { proposals, note };
      } catch (error) {
        if (signal?.aborted) throw error;
        failed++;
        return { proposals: [], note: (error as Error).message };
      }
    },
  };
}
