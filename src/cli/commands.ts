/**
 * The command tree: names, one-line summaries and where each command lives. Modules are imported only
 * when their command runs, so that `magnet version` loads nothing else.
 */
import type { Group } from "./frame/command.ts";

export const COMMANDS: Group = {
  kind: "group",
  summary: "magnet: ordinary machines grow expert language models together",
  commands: {
    completion: {
      summary: "completion script for bash, zsh or fish",
      load: async () => (await import("./completion.ts")).completion,
    },
    config: {
      summary: "settings: show, get, set, path, check",
      load: async () => (await import("./config.ts")).config,
    },
    doctor: {
      summary: "checks this machine and says what to fix",
      load: async () => (await import("./doctor.ts")).doctor,
    },
    version: {
      summary: "version, platform and protocol",
      load: async () => (await import("./version.ts")).version,
    },
  },
};
