/** `magnet doctor`: one line for each thing a node needs; exit 1 where something fails. */
import { runDoctor } from "../agent/doctor.ts";
import { keyStorageOf } from "../agent/key-place.ts";
import { loadConfig } from "../core/config.ts";
import { MagnetError } from "../core/errors.ts";
import { type Context, defineCommand } from "./frame/command.ts";
import type { Style } from "./frame/output.ts";

const STATUS_STYLES: Record<string, Style> = { ok: "green", warn: "yellow", fail: "red" };

/** A configuration that does not load is a finding; the other checks then look at the defaults. */
async function configOrDefaults(context: Context) {
  try {
    return { config: await context.config(), error: undefined };
  } catch (error) {
    if (!(error instanceof MagnetError)) throw error;
    const { HOME, XDG_DATA_HOME } = process.env;
    const flags = { "node.data_dir": context.global.data_dir };
    return { config: loadConfig({ env: { HOME, XDG_DATA_HOME }, flags }), error };
  }
}

export const doctor = defineCommand({
  summary: "Checks what a node needs on this machine",
  details:
    "One line each: ok, warn or fail, what was found, and what would fix it.\nExit code 1 where something fails.",
  examples: [
    { command: "magnet doctor", does: "look at everything" },
    { command: "magnet doctor --data-dir /srv/magnet", does: "test that disk" },
  ],
  args: {},
  flags: {},
  async run(context) {
    const { out } = context;
    const { config, error } = await configOrDefaults(context);
    const checks = await runDoctor({
      values: config.values,
      config_file: error ? undefined : config.file,
      config_error: error,
      keys: keyStorageOf(config.values, process.env),
    });
    const failed = checks.some(({ status }) => status === "fail");
    out.result("doctor", { ok: !failed, checks }, () =>
      checks
        .map(({ name, status, value, fix }) => {
          const word = out.style(STATUS_STYLES[status]!, status.padEnd(4));
          return `${word} ${name.padEnd(11)} ${value}${fix ? ` -> ${fix}` : ""}`;
        })
        .join("\n"),
    );
    return failed ? "failed" : "ok";
  },
});
