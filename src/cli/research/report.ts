/** `magnet research report`: what a run found. */
import fs from "node:fs";
import path from "node:path";
import { csvReport } from "../../research/report/csv.ts";
import { markdownReport } from "../../research/report/markdown.ts";
import { reportPage } from "../../research/report/page.ts";
import { defineCommand } from "../frame/command.ts";
import { runFolder } from "./place.ts";
import { reportOf } from "./runs.ts";

const FORMATS = ["markdown", "html", "csv"] as const;
const VIEWS = { markdown: markdownReport, html: reportPage, csv: csvReport };

export const report = defineCommand({
  summary: "Shows what a run found",
  details: "The folder of an ended run holds report.md, report.html, report.json and trials.csv.",
  examples: [
    { command: "magnet research report churn", does: "as Markdown" },
    { command: "magnet research report churn --format html > churn.html", does: "with plots" },
    { command: "magnet research report churn --json", does: "the whole document" },
  ],
  args: { run: { value: "RUN", summary: "name or folder of the run" } },
  flags: {
    format: { type: "choice", options: FORMATS, default: "markdown", summary: "of the text" },
  },
  async run(context, { args, flags }) {
    const folder = runFolder(await context.config(), args.run);
    const { schema: _, ...document } = reportOf(folder) as ReturnType<typeof reportOf> & {
      schema?: string;
    };
    const page = path.join(folder, "report.html");
    if (fs.existsSync(page)) context.out.note(`page: ${page}`);
    context.out.result("research_report", document, () =>
      VIEWS[flags.format as keyof typeof VIEWS](document).trimEnd(),
    );
    return undefined;
  },
});
