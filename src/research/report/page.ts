/**
 * A report as one HTML page without script that needs nothing from elsewhere: headline, figures,
 * best so far over trials and over CPU seconds, versions, strategies kept, discarded and crashed,
 * learning curve, importance, confusion before and after.
 */
import { type Plot, svgPlot } from "../../core/plot.ts";
import {
  digits,
  figureRows,
  headline,
  percent,
  strategyRows,
  VERSION_TITLES,
  versionSentences,
} from "./facts.ts";
import { IMPORTANCE_ROWS } from "./markdown.ts";
import type { Confusion, ReportDocument } from "./report.ts";

const STYLE = `:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;color:#1f2328;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:2rem}h3{font-size:1rem}
.answer{font-size:1.1rem;font-weight:600}svg{width:100%;height:auto}
.wide{overflow-x:auto}table{border-collapse:collapse}
td,th{padding:.15rem 1rem .15rem 0;text-align:left;vertical-align:top;font-variant-numeric:tabular-nums}
.bar{display:inline-block;height:.7em;background:#2f81f7;border-radius:2px}
pre{overflow-x:auto;padding:.8rem;border:1px solid #d0d7de;border-radius:6px}
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}pre{border-color:#30363d}}`;

const escaped = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");

const htmlTable = (titles: readonly string[], rows: readonly (readonly string[])[]): string => {
  const head = titles.map((t) => `<th scope="col">${escaped(t)}</th>`).join("");
  const body = rows.map((r) => `<tr>${r.map((c) => `<td>${escaped(c)}</td>`).join("")}</tr>`);
  return `<div class="wide"><table><tr>${head}</tr>${body.join("")}</table></div>`;
};

/** Best so far against what was tried, by `x` of each trial. */
function progressPlot(report: ReportDocument, title: string, x: readonly number[]): string {
  const { result, trials } = report;
  const full = trials.filter((t) => t.state === "done" && t.fidelity === 1 && t.score !== null);
  const at = (index: number) => x[index] ?? Number.NaN;
  const best = result.best_so_far.flatMap((score, i) =>
    score === null ? [] : [[at(i), score] as const],
  );
  const first = trials.filter((t) => t.version > 0);
  const starts = new Map<number, number>();
  for (const t of first) if (!starts.has(t.version)) starts.set(t.version, at(t.index));
  const plot: Plot = {
    title,
    x_label: x === result.cost_so_far ? "CPU seconds of trials" : "trial",
    width: 960,
    ink: "currentColor",
    series: [
      {
        name: "trial",
        kind: "dots",
        colour: "teal",
        points: full.map((t) => [at(t.index), t.score!] as const),
      },
      { name: "best so far", kind: "line", colour: "blue", points: best },
    ],
    marks: [...starts].map(([version, start]) => ({ x: start, label: `v${version}` })),
  };
  return svgPlot(plot);
}

function learningPlot({ learning_curve, result }: ReportDocument): string {
  if (learning_curve.length < 2) return "";
  const points = learning_curve.map(({ rows, score }) => [rows, score] as const);
  return `<h2>Learning curve</h2>${svgPlot({
    title: result.metric,
    x_label: "training rows",
    width: 960,
    ink: "currentColor",
    whole_x: true,
    series: [{ name: "search score", kind: "line with dots", colour: "green", points }],
  })}`;
}

function importanceTable({ importance }: ReportDocument): string {
  const shown = importance.slice(0, IMPORTANCE_ROWS);
  if (shown.length === 0) return "";
  const top = shown[0]!.share || 1;
  const rows = shown.map(({ feature, share }) => {
    const bar = `<span class="bar" style="width:${((15 * share) / top).toFixed(2)}em"></span>`;
    return `<tr><td>${escaped(feature)}</td><td>${percent(share)}</td><td>${bar}</td></tr>`;
  });
  return `<h2>Importance of features</h2><div class="wide"><table>${rows.join("")}</table></div>`;
}

const confusionTable = (title: string, { classes, counts }: Confusion): string =>
  `<h3>${title}</h3>${htmlTable(
    ["true \\ predicted", ...classes],
    counts.map((line, i) => [classes[i] ?? "", ...line.map(String)]),
  )}`;

export function reportPage(report: ReportDocument): string {
  const { task, result, confusion } = report;
  const title = escaped(`Research: ${task.name}`);
  const list = (items: readonly string[]) =>
    `<ul>${items.map((item) => `<li>${escaped(item)}</li>`).join("")}</ul>`;
  const indexes = result.best_so_far.map((_, i) => i);
  const versions = result.versions.map(
    (v) =>
      `<h3>Version ${v.version}, from ${digits(v.started_from.score)}</h3>${list(versionSentences(v))}`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${title}</title><style>${STYLE}</style></head>
<body><h1>${title}</h1><p class="answer">${escaped(headline(report))}</p>
${htmlTable(["figure", "value"], figureRows(report))}
${result.sealed.notes ? list(result.sealed.notes) : ""}
${task.notes.length > 0 ? `<h2>About the data</h2>${list(task.notes)}` : ""}
${progressPlot(report, "Best so far, by trial", indexes)}
${progressPlot(report, "Best so far, by cost", result.cost_so_far)}
<h2>Versions and strategies</h2>${htmlTable(VERSION_TITLES, strategyRows(result.versions))}
${versions.join("\n")}
${learningPlot(report)}${importanceTable(report)}
${
  confusion
    ? `<h2>Confusion on the search part</h2>${confusionTable("Baseline", confusion.baseline)}${confusionTable("Final", confusion.final)}`
    : ""
}
<h2>Final configuration</h2><pre>${escaped(JSON.stringify(result.final.candidate.configuration, null, 2))}</pre>
<p>magnet ${escaped(report.magnet_version)}, seed ${result.seed}, task ${escaped(task.task_hash)}</p>
</body></html>
`;
}
