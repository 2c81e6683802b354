/**
 * How a command is declared: its flags, arguments, examples and what it runs. One declaration gives
 * citty's definitions, the strict checks above them, the help text, shell completion and the types
 * of the values that `run` receives. The tree is citty's: commands whose subcommands are resolved
 * on demand.
 */
import type { ArgsDef, CommandDef } from "citty";
import type { Config, Overrides } from "../../core/config.ts";
import type { ExitKind } from "../../core/errors.ts";
import type { Output } from "./output.ts";

interface FlagBase {
  summary: string;
  /** One letter for `-x`. */
  short?: string;
  /** Placeholder in the help, for example PATH. */
  value?: string;
}
export type Flag =
  | (FlagBase & { type: "boolean" })
  | (FlagBase & { type: "string"; default?: string; required?: true })
  /** May be given several times; always an array. */
  | (FlagBase & { type: "list"; required?: true })
  | (FlagBase & { type: "integer"; min: number; max?: number; default?: number; required?: true })
  | (FlagBase & { type: "number"; min?: number; max?: number; default?: number; required?: true })
  | (FlagBase & { type: "choice"; options: readonly string[]; default?: string; required?: true });
export type Flags = Record<string, Flag>;

type Given<F> = F extends { type: "boolean" }
  ? boolean
  : F extends { type: "list" }
    ? string[]
    : F extends { type: "integer" | "number" }
      ? number
      : F extends { type: "choice"; options: readonly (infer O)[] }
        ? O
        : string;
type Always = { type: "boolean" } | { type: "list" } | { default: unknown } | { required: true };
type Snake<S extends string> = S extends `${infer A}-${infer B}` ? `${A}_${Snake<B>}` : S;
/** Values by the flag's name in snake_case (`--vocab-size` arrives as `vocab_size`). */
export type FlagValues<F extends Flags> = {
  [N in keyof F & string as Snake<N>]: F[N] extends Always ? Given<F[N]> : Given<F[N]> | undefined;
};

/** Positional arguments, in order; `many` takes the rest and must come last. */
export interface Argument {
  /** Placeholder in the help, for example MODEL. */
  value: string;
  summary: string;
  optional?: true;
  many?: true;
}
export type Arguments = Record<string, Argument>;
export type ArgumentValues<A extends Arguments> = {
  [N in keyof A]: A[N] extends { many: true }
    ? string[]
    : A[N] extends { optional: true }
      ? string | undefined
      : string;
};

export interface GlobalFlags {
  json: boolean;
  quiet: boolean;
  verbose: boolean;
  no_color: boolean;
  yes: boolean;
  config: string | undefined;
  data_dir: string | undefined;
}

/** What the frame hands to a command. */
export interface Context {
  out: Output;
  global: GlobalFlags;
  /** Aborted by the first SIGINT or SIGTERM. */
  signal: AbortSignal;
  /**
   * The configuration (flags > environment > file > defaults), with the log set up by it.
   * `overrides` are the values of the command's own flags by configuration key; undefined ones do
   * not count.
   */
  config(overrides?: Overrides): Promise<Config>;
}

export interface Example {
  command: string;
  does: string;
}

/** What the author of a command writes. */
export interface Declaration<A extends Arguments = Arguments, F extends Flags = Flags> {
  summary: string;
  /** A paragraph for `--help`, below the summary. */
  details?: string;
  examples: readonly Example[];
  args: A;
  flags: F;
  /**
   * The command ends by itself on `signal` (a trainer saves a checkpoint). Without it the first
   * signal ends the process with exit code 130.
   */
  graceful?: true;
  /**
   * The command computes without yielding: signals keep the system's action, and `signal` is
   * silent.
   */
  default_signals?: true;
  /** Returns the exit kind where it is not `ok`; throws MagnetError. */
  run(
    context: Context,
    input: { args: ArgumentValues<A>; flags: FlagValues<F> },
  ): Promise<ExitKind | undefined>;
}

/**
 * A leaf of the tree; the parser gives citty the declaration's flags together with the global ones.
 */
export interface Command extends CommandDef {
  kind: "command";
  meta: { description: string };
  declared: Declaration;
}

/** A subcommand, resolved by citty's rules on demand; its summary is known without loading it. */
export type Entry = (() => Promise<Command | Group>) & { summary: string };

/** An inner node of the tree. */
export interface Group extends CommandDef {
  kind: "group";
  meta: { description: string };
  subCommands: Record<string, Entry>;
  /** What runs where the next word is none of the commands (`magnet eval MODEL`). */
  otherwise?: Command;
}

/** An entry whose module is imported when the command is run, completed or asked for help. */
export const lazy = (summary: string, load: () => Promise<Command | Group>): Entry =>
  Object.assign(load, { summary });

/**
 * Flags as citty's arguments. citty reads `--no-x` as the negation of `x`, so it is told of `x`.
 * Numbers and choices are texts to it: the strict checks word their refusals with code and hint.
 */
export function cittyArgs(flags: Flags): ArgsDef {
  const definitions: ArgsDef = {};
  for (const [name, { type, summary, short, value }] of Object.entries(flags)) {
    const alias = short === undefined ? {} : { alias: short };
    if (type === "boolean" && name.startsWith("no-"))
      definitions[name.slice(3)] = { type: "boolean", negativeDescription: summary };
    else if (type === "boolean") definitions[name] = { type, description: summary, ...alias };
    else {
      const valueHint = value === undefined ? {} : { valueHint: value };
      definitions[name] = { type: "string", description: summary, ...valueHint, ...alias };
    }
  }
  return definitions;
}

/** Declares a command with inferred types for `run`. */
export function defineCommand<const A extends Arguments, const F extends Flags>(
  declared: Declaration<A, F>,
): Command {
  return {
    kind: "command",
    meta: { description: declared.summary },
    // The parser builds exactly the shapes of A and F, which the erased type cannot say.
    declared: declared as unknown as Declaration,
  };
}

/** Declares a command with subcommands that live in the same module. */
export function defineGroup(
  summary: string,
  commands: Record<string, Command>,
  otherwise?: Command,
): Group {
  const entries = Object.entries(commands).map(
    ([name, command]) => [name, lazy(command.declared.summary, async () => command)] as const,
  );
  const subCommands = Object.fromEntries(entries);
  const group: Group = { kind: "group", meta: { description: summary }, subCommands };
  return otherwise === undefined ? group : { ...group, otherwise };
}
