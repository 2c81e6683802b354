/**
 * Training data from a teacher (paper 8.4): documents, instructions with answers, preference pairs.
 * Every example is checked, near-duplicates and texts that stand in the evaluation set are dropped
 * and counted. Examples come in batches; a batch that fails is counted, and three in a row end it.
 */
import { z } from "zod";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import { jsonIn } from "./json-answer.ts";
import { TEACHER_LIMITS } from "./limits.ts";
import { CONTAMINATION_SHARE_MAX, type EvaluationGrams, SeenTexts } from "./near-duplicates.ts";
import type { Teacher } from "./teacher.ts";

export const GENERATED_KINDS = ["documents", "instructions", "pairs"] as const;
export type GeneratedKind = (typeof GENERATED_KINDS)[number];

export interface GenerationSpec {
  readonly kind: GeneratedKind;
  /** What the examples are about, in words. */
  readonly topic: string;
  readonly language: string;
  readonly count: number;
  readonly seed: number;
  /** Texts like which the examples are to read; shown to the teacher, never gate or sealed ones. */
  readonly samples: readonly string[];
}

/**
 * A line of the output: {"text"}, {"text", "messages"} (as training text and as a chat) or
 * {"prompt", "chosen", "rejected"}.
 */
export type GeneratedExample =
  | { readonly text: string }
  | {
      readonly text: string;
      readonly messages: readonly {
        readonly role: "user" | "assistant";
        readonly content: string;
      }[];
    }
  | { readonly prompt: string; readonly chosen: string; readonly rejected: string };

export interface GenerationCounts {
  readonly asked: number;
  readonly kept: number;
  readonly malformed: number;
  readonly duplicates: number;
  readonly contaminated: number;
  readonly failed_calls: number;
}

const text = z.string().trim().min(1).max(TEACHER_LIMITS.example_characters);
const schemas = {
  documents: z.object({ text }),
  instructions: z.object({ instruction: text, answer: text }),
  pairs: z
    .object({ prompt: text, chosen: text, rejected: text })
    .refine((p) => p.chosen !== p.rejected, "both answers are the same"),
} as const;

const WANTED = {
  documents: 'documents of 100 to 400 words: {"text": "..."}',
  instructions:
    'instructions as people give them, each with a correct answer: {"instruction": "...", "answer": "..."}',
  pairs:
    'questions with a good answer and a plausible answer that is clearly worse: {"prompt": "...", "chosen": "...", "rejected": "..."}',
} as const;

/** Calls in a row without a usable example that end a generation. */
const BARREN_CALLS_MAX = 3;

function questionOf(spec: GenerationSpec, call: number, wanted: number) {
  const system = `You write training data for a language model. Answer with JSON only: {"examples": [...]}. Write in ${spec.language}. Vary form, length, names and facts; never repeat an example.`;
  const samples = spec.samples.length > 0 ? { in_the_manner_of: spec.samples } : {};
  const prompt = JSON.stringify({
    write: `${wanted} ${WANTED[spec.kind]}`,
    topic: spec.topic,
    batch: call,
    ...samples,
  });
  const { answer_tokens } = TEACHER_LIMITS;
  return { system, prompt, answer_tokens, seed: spec.seed + call };
}

/** As lines of training data, with the text that identity and contamination are judged by. */
function exampleOf(
  kind: GeneratedKind,
  value: unknown,
): { example: GeneratedExample; judged: string } | null {
  if (kind === "documents") {
    const parsed = schemas.documents.safeParse(value);
    return parsed.success ? { example: parsed.data, judged: parsed.data.text } : null;
  }
  if (kind === "instructions") {
    const parsed = schemas.instructions.safeParse(value);
    if (!parsed.success) return null;
    const { instruction, answer } = parsed.data;
    const messages = [
      { role: "user", content: instruction },
      { role: "assistant", content: answer },
    ] as const;
    const both = `${instruction}\n\n${answer}`;
    return { example: { text: both, messages }, judged: both };
  }
  const parsed = schemas.pairs.safeParse(value);
  if (!parsed.success) return null;
  const { prompt, chosen } = parsed.data;
  return { example: parsed.data, judged: `${prompt}\n${chosen}` };
}

const answerSchema = z.object({ examples: z.array(z.unknown()).max(1000) });

export interface GenerationOptions {
  /** What must not be trained on; null = nothing to compare with. */
  readonly evaluation: EvaluationGrams | null;
  readonly onExample: (example: GeneratedExample) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

/** One call's worth after another, with what became of each example. */
class Generation {
  readonly counts = {
    asked: 0,
    kept: 0,
    malformed: 0,
    duplicates: 0,
    contaminated: 0,
    failed_calls: 0,
  };
  private readonly seen = new SeenTexts();

  constructor(
    private readonly teacher: Teacher,
    private readonly spec: GenerationSpec,
    private readonly options: GenerationOptions,
  ) {}

  /** Asks once; returns how many examples were kept. */
  async call(number: number): Promise<number> {
    const { spec, teacher, counts } = this;
    const wanted = Math.min(TEACHER_LIMITS.examples_per_call, spec.count - counts.kept);
    const { temperature } = teacher.settings;
    const question = { ...questionOf(spec, number, wanted), temperature };
    const answer = await teacher.ask(question, this.options.signal);
    const parsed = answerSchema.safeParse(jsonIn(answer.text));
    if (!parsed.success || parsed.data.examples.length === 0) {
      counts.malformed++;
      return 0;
    }
    const before = counts.kept;
    for (const value of parsed.data.examples.slice(0, wanted)) await this.take(value);
    return counts.kept - before;
  }

  private async take(value: unknown): Promise<void> {
    const { counts } = this;
    counts.asked++;
    const made = exampleOf(this.spec.kind, value);
    if (!made) counts.malformed++;
    else if (!this.seen.add(made.judged)) counts.duplicates++;
    else if ((this.options.evaluation?.share(made.judged) ?? 0) > CONTAMINATION_SHARE_MAX)
      counts.contaminated++;
    else {
      counts.kept++;
      await this.options.onExample(made.example);
    }
  }
}

/**
 * Generates until `count` examples are kept, the teacher's caps are reached, or three calls in a
 * row bring nothing; `stopped` says why there are fewer. Throws NOTHING_GENERATED.
 */
export async function generateExamples(
  teacher: Teacher,
  spec: GenerationSpec,
  options: GenerationOptions,
): Promise<GenerationCounts & { readonly stopped: string | null }> {
  const generation = new Generation(teacher, spec, options);
  const { counts } = generation;
  let barren = 0;
  let failed: MagnetError | null = null;
  for (let call = 0; counts.kept < spec.count && barren < BARREN_CALLS_MAX; call++) {
    try {
      barren = (await generation.call(call)) > 0 ? 0 : barren + 1;
      failed = null;
    } catch (error) {
      if (options.signal?.aborted) throw error;
      failed = toMagnetError(error);
      counts.failed_calls++;
      barren++;
      if (!failed.retryable) break;
    }
  }
  if (counts.kept === 0 && failed) throw failed;
  if (counts.kept === 0)
    throw new MagnetError("NOTHING_GENERATED", "the teacher's answers were of no use", {
      hint: `${counts.malformed} malformed, ${counts.duplicates} duplicates, ${counts.contaminated} out of the evaluation set`,
    });
  const reason = failed?.message ?? `${BARREN_CALLS_MAX} calls in a row brought nothing new`;
  return { ...counts, stopped: counts.kept < spec.count ? reason : null };
}
