/**
 * The table of autoresearch: magnet against its peers and its goals on real data (research.sh fetches
 * both). Cells that are done are kept in --results, so a table that is stopped goes on; the whole of
 * it is printed at the end and left in table.md and table.json. Options: see places.ts.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { contextRow } from "./contexts-row.ts";
import { efficiencyRow } from "./efficiency-row.ts";
import { knowledgeRow } from "./knowledge-gain.ts";
import { learnersRow } from "./learners.ts";
import { edgeRow } from "./other-rows.ts";
import {
  type Figure,
  ownCores,
  type Row,
  type RowName,
  type RowResult,
  revision,
  say,
  type TableOptions,
  tableOptions,
  used,
} from "./places.ts";
import { resumeRow } from "./resume-row.ts";
import { searchRow } from "./search-rows.ts";
import { seriesRow } from "./series-row.ts";
import { studyRow } from "./study-row.ts";
import { workersRow } from "./workers-row.ts";

const MAKERS: Record<RowName, Row> = {
  search: searchRow,
  contexts: contextRow,
  series: seriesRow,
  edge: edgeRow,
  genkidama: studyRow,
  efficiency: efficiencyRow,
  knowledge: (all) => knowledgeRow(all),
  learners: learnersRow,
  resume: resumeRow,
  workers: workersRow,
};

interface Ended extends Partial<RowResult> {
  readonly row: RowName;
  readonly error: string | null;
  /** Of this process: a row that was there takes none. */
  readonly wall_s: number;
}

async function makeRow(row: RowName, options: TableOptions): Promise<Ended> {
  say(`row ${row}`);
  const start = performance.now();
  const since = () => Number(((performance.now() - start) / 1000).toFixed(1));
  try {
    return { row, ...(await MAKERS[row](options)), error: null, wall_s: since() };
  } catch (error) {
    const told = error instanceof Error ? error.message : String(error);
    say(`${row}: ${told}`);
    return { row, error: told, wall_s: since() };
  }
}

const summaryLine = (row: RowName, { name, figure, peer, goal, reached }: Figure) =>
  `| ${row} | ${name} | ${figure} | ${peer ?? "-"} | ${goal} | ${reached ? "reached" : "MISSED"} |`;

function summaryText(rows: readonly Ended[]): string {
  const lines = rows.flatMap(({ row, figures, error }) =>
    error === null
      ? figures!.map((figure) => summaryLine(row, figure))
      : [`| ${row} | failed: ${error.split("\n")[0]} | | | | MISSED |`],
  );
  const figures = rows.flatMap((one) => one.figures ?? []);
  const reached = figures.filter((one) => one.reached).length;
  const failed = rows.filter(({ error }) => error !== null).length;
  return [
    "| row | what | figure | peer | goal | |",
    "|---|---|---|---|---|---|",
    ...lines,
    "",
    `${reached} of ${figures.length} goals reached${failed > 0 ? `; ${failed} rows failed` : ""}`,
  ].join("\n");
}

/** What measured, where, how long. */
function origin({ sets, seeds, cpu_s, scale, parallel }: TableOptions) {
  const minutes = [...used.values()].reduce((sum, { wall_s }) => sum + wall_s, 0) / 60;
  return {
    revisions: [...new Set([...used.values()].map((one) => one.revision).concat(revision()))],
    machine: { cpu: os.cpus()[0]?.model ?? "unknown", cores: ownCores().length },
    options: { sets, seeds, cpu_s, scale, parallel },
    /** Of all cells one after another, whenever they were made. */
    cell_minutes: Number(minutes.toFixed(1)),
  };
}

const options = tableOptions();
fs.mkdirSync(options.places.results, { recursive: true });
const rows: Ended[] = [];
for (const row of options.rows) rows.push(await makeRow(row, options));
const about = origin(options);
const text = [
  "# Table of autoresearch",
  `Revision ${about.revisions.join(" and ")}; ${about.machine.cpu}, ${about.machine.cores} cores; ` +
    `seeds ${options.seeds.join(", ")}, ${options.cpu_s} CPU seconds a search, scale ` +
    `${options.scale}; ${about.cell_minutes} minutes of cells, ${options.parallel} at a time.`,
  ...rows.flatMap(({ row, markdown, error }) => [`## ${row}`, markdown ?? `failed: ${error}`]),
  "## Summary",
  summaryText(rows),
].join("\n\n");
const document = { schema: "magnet.research_table/1", ...about, rows };
fs.writeFileSync(
  path.join(options.places.results, "table.json"),
  `${JSON.stringify(document, null, 2)}\n`,
);
fs.writeFileSync(path.join(options.places.results, "table.md"), `${text}\n`);
process.stdout.write(`${text}\n`);
process.exit(rows.some(({ error }) => error !== null) ? 1 : 0);
