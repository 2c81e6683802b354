/** Writes a report's four views into a folder; each file is replaced in one step. */
import path from "node:path";
import { hostFileSystem, replaceFile } from "../../model/file-system.ts";
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

/** Replaces a file in one step. Throws the disk's errors. */
export async function writeWhole(file: string, content: string | Uint8Array): Promise<void> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  await replaceFile(hostFileSystem, file, (into) => into.write(bytes));
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
  await writeWhole(files.markdown, markdownReport(report));
  await writeWhole(files.page, reportPage(report));
  await writeWhole(files.csv, csvReport(report));
  await writeWhole(files.json, `${JSON.stringify(document, null, 1)}\n`);
  return files;
}
