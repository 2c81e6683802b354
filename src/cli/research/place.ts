/** Where runs and what they have learnt live: below the data folder unless a path is given. */
import fs from "node:fs";
import path from "node:path";
import type { Config } from "../../core/config.ts";
import { RUN_FILE } from "../../research/trials/run-reader.ts";

export const researchFolder = (config: Config) =>
  path.join(config.values.node.data_dir, "research");
export const runsFolder = (config: Config) => path.join(researchFolder(config), "runs");
export const knowledgeFile = (config: Config) => path.join(researchFolder(config), "knowledge.db");

/**
 * A run as it is named on the command line: a name that `research list` shows, or a folder. A bare
 * name that is no run of the data folder is taken as a folder here, where `--out NAME` puts it.
 */
export function runFolder(config: Config, given: string): string {
  const listed = path.join(runsFolder(config), given);
  const here = path.resolve(given);
  if (given.includes("/") || given.startsWith(".")) return here;
  return !fs.existsSync(listed) && fs.existsSync(path.join(here, RUN_FILE)) ? here : listed;
}

/** The folder that a command writes to: `--out`, as any path, or a name in the data folder. */
export const outFolder = (config: Config, out: string | undefined, name: string): string =>
  out === undefined ? path.join(runsFolder(config), name) : path.resolve(out);
