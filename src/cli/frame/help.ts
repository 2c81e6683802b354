/** Help texts, made from the declarations of commands: usage, arguments, flags, examples. */
import type { Command, Flag, Flags, Group } from "./command.ts";
import { GLOBAL_FLAGS } from "./parse.ts";
import { placeholderOf } from "./strict.ts";

function columns(rows: [string, string][], indent = "  "): string[] {
  const width = Math.max(...rows.map(([left]) => left.length), 0);
  return rows.map(([left, right]) => `${indent}${left.padEnd(width)}  ${right}`.trimEnd());
}

function flagRow([name, flag]: [string, Flag]): [string, string] {
  const value = flag.type === "boolean" ? "" : ` ${placeholderOf(flag)}`;
  const short = flag.short ? `-${flag.short}, ` : "";
  const notes: string[] = [];
  if ("required" in flag && flag.required) notes.push("required");
  if (flag.type === "list") notes.push("may be repeated");
  if ("default" in flag && flag.default !== undefined) notes.push(`default ${flag.default}`);
  const note = notes.length > 0 ? ` (${notes.join(", ")})` : "";
  return [`${short}--${name}${value}`, flag.summary + note];
}

function flagSection(title: string, flags: Flags): string[] {
  const rows = Object.entries(flags).map(flagRow);
  return rows.length === 0 ? [] : ["", title, ...columns(rows)];
}

/** Help of one command; `path` holds the words after "magnet". */
export function commandHelp(path: string[], { declared: command }: Command): string {
  const words = Object.values(command.args).map(({ value, optional, many }) => {
    const text = many ? `${value}...` : value;
    return optional ? `[${text}]` : text;
  });
  const hasFlags = Object.keys(command.flags).length > 0;
  const usage = ["magnet", ...path, ...words, ...(hasFlags ? ["[flags]"] : [])].join(" ");
  const args = Object.values(command.args).map(({ value, summary }): [string, string] => [
    value,
    summary,
  ]);
  return [
    `${command.summary}`,
    ...(command.details ? ["", command.details] : []),
    "",
    "Usage",
    `  ${usage}`,
    ...(args.length > 0 ? ["", "Arguments", ...columns(args)] : []),
    ...flagSection("Flags", command.flags),
    ...flagSection("Global flags", GLOBAL_FLAGS),
    ...(command.examples.length > 0 ? ["", "Examples"] : []),
    ...columns(command.examples.map(({ command: line, does }) => [line, `# ${does}`])),
  ].join("\n");
}

/** Help of a group, or of the whole tool where `path` is empty. */
export function groupHelp(path: string[], group: Group): string {
  const name = ["magnet", ...path].join(" ");
  const rows = Object.entries(group.subCommands).map(([word, { summary }]): [string, string] => [
    word,
    summary,
  ]);
  if (group.otherwise) {
    const more = rows.map(([word, text]): [string, string] => [`${name} ${word}`, text]);
    return [commandHelp(path, group.otherwise), "", "Also", ...columns(more)].join("\n");
  }
  return [
    group.meta.description,
    "",
    "Usage",
    `  ${name} COMMAND [flags]`,
    "",
    "Commands",
    ...columns(rows),
    ...flagSection("Global flags", GLOBAL_FLAGS),
    "",
    `${name} COMMAND --help explains one command.`,
  ].join("\n");
}
