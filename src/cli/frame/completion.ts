/**
 * Shell completion, generated from the command tree: every command, subcommand, flag and choice.
 * The scripts are static, so that pressing Tab starts no process.
 */
import type { Command, Flags, Group } from "./command.ts";
import { GLOBAL_FLAGS } from "./parse.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** One place in the tree: the words that lead to it and what may follow. */
interface Place {
  path: string[];
  commands: { name: string; summary: string }[];
  flags: Flags;
}

async function places(path: string[], target: Command | Group): Promise<Place[]> {
  if (target.kind === "command")
    return [{ path, commands: [], flags: { ...target.declared.flags, ...GLOBAL_FLAGS } }];
  const below = Object.entries(target.subCommands);
  const here: Place = {
    path,
    commands: below.map(([name, { summary }]) => ({ name, summary })),
    flags: { ...target.otherwise?.declared.flags, ...GLOBAL_FLAGS },
  };
  const nested = await Promise.all(
    below.map(async ([name, entry]) => places([...path, name], await entry())),
  );
  return [here, ...nested.flat()];
}

/** The script for one shell, to be sourced. */
export async function completionScript(shell: Shell, root: Group): Promise<string> {
  const all = await places([], root);
  if (shell === "fish") return fishScript(all);
  const bash = bashScript(all);
  return shell === "bash" ? bash : `autoload -U +X bashcompinit && bashcompinit\n${bash}`;
}

function bashScript(all: Place[]): string {
  const cases = all.map(({ path, commands, flags }) => {
    const words = [...commands.map(({ name }) => name), ...Object.keys(flags).map((f) => `--${f}`)];
    return `    "${path.join(" ")}") words="${words.join(" ")}" ;;`;
  });
  const choices = all.flatMap(({ path, flags }) =>
    Object.entries(flags).flatMap(([name, flag]) =>
      flag.type === "choice"
        ? [`    "${path.join(" ")} --${name}") words="${flag.options.join(" ")}" ;;`]
        : [],
    ),
  );
  const groups = all.filter(({ commands }) => commands.length > 0);
  const descend = groups.map(({ path, commands }) => {
    const prefix = path.length > 0 ? `${path.join(" ")} ` : "";
    return `      ${commands.map(({ name }) => `"${prefix}${name}"`).join("|")}) at="$next" ;;`;
  });
  const valued = new Set(
    all.flatMap(({ flags }) =>
      Object.entries(flags).flatMap(([name, f]) => (f.type === "boolean" ? [] : [`--${name}`])),
    ),
  );
  return `# magnet completion; source it, or: eval "$(magnet completion bash)"
_magnet() {
  local at="" next words="" i word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}"
  for ((i = 1; i < COMP_CWORD; i++)); do
    next="\${at:+$at }\${COMP_WORDS[i]}"
    case "$next" in
${descend.join("\n")}
    esac
  done
  case "$at $before" in
${choices.join("\n")}
  esac
  if [ -z "$words" ]; then
    case "$before" in
    ${[...valued].join("|")}) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    case "$at" in
${cases.join("\n")}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  [ \${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$word"))
}
complete -o filenames -F _magnet magnet`;
}

const quoted = (text: string) => `'${text.replaceAll("'", "\\'")}'`;

function fishScript(all: Place[]): string {
  const lines = ["# magnet completion; source it, or: magnet completion fish | source"];
  for (const { path, commands, flags } of all) {
    const seen = path.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ");
    const names = commands.map(({ name }) => name).join(" ");
    const fresh = names === "" ? "" : `not __fish_seen_subcommand_from ${names}`;
    const when = [seen, fresh].filter((part) => part !== "").join("; and ");
    for (const { name, summary } of commands)
      lines.push(`complete -c magnet -f -n ${quoted(when)} -a ${name} -d ${quoted(summary)}`);
    if (commands.length > 0 && path.length > 0) continue;
    const where = path.length > 0 ? ` -n ${quoted(seen)}` : "";
    for (const [name, flag] of Object.entries(flags)) {
      if (path.length > 0 && name in GLOBAL_FLAGS) continue;
      const value = flag.type === "boolean" ? "" : " -r";
      const options = flag.type === "choice" ? ` -f -a ${quoted(flag.options.join(" "))}` : "";
      lines.push(
        `complete -c magnet${where} -l ${name}${value}${options} -d ${quoted(flag.summary)}`,
      );
    }
  }
  return lines.join("\n");
}
