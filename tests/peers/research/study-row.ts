/** The row of the genkidama study: run in the folder of the results, or read where it is done. */
import fs from "node:fs";
import path from "node:path";
import { genkidamaTask } from "../../../src/research/study/genkidama.ts";
import { CONFIRMATION } from "../../../src/research/study/genkidama-phases.ts";
import { gainLine, studyMarkdown } from "../../../src/research/study/genkidama-table.ts";
import type { StudyResult } from "../../../src/research/study/genkidama-types.ts";
import { runToEnd } from "./cells.ts";
import { type RowResult, say, stored, type TableOptions } from "./places.ts";

/** The study's own result; a study that was stopped goes on. */
async function study({ places, scale }: TableOptions): Promise<StudyResult> {
  const folder = path.join(places.results, `genkidama-${scale}`);
  const file = path.join(folder, "study.json");
  if (!fs.existsSync(file)) {
    say(`study genkidama in ${folder}: 48 CPU minutes at a scale of 1`);
    const place = ["--data-dir", path.join(places.results, "node")];
    const flags = ["--out", folder, "--scale", String(scale), "--json"];
    const command = [...places.magnet, ...place, "research", "study", "genkidama", ...flags];
    await runToEnd(command, path.join(places.results, "logs", "genkidama.log"));
  }
  return JSON.parse(fs.readFileSync(file, "utf8")) as StudyResult;
}

/** Goal: 10% fewer bits per byte than the recipe at equal tokens, within its CPU seconds. */
export async function studyRow(options: TableOptions): Promise<RowResult> {
  const result = await stored(options.places, `genkidama-${options.scale}`, () => study(options));
  const { language } = genkidamaTask({ data: [], scale: options.scale });
  if (result.tokens * CONFIRMATION.times !== language.tokens)
    throw new Error(`genkidama-${options.scale} holds a study of another scale`);
  const { gain, cpu_ratio, contestants, reached } = result.final;
  const bits = (name: string) => {
    const score = contestants.find((one) => one.name === name)?.sealed.score;
    return score === undefined ? "-" : (-score).toFixed(4);
  };
  const [, , ...sections] = studyMarkdown(result).split("\n\n## ");
  const phases = sections.find((section) => section.startsWith("Phases\n"));
  return {
    markdown: [gainLine(result), phases?.slice("Phases\n".length).trim() ?? ""].join("\n\n"),
    figures: [
      {
        name: `bits per byte at equal tokens and ${cpu_ratio.toFixed(2)}x CPU seconds`,
        figure: `${bits("winner")} (-${(100 * gain).toFixed(1)}%)`,
        ...{ peer: `${bits("recipe")} (the recipe)`, goal: "-10% or less", reached },
      },
    ],
  };
}
