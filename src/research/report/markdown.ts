/** A report as Markdown: headline, figures, versions, configuration, importance. */
import {
  figureRows,
  headline,
  percent,
  strategyRows,
  useCommands,
  VERSION_TITLES,
  versionSentences,
} from "./facts.ts";
import type { Confusion, ReportDocument } from "./report.ts";

/** Most important features shown. */
export const IMPORTANCE_ROWS = 20;

const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ");
const row = (cells: readonly string[]) => `| ${cells.map(cell).join(" | ")} |`;
const mdTable = (titles: readonly string[], rows: readonly (readonly string[])[]): string[] => [
  row(titles),
  row(titles.map(() => "---")),
  ...rows.map(row),
];

function confusionTable(title: string, { classes, counts }: Confusion): string[] {
  return [
    `### ${title}`,
    "",
    ...mdTable(
      ["true \\ predicted", ...classes],
      counts.map((line, i) => [classes[i] ?? "", ...line.map(String)]),
    ),
    "",
  ];
}

const bullets = (notes: readonly string[]): string[] =>
  notes.length > 0 ? [...notes.map((note) => `- ${note}`), ""] : [];

export function markdownReport(report: ReportDocument): string {
  const { task, result, importance, confusion } = report;
  const lines = [
    `# Research: ${task.name}`,
    "",
    headline(report),
    "",
    ...mdTable(["figure", "value"], figureRows(report)),
    "",
    ...bullets(result.sealed.notes ?? []),
    ...bullets(task.notes),
    "## Versions",
    "",
    ...mdTable(VERSION_TITLES, strategyRows(result.versions)),
    "",
  ];
  for (const version of result.versions)
    lines.push(
      `### Version ${version.version}`,
      "",
      ...versionSentences(version).map((sentence) => `- ${sentence}`),
      "",
    );
  if (confusion)
    lines.push(
      "## Confusion on the search part",
      "",
      ...confusionTable("Baseline", confusion.baseline),
      ...confusionTable("Final", confusion.final),
    );
  if (importance.length > 0)
    lines.push(
      "## Importance of features",
      "",
      ...mdTable(
        ["feature", "share"],
        importance.slice(0, IMPORTANCE_ROWS).map((i) => [i.feature, percent(i.share)]),
      ),
      "",
    );
  lines.push(
    "## Using the model",
    "",
    "In the folder of the run:",
    "",
    "```",
    ...useCommands(task.domain, "."),
    "```",
    "",
    "## Final configuration",
    "",
    "```json",
    JSON.stringify(result.final.candidate.configuration, null, 2),
    "```",
    "",
    `magnet ${report.magnet_version}, seed ${result.seed}, task ${task.task_hash}`,
    "",
  );
  return lines.join("\n");
}
