/** Where runs and what they have learnt live: below the data folder unless a path is given. */
import path from "node:path";
import type { Config } from "../../core/config.ts";

export const researchFolder = (config: Config) =>
  path.join(config.values.node.data_dir, "research");
export const runsFolder = (config: Config) => path.join(researchFolder(config), "runs");
export const knowledgeFile = (config: Config) => path.join(researchFolder(config), "knowledge.db");

/** A run as it is named on the command line: a folder, or a name that `research list` shows. */
export function runFolder(config: Config, given: string): string {
  const bare = !given.includes("/") && !given.startsWith(".");
  return bare ? path.join(runsFolder(config), given) : path.resolve(given);
}
