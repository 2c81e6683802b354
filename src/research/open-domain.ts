/** Opens the domain of a task; only the one that is needed is loaded. */
import * as learners from "../native/learners.ts";
import type { Task } from "./task/load.ts";
import type { ResearchDomain } from "./types.ts";

/** Reads and checks the task's data. Throws what the domain's checks find. */
export async function openDomain(task: Task): Promise<ResearchDomain> {
  switch (task.domain) {
    case "tabular":
      return (await import("./tabular/domain.ts")).openTabular(task, learners);
    case "language":
      return (await import("./language/open.ts")).openLanguageTask(task);
    case "series":
      return (await import("./series/domain.ts")).openSeries(task, learners);
  }
}
