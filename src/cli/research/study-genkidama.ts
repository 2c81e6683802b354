/**
 * `magnet research study genkidama`: the paper's Table 6 on this machine. Interrupted by Ctrl-C, it
 * goes on with the same command.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import packageJson from "../../../package.json" with { type: "json" };
import { MagnetError } from "../../core/errors.ts";
import { openLanguageTask } from "../../research/language/open.ts";
import { writeWhole } from "../../research/report/write-report.ts";
import { genkidamaTask, runGenkidama } from "../../research/study/genkidama.ts";
import { CONFIRMATION } from "../../research/study/genkidama-phases.ts";
import type { StudyEvent, StudyResult } from "../../research/study/genkidama-types.ts";
import { parseTask } from "../../research/task/load.ts";
import { openRun, type RunTask } from "../../research/trials/open-run.ts";
import { RunReader } from "../../research/trials/run-reader.ts";
import { writeEmbeddedSources } from "../demo/corpus.ts";
import { defineCommand } from "../frame/command.ts";
import { type Output, table } from "../frame/output.ts";
import { selfCommand } from "../self-command.ts";
import { runFolder } from "./place.ts";

const bits = (value: number | null | undefined) => value?.toFixed(4) ?? "-";

function eventLine(event: StudyEvent): string | null {
  switch (event.kind) {
    case "started":
      return `${event.configurations} configurations, ${event.tokens} training tokens each`;
    case "baseline":
      return `recipe: ${bits(event.bits_per_byte)} bits per byte, ${event.cpu_s.toFixed(1)} CPU s`;
    case "phase_started":
      return `phase ${event.phase}: ${event.focus}, ${event.configurations} configurations`;
    case "phase":
      return `  ${event.result.finding}; now ${bits(event.result.current.bits_per_byte)}`;
    case "confirmed":
      return `  confirmed: ${event.row.change}, ${bits(event.row.bits_per_byte)}`;
    case "final_progress":
      return `  comparison with new seeds: ${event.done} of ${event.total}`;
    case "final":
      return null;
  }
}

function phaseTable({ phases, confirmation }: StudyResult): string {
  const rows = phases.map((p) => [
    ...[p.phase, p.focus, p.rows.length, bits(p.best?.bits_per_byte)],
    bits(p.current.bits_per_byte),
    p.finding,
  ]);
  const best = confirmation.reduce<number | null>(
    (low, row) => (row.bits_per_byte === null ? low : Math.min(low ?? Infinity, row.bits_per_byte)),
    null,
  );
  rows.push([
    ...[CONFIRMATION.phase, CONFIRMATION.focus, confirmation.length, bits(best)],
    "apart",
    `${CONFIRMATION.times} times the tokens: not comparable with the rows above`,
  ]);
  const titles = ["phase", "focus", "configurations", "best", "cumulative", "finding"];
  return table(titles, rows);
}

function resultText(result: StudyResult): string {
  const { final, spent } = result;
  const contestants = final.contestants.map((c) => [
    c.name.replace("_", " "),
    `${bits(c.sealed.score)} [${bits(c.sealed.low)}, ${bits(c.sealed.high)}]`,
    (c.cpu_s.reduce((sum, s) => sum + s, 0) / c.cpu_s.length).toFixed(1),
  ]);
  return [
    "bits per byte on one evaluation context; phases 1 to 9 at equal tokens",
    phaseTable(result),
    "",
    `sealed documents, ${final.seeds.length} new seeds, ${result.tokens} tokens each`,
    table(["model", "score, 95% interval", "CPU s"], contestants),
    `winner: ${(100 * final.gain).toFixed(1)}% fewer bits per byte than the recipe, ${final.cpu_ratio.toFixed(2)} of its CPU seconds`,
    `used ${spent.cpu_s.toFixed(0)} CPU seconds, ${spent.wall_s.toFixed(0)} s`,
  ].join("\n");
}

/** The study's texts: the user's, or the embedded ones, written into the folder once. */
async function textsOf(folder: string, given: readonly string[]): Promise<string[]> {
  if (given.length > 0) return given.map((file) => path.resolve(file));
  const texts = path.join(folder, "texts");
  if (!fs.existsSync(texts)) await writeEmbeddedSources(texts);
  return fs
    .readdirSync(texts)
    .sort()
    .map((name) => path.join(texts, name));
}

/** A folder of another study or another scale is not gone on with. */
function requireSame(folder: string, document: RunTask["document"]): void {
  if (!fs.existsSync(path.join(folder, "run.db"))) return;
  const reader = RunReader.open(folder);
  const known = (reader.header()?.task as { document?: unknown } | undefined)?.document;
  reader.close();
  if (known !== undefined && JSON.stringify(known) !== JSON.stringify(document))
    throw new MagnetError("RUN_DIFFERS", `${folder} holds another study, or one of another scale`, {
      hint: "choose another --out",
      exit: "usage",
    });
}

function show(out: Output, folder: string, result: StudyResult): void {
  const { schema: _, ...document } = result;
  out.result("study_genkidama", { folder, ...document }, () => resultText(result));
}

export const genkidama = defineCommand({
  summary: "Ten phases and 54 configurations of a BitNet language model, against a fixed recipe",
  details:
    "Every configuration is trained on the same number of tokens; the winner meets the recipe again with\nnew seeds on sealed documents. Ctrl-C ends it, the same command goes on.",
  examples: [
    { command: "magnet research study genkidama", does: "about half an hour of two cores" },
    {
      command: "magnet research study genkidama --scale 4 --data books/a.txt --data books/b.txt",
      does: "longer, on own text; each file is a domain",
    },
  ],
  args: {},
  flags: {
    out: { type: "string", value: "DIR", summary: "folder of the study (default study-genkidama)" },
    scale: {
      type: "number",
      min: 0,
      max: 1000,
      default: 1,
      summary: "training tokens of a configuration; 1 is about half an hour of two cores",
    },
    data: { type: "list", value: "FILE", summary: "text or JSONL (default: the embedded text)" },
    seed: { type: "integer", min: 0, max: 2 ** 31, default: 1, summary: "of splits and models" },
    workers: { type: "integer", min: 1, max: 256, summary: "processes (default: one a core)" },
  },
  graceful: true,
  async run(context, { flags }) {
    const { out, signal } = context;
    const folder = runFolder(await context.config(), flags.out ?? "study-genkidama");
    fs.mkdirSync(folder, { recursive: true });
    const data = await textsOf(folder, flags.data);
    const document = genkidamaTask({ data, scale: flags.scale, seed: flags.seed });
    requireSame(folder, document as RunTask["document"]);
    const file = path.join(folder, "task.json");
    const domain = await openLanguageTask(parseTask(document, file));
    try {
      const opened = openRun({
        folder,
        task: { file, document: document as RunTask["document"], seed: null },
        task_hash: domain.task_hash,
        settings: { study: "genkidama" },
        code_version: packageJson.version,
        self: selfCommand(),
        workers: flags.workers ?? os.availableParallelism(),
        threads: 1,
      });
      try {
        const result = await runGenkidama({
          domain,
          runner: opened.runner,
          signal,
          onEvent(event) {
            const line = eventLine(event);
            if (line !== null) out.note(line);
          },
        });
        await writeWhole(path.join(folder, "study.json"), `${JSON.stringify(result, null, 1)}\n`);
        show(out, folder, result);
        return "ok";
      } finally {
        await opened.close();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
      out.result("study_genkidama", { folder, ended: "interrupted" }, `stopped; ${folder}`);
      return "interrupted";
    } finally {
      await domain.close();
    }
  },
});
