/**
 * How a command is declared: its flags, arguments, examples and what it runs. One declaration gives the
 * strict parser, the help text, shell completion and the types of the values that `run` receives.
 */
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
   * The configuration (flags > environment > file > defaults), with the log set up by it. `overrides` are
   * the values of the command's own flags by configuration key; undefined ones do not count.
   */
  config(overrides?: Overrides): Promise<Config>;
}

export interface Example {
  command: string;
  does: string;
}

export interface Command<A extends Arguments = Arguments, F extends Flags = Flags> {
  kind: "command";
  summary: string;
  /** A paragraph for `--help`, below the summary. */
  details?: string;
  examples: readonly Example[];
  args: A;
  flags: F;
  /**
   * The command ends by itself on `signal` (a trainer saves a checkpoint). Without it the first signal
   * ends the process with exit code 130.
   */
  graceful?: true;
  /** The command computes without yielding: signals keep the system's action, and `signal` is silent. */
  default_signals?: true;
  /** Returns the exit kind where it is not `ok`; throws MagnetError. */
  run(
    context: Context,
    input: { args: ArgumentValues<A>; flags: FlagValues<F> },
  ): Promise<ExitKind | undefined>;
}

/** A name in the tree; the module behind it is imported only when it is needed. */
export interface Entry {
  summary: string;
  load: () => Promise<Command | Group>;
}
export interface Group {
  kind: "group";
  summary: string;
  commands: Record<string, Entry>;
  /** What runs where the next word is none of the commands (`magnet eval MODEL`). */
  otherwise?: Command;
}

/** Declares a command with inferred types for `run`. */
export function defineCommand<const A extends Arguments, const F extends Flags>(
  command: Omit<Command<A, F>, "kind">,
): Command {
  // The parser builds exactly the shapes of A and F, which the erased type cannot say.
  return { ...command, kind: "command" } as unknown as Command;
}

/** Declares a command with subcommands that live in the same module. */
export function defineGroup(
  summary: string,
  commands: Record<string, Command>,
  otherwise?: Command,
): Group {
  const entries = Object.entries(commands).map(
    ([name, command]) =>
      [name, { summary: command.summary, load: () => Promise.resolve(command) }] as const,
  );
  const group: Group = { kind: "group", summary, commands: Object.fromEntries(entries) };
  return otherwise === undefined ? group : { ...group, otherwise };
}
