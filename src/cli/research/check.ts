/** `magnet research check`: what a run would be given, without running anything. */
import { formatBytes } from "../../core/bytes.ts";
import type { LanguageDomain } from "../../research/language/domain.ts";
import type { BudgetLimits } from "../../research/loop/budget.ts";
import { openDomain } from "../../research/open-domain.ts";
import { loadTask } from "../../research/task/load.ts";
import { parseTeacher } from "../../research/teacher/settings.ts";
import type { ResearchDomain } from "../../research/types.ts";
import { defineCommand } from "../frame/command.ts";
import { table } from "../frame/output.ts";

/** Fewer trials than this hardly leave the baseline. */
const TRIALS_FEW = 10;

/** What counts for a table: rows and columns, classes, contexts. */
const tableRows = (facts: ResearchDomain["facts"]): string[][] =>
  Object.entries(facts).map(([name, value]) => [
    name.replaceAll("_", " "),
    typeof value === "number" && !Number.isInteger(value) ? value.toFixed(4) : String(value),
  ]);

interface Shown {
  readonly rows: string[][];
  /** For --json. */
  readonly data: object;
  readonly notes: ResearchDomain["notes"];
}

/** What counts for text: how much there is, and what a trial takes of it and of this machine. */
async function languageFacts(domain: ResearchDomain, budget: BudgetLimits): Promise<Shown> {
  const { outlookOf } = await import("../../research/language/outlook.ts");
  const outlook = await outlookOf(domain as LanguageDomain);
  const { cpu_s_per_trial: trial_s, passes } = outlook;
  const trials = budget.trials ?? Math.floor((budget.cpu_s ?? Infinity) / trial_s);
  const few = {
    code: "BUDGET_SMALL",
    text: `the budget holds about ${trials} trials of ${trial_s.toPrecision(2)} CPU seconds`,
    hint: "give more of it, or fewer language.tokens, for more than the baseline",
  };
  const rows = [
    ["domain", "language"],
    ["name", domain.facts.name],
    ["sources", String(outlook.sources)],
    ["documents", String(outlook.documents)],
    ["training text", formatBytes(outlook.training_bytes)],
    ["held-out text", formatBytes(outlook.held_out_bytes)],
    ["tokens a trial", `${outlook.tokens_per_trial}, ${passes.toFixed(2)} passes over the text`],
    ["a trial, estimated", `${trial_s.toPrecision(2)} CPU seconds here`],
  ];
  return { rows, data: { language: outlook }, notes: trials < TRIALS_FEW ? [few] : [] };
}

export const check = defineCommand({
  summary: "Checks a task file and its data without running anything",
  examples: [{ command: "magnet research check churn.json", does: "says what is wrong or odd" }],
  args: { task: { value: "TASK", summary: "the task file" } },
  flags: {},
  async run({ out }, { args }) {
    const task = loadTask(args.task);
    if (task.teacher !== null) parseTeacher(task.teacher); // its settings; it is not asked
    const domain = await openDomain(task);
    try {
      const { facts, metric, task_hash } = domain;
      const { patience: _, epsilon: __, ...budget } = task.budget;
      const shown: Shown =
        task.domain === "language"
          ? await languageFacts(domain, budget)
          : { rows: tableRows(facts), data: {}, notes: [] };
      const notes = [...domain.notes, ...shown.notes];
      const document = { task: task.name, task_hash, metric, facts, ...shown.data, budget, notes };
      const limits = Object.entries(budget).map(([name, value]) => `${value} ${name}`);
      out.result("research_check", document, () =>
        [
          table(
            ["fact", "value"],
            [...shown.rows, ["score", metric], ["budget", limits.join(", ")]],
          ),
          ...notes.map(({ code, text, hint }) => `${code}: ${text}. Hint: ${hint}`),
        ].join("\n"),
      );
      return undefined;
    } finally {
      await domain.close();
    }
  },
});
