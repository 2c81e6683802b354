/** `magnet research check`: what a run would be given, without running anything. */
import { openDomain } from "../../research/open-domain.ts";
import { loadTask } from "../../research/task/load.ts";
import { parseTeacher } from "../../research/teacher/settings.ts";
import { defineCommand } from "../frame/command.ts";
import { table } from "../frame/output.ts";

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
      const { facts, notes, metric, task_hash } = domain;
      const { patience: _, epsilon: __, ...budget } = task.budget;
      out.result(
        "research_check",
        { task: task.name, task_hash, metric, facts, budget, notes },
        () =>
          [
            table(
              ["fact", "value"],
              [
                ...Object.entries(facts).map(([name, value]) => [
                  name.replaceAll("_", " "),
                  typeof value === "number" && !Number.isInteger(value)
                    ? value.toFixed(4)
                    : String(value),
                ]),
                ["score", metric],
                [
                  "budget",
                  Object.entries(budget)
                    .map(([k, v]) => `${v} ${k}`)
                    .join(""),
                ],
              ],
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
