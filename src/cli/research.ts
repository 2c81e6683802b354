/** `magnet research`: autoresearch. Each command is a module of src/cli/research, loaded when it runs. */
import { type Group, lazy } from "./frame/command.ts";

export const research: Group = {
  kind: "group",
  meta: { description: "let magnet research a task: run, resume, report, knowledge, study" },
  subCommands: {
    check: lazy(
      "check a task file and its data without running anything",
      async () => (await import("./research/check.ts")).check,
    ),
    generate: lazy(
      "have a teacher write training data: documents, instructions, pairs",
      async () => (await import("./research/generate.ts")).generate,
    ),
    knowledge: lazy(
      "what all runs have taught: browse, exchange with other nodes",
      async () => (await import("./research/knowledge.ts")).knowledge,
    ),
    list: lazy("runs on this machine", async () => (await import("./research/runs.ts")).list),
    predict: lazy(
      "classes and probabilities for new rows, by a run's model",
      async () => (await import("./research/predict.ts")).predict,
    ),
    report: lazy(
      "what an ended run found",
      async () => (await import("./research/report.ts")).report,
    ),
    resume: lazy(
      "go on with an interrupted run",
      async () => (await import("./research/run.ts")).resume,
    ),
    run: lazy(
      "research a task to its best model, with no human in between",
      async () => (await import("./research/run.ts")).run,
    ),
    stop: lazy(
      "end a running run; resume goes on with it",
      async () => (await import("./research/runs.ts")).stop,
    ),
    study: lazy(
      "the paper's case studies on public data",
      async () => (await import("./research/study.ts")).study,
    ),
    verify: lazy(
      "compute parts of an ended run again, bit for bit",
      async () => (await import("./research/verify.ts")).verify,
    ),
    worker: lazy(
      "evaluates trials for a run (started by it)",
      async () => (await import("./research/worker.ts")).worker,
    ),
  },
};
