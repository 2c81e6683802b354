/**
 * `magnet research study genkidama`: the paper's Table 6 on this machine. Interrupted by Ctrl-C, it
 * goes on with the same command.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import packageJson from "../../../package.json" with { type: "json" };
import { MagnetError } from "../../core/errors.ts";
import { genkidamaTask } from "../../research/study/genkidama.ts";
import { studyGenkidama } from "../../research/study/genkidama-session.ts";
import { gainLine, phaseLine } from "../../research/study/genkidama-table.ts";
import type { StudyEvent, StudyResult } from "../../research/study/genkidama-types.ts";
import type { RunTask } from "../../research/trials/open-run.ts";
import { RunReader } from "../../research/trials/run-reader.ts";
import { writeEmbeddedSources } from "../demo/corpus.ts";
import { defineCommand } from "../frame/command.ts";
import { selfCommand } from "../self-command.ts";
import { outFolder } from "./place.ts";

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
      return `  ${phaseLine(event.result)}`;
    case "confirmed":
      return `  confirmed: ${event.row.change}, ${bits(event.row.bits_per_byte)}`;
    case "final_progress":
      return `  comparison with new seeds: ${event.done} of ${event.total}`;
    case "final":
      return null;
  }
}

function resultText(result: StudyResult): string {
  const { spent } = result;
  const used = `used ${spent.cpu_s.toFixed(0)} CPU seconds, ${spent.wall_s.toFixed(0)} s`;
  return [gainLine(result), ...result.phases.map(phaseLine), used].join("\n");
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
    const folder = outFolder(await context.config(), flags.out, "study-genkidama");
    fs.mkdirSync(folder, { recursive: true });
    const data = await textsOf(folder, flags.data);
    const { scale, seed } = flags;
    requireSame(folder, genkidamaTask({ data, scale, seed }) as RunTask["document"]);
    try {
      const { result, files } = await studyGenkidama({
        ...{ folder, data, scale, seed, self: selfCommand(), signal },
        magnet_version: packageJson.version,
        workers: flags.workers ?? os.availableParallelism(),
        onEvent(event) {
          const line = eventLine(event);
          if (line !== null) out.note(line);
        },
      });
      const { schema: _, ...document } = result;
      const text = () => `${resultText(result)}\npage  ${files.markdown}`;
      out.result("study_genkidama", { folder, ...document }, text);
      return "ok";
    } catch (error) {
      if (!signal.aborted) throw error;
      out.result("study_genkidama", { folder, ended: "interrupted" }, `stopped; ${folder}`);
      return "interrupted";
    }
  },
});
