/** `magnet completion`: prints a script that teaches the shell all commands and flags. */
import { COMMANDS } from "./commands.ts";
import { defineCommand } from "./frame/command.ts";
import { completionScript, SHELLS, type Shell } from "./frame/completion.ts";
import { usageError } from "./frame/strict.ts";

export const completion = defineCommand({
  summary: "Prints a completion script for bash, zsh or fish",
  examples: [
    { command: 'eval "$(magnet completion bash)"', does: "for this bash" },
    { command: "magnet completion fish | source", does: "for this fish" },
  ],
  args: { shell: { value: "SHELL", summary: SHELLS.join(", ") } },
  flags: {},
  async run({ out }, { args }) {
    const shell = args.shell as Shell;
    if (!SHELLS.includes(shell))
      throw usageError("BAD_VALUE", `no completion for "${shell}"`, `one of ${SHELLS.join(", ")}`);
    const script = await completionScript(shell, COMMANDS);
    out.result("completion", { shell, script }, script);
  },
});
