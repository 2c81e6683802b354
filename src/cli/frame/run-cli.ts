/**
 * Runs one command line from parsing to exit code. Every failure ends here as one error text (or
 * one JSON document under --json); only main.ts ends the process.
 */
import type { Config, Overrides } from "../../core/config.ts";
import { EXIT, type ExitKind, MagnetError, toMagnetError } from "../../core/errors.ts";
import type { Context, Declaration, GlobalFlags, Group } from "./command.ts";
import { commandHelp, groupHelp } from "./help.ts";
import { Output, OutputClosed } from "./output.ts";
import { parseCommandLine, resolveCommand } from "./parse.ts";
import { usageError } from "./strict.ts";

export interface CliEnvironment {
  env: Record<string, string | undefined>;
  stdout_terminal: boolean;
  stderr_terminal: boolean;
}

const NO_FLAGS: GlobalFlags = {
  json: false,
  quiet: false,
  verbose: false,
  no_color: false,
  yes: false,
  config: undefined,
  data_dir: undefined,
};

function makeOutput(global: GlobalFlags, environment: CliEnvironment): Output {
  const { env, stdout_terminal, stderr_terminal } = environment;
  const dumb = env.TERM === "dumb";
  const wanted = !global.json && !global.no_color && !env.NO_COLOR && !dumb;
  return new Output({
    json: global.json,
    quiet: global.quiet,
    color: wanted && stdout_terminal && stderr_terminal,
    terminal: stderr_terminal && !dumb,
  });
}

/** Before parsing has succeeded: what an error report needs to know. */
function guessGlobal(argv: string[]): GlobalFlags {
  const end = argv.indexOf("--");
  const flags = new Set(end < 0 ? argv : argv.slice(0, end));
  return {
    ...NO_FLAGS,
    json: flags.has("--json"),
    verbose: flags.has("--verbose"),
    no_color: flags.has("--no-color"),
  };
}

/** `NAME: what happened. Hint: what to do`, or the document `magnet.error/1`. */
export function reportError(out: Output, error: unknown, verbose: boolean): ExitKind {
  const failure = toMagnetError(error);
  const { code, message, hint, retryable } = failure;
  const trace = verbose ? `${traceOf(error)}\n` : "";
  if (out.json) {
    out.result("error", { error: { code, message, hint: hint ?? null, retryable } }, "");
    if (trace) out.stderr(trace);
    return failure.exit;
  }
  const stop = /[.!?]$/.test(message) ? "" : ".";
  const advice = hint ? ` Hint: ${hint}` : "";
  out.stderr(`${out.style("red", code)}: ${message}${stop}${advice}\n${trace}`);
  return failure.exit;
}

function traceOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `\ncaused by ${traceOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}

/** The spellings that users try first: `magnet help train`, `magnet --version`. */
function asCommand(argv: string[]): string[] {
  const [first, ...rest] = argv;
  if (first === "help") return [...rest, "--help"];
  return first === "--version" || first === "-V" ? ["version", ...rest] : argv;
}

/** Runs `argv` (without the executable's name) and returns the exit code. Never throws. */
export async function runCli(
  root: Group,
  argv: string[],
  environment: CliEnvironment,
): Promise<number> {
  let global = guessGlobal(argv);
  try {
    const line = asCommand(argv);
    const { path, target, rest } = await resolveCommand(root, line);
    const name = ["magnet", ...path].join(" ");
    const declared = target.kind === "command" ? target.declared : { args: {}, flags: {} };
    const parsed = parseCommandLine(name, rest, declared);
    global = parsed.global;
    const out = makeOutput(global, environment);
    if (parsed.help || (target.kind === "group" && path.length === 0)) {
      const text = target.kind === "group" ? groupHelp(path, target) : commandHelp(path, target);
      out.result("help", { command: name, text }, text);
      return EXIT.ok;
    }
    if (target.kind === "group")
      throw usageError(
        "MISSING_COMMAND",
        `${name} needs a command`,
        `one of ${Object.keys(target.subCommands).join(", ")}`,
      );
    const input = { args: parsed.args, flags: parsed.flags };
    return EXIT[await runCommand(target.declared, input, out, global, environment)];
  } catch (error) {
    return reportLast(error, global, environment);
  }
}

/** The report itself may meet a closed stdout. */
function reportLast(error: unknown, global: GlobalFlags, environment: CliEnvironment): number {
  if (error instanceof OutputClosed) return EXIT.ok;
  try {
    return EXIT[reportError(makeOutput(global, environment), error, global.verbose)];
  } catch (second) {
    return second instanceof OutputClosed ? EXIT[toMagnetError(error).exit] : EXIT.failed;
  }
}

async function runCommand(
  command: Declaration,
  input: Pick<ReturnType<typeof parseCommandLine>, "args" | "flags">,
  out: Output,
  global: GlobalFlags,
  environment: CliEnvironment,
): Promise<ExitKind> {
  const interrupt = new AbortController();
  const interrupted = Promise.withResolvers<never>();
  interrupted.promise.catch(() => undefined); // it is only listened to by the race below
  const onSignal = (signal: NodeJS.Signals) => {
    const error = new MagnetError("INTERRUPTED", `stopped by ${signal}`, { exit: "interrupted" });
    const again = interrupt.signal.aborted;
    interrupt.abort(error);
    if (again || !command.graceful) interrupted.reject(error);
    else out.note("stopping; a second signal ends at once");
  };
  const signals = command.default_signals ? [] : (["SIGINT", "SIGTERM"] as const);
  for (const name of signals) process.on(name, onSignal);
  const context: Context = {
    out,
    global,
    signal: interrupt.signal,
    config: (overrides) => loadForCommand(global, environment, overrides ?? {}),
  };
  try {
    // The types of `input` were erased by defineCommand; the parser built exactly these shapes.
    const run = command.run(context, input as Parameters<Declaration["run"]>[1]);
    return (await Promise.race([run, interrupted.promise])) ?? "ok";
  } finally {
    for (const name of signals) process.off(name, onSignal);
  }
}

/** Imported only here: a command that reads no configuration starts without zod and the log. */
async function loadForCommand(
  global: GlobalFlags,
  environment: CliEnvironment,
  overrides: Overrides,
): Promise<Config> {
  const { loadConfig } = await import("../../core/config.ts");
  const { startLog } = await import("../../core/log.ts");
  const flags: Overrides = { ...overrides };
  if (global.data_dir !== undefined) flags["node.data_dir"] = global.data_dir;
  if (global.verbose) flags["log.level"] = "debug";
  const config = loadConfig({ env: environment.env, config_path: global.config, flags });
  const { level, format } = config.values.log;
  await startLog({
    level: global.quiet && level === "info" ? "error" : level,
    format: format === "auto" ? (environment.stderr_terminal ? "text" : "json") : format,
    color: environment.stderr_terminal && !global.no_color && !environment.env.NO_COLOR,
  });
  return config;
}
