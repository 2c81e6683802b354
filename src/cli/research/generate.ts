/**
 * `magnet research generate`: training data from a teacher, as JSONL for `magnet train`, `data` and
 * `align`. The file is complete line by line, so an interruption loses at most one example.
 */
import fs from "node:fs";
import { toMagnetError } from "../../core/errors.ts";
import { jsonLines } from "../../model/json-lines.ts";
import { GENERATED_KINDS, generateExamples } from "../../research/teacher/generate.ts";
import { EvaluationGrams } from "../../research/teacher/near-duplicates.ts";
import { parseTeacher, TEACHER_BACKENDS } from "../../research/teacher/settings.ts";
import { openTeacher } from "../../research/teacher/teacher.ts";
import { defineCommand, type FlagValues } from "../frame/command.ts";

const FLAGS = {
  kind: { type: "choice", options: GENERATED_KINDS, required: true, summary: "what to write" },
  topic: { type: "string", value: "TEXT", required: true, summary: "what it is about" },
  count: { type: "integer", min: 1, max: 1_000_000, default: 100, summary: "examples wanted" },
  out: { type: "string", value: "FILE", required: true, summary: "JSONL; must not exist" },
  language: { type: "string", value: "NAME", default: "English", summary: "written in" },
  against: {
    type: "list",
    value: "FILE",
    summary: "evaluation texts: examples that stand in them are dropped",
  },
  samples: { type: "list", value: "FILE", summary: "texts to write like, shown to the teacher" },
  seed: { type: "integer", min: 0, max: 2 ** 31 - 1, default: 1, summary: "of the questions" },
  teacher: {
    type: "choice",
    options: TEACHER_BACKENDS,
    default: "network",
    summary: "who writes: claude, a server of the OpenAI API, or magnet serve",
  },
  model: { type: "string", value: "NAME", required: true, summary: "the teacher's model" },
  "base-url": { type: "string", value: "URL", summary: "the teacher's server" },
  "key-env": { type: "string", value: "NAME", summary: "environment variable with its key" },
  temperature: { type: "number", min: 0, max: 2, summary: "of the teacher (default 0.7)" },
  "tokens-max": { type: "integer", min: 1, summary: "tokens in and out of all calls" },
  "cost-max-usd": { type: "number", min: 0, summary: "money for all calls; needs the prices" },
  "price-input": { type: "number", min: 0, summary: "USD for a million tokens in" },
  "price-output": { type: "number", min: 0, summary: "USD for a million tokens out" },
  record: { type: "string", value: "FILE", summary: "write the teacher's answers down" },
  replay: { type: "string", value: "FILE", summary: "take answers from a recording" },
} as const;

/** Characters of a sample that the teacher sees. */
const SAMPLE_CHARACTERS = 2000;
const SAMPLES_MAX = 5;
const JSONL_HINT = "each line of a .jsonl file must be one JSON document";

function settingsOf(flags: FlagValues<typeof FLAGS>) {
  const given = {
    backend: flags.teacher,
    model: flags.model,
    base_url: flags.base_url,
    key_env: flags.key_env,
    temperature: flags.temperature,
    tokens_max: flags.tokens_max,
    cost_max_usd: flags.cost_max_usd,
    price_input_usd_per_mtok: flags.price_input,
    price_output_usd_per_mtok: flags.price_output,
    record: flags.record,
    replay: flags.replay,
  };
  return parseTeacher(
    Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  );
}

/** Strings of any field: prompts, answers and texts of an evaluation set all count. */
function* stringsIn(value: unknown): Generator<string> {
  if (typeof value === "string") yield value;
  else if (typeof value === "object" && value !== null)
    for (const inner of Object.values(value)) yield* stringsIn(inner);
}

/** Plain text by paragraph, JSONL by its fields. */
async function evaluationGrams(files: readonly string[]): Promise<EvaluationGrams | null> {
  if (files.length === 0) return null;
  const grams = new EvaluationGrams();
  for (const file of files) {
    if (file.endsWith(".jsonl")) {
      for await (const { value } of jsonLines(file, { hint: JSONL_HINT }))
        for (const s of stringsIn(value)) grams.add(s);
    } else grams.add(readText(file));
  }
  return grams;
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, "utf8");
  } catch (error) {
    throw toMagnetError(error);
  }
}

function openNew(file: string): number {
  try {
    return fs.openSync(file, "wx");
  } catch (error) {
    throw toMagnetError(error);
  }
}

export const generate = defineCommand({
  summary: "Has a teacher write training data: documents, instructions or preference pairs",
  details:
    "Each line of FILE is {text}, {text, messages} or {prompt, chosen, rejected}. Near-duplicates, and\nexamples of which more than a tenth stands in the --against files, are dropped and counted.",
  examples: [
    {
      command:
        "magnet research generate --kind documents --topic chemistry --model NAME --out docs.jsonl",
      does: "asks the model that this machine's magnet serve offers",
    },
    {
      command:
        "magnet research generate --kind pairs --topic law --teacher claude --model NAME --against eval.jsonl --out pairs.jsonl",
      does: "asks Claude (ANTHROPIC_API_KEY), keeps the evaluation set out",
    },
  ],
  args: {},
  flags: FLAGS,
  graceful: true,
  async run({ out, signal }, { flags }) {
    const evaluation = await evaluationGrams(flags.against);
    const samples = flags.samples
      .slice(0, SAMPLES_MAX)
      .map((file) => readText(file).slice(0, SAMPLE_CHARACTERS));
    const teacher = await openTeacher(settingsOf(flags), {
      env: process.env,
      // Typed by the user, not read from a file of somebody's.
      trusted_hosts: flags.base_url === undefined ? [] : [new URL(flags.base_url).hostname],
    });
    const descriptor = openNew(flags.out);
    const progress = out.progress({ label: "generate", total: flags.count, unit: "examples" });
    const { kind, topic, language, count, seed } = flags;
    let kept = 0;
    try {
      const counts = await generateExamples(
        teacher,
        { kind, topic, language, count, seed, samples },
        {
          evaluation,
          signal,
          onExample(example) {
            fs.writeSync(descriptor, `${JSON.stringify(example)}\n`);
            progress.update(++kept);
          },
        },
      );
      progress.end();
      const { use } = teacher;
      const cost = use.cost_usd === null ? "" : `, $${use.cost_usd.toFixed(4)}`;
      out.result(
        "research_generate",
        { file: flags.out, kind, ...counts, teacher: use },
        [
          `${counts.kept} ${kind} in ${flags.out}`,
          `dropped: ${counts.malformed} malformed, ${counts.duplicates} near-duplicates, ${counts.contaminated} in the evaluation set`,
          `teacher: ${use.calls} calls, ${use.input_tokens} + ${use.output_tokens} tokens${cost}`,
          ...(counts.stopped === null ? [] : [`stopped early: ${counts.stopped}`]),
        ].join("\n"),
      );
      return counts.stopped === null ? "ok" : "failed";
    } catch (error) {
      throw toMagnetError(error);
    } finally {
      progress.end();
      fs.closeSync(descriptor);
      if (kept === 0) fs.rmSync(flags.out, { force: true });
    }
  },
});
