/** Writes a report's four views into a folder; each file is replaced in one step. */
import fs from "node:fs/promises";
import path from "node:path";
import { toMagnetError } from "../../core/errors.ts";
import { temporaryBeside } from "../../model/file-system.ts";
import { csvReport } from "./csv.ts";
import { markdownReport } from "./markdown.ts";
import { reportPage } from "./page.ts";
import type { ReportDocument } from "./report.ts";

export interface ReportFiles {
  readonly markdown: string;
  readonly page: string;
  readonly csv: string;
  readonly json: string;
}

async function replace(file: string, text: string): Promise<void> {
  const temporary = temporaryBeside(file);
  try {
    await fs.writeFile(temporary, text);
    await fs.rename(temporary, file);
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw toMagnetError(error);
  }
}

/** Returns the paths of report.md, report.html, report.json and trials.csv. */
export async function writeReport(folder: string, report: ReportDocument): Promise<ReportFiles> {
  const files: ReportFiles = {
    markdown: path.join(folder, "report.md"),
    page: path.join(folder, "report.html"),
    csv: path.join(folder, "trials.csv"),
    json: path.join(folder, "report.json"),
  };
  const document = { schema: "magnet.research_report/1", ...report };
  await replace(files.markdown, markdownReport(report));
  await replace(files.page, reportPage(report));
  await replace(files.csv, csvReport(report));
  await replace(files.json, `${JSON.stringify(document, null, 1)}\n`);
  return files;
}
