/** `magnet config`: the settings in force, where each came from, and changing the file. */
import type { Config } from "../core/config.ts";
import { checkValue, loadConfig, settingOf, valueFromText } from "../core/config.ts";
import { setInFile } from "../core/config-file.ts";
import { SETTINGS, type Setting } from "../core/config-schema.ts";
import { type Context, defineCommand, defineGroup } from "./frame/command.ts";
import { table } from "./frame/output.ts";

const settingValue = (config: Config, { section, name }: Setting): unknown =>
  (config.values[section] as Record<string, unknown>)[name];
const shown = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));

/** The file that `set` writes and `path` names. */
const fileOf = (context: Context, config: Config) =>
  config.file ?? context.global.config ?? config.paths.config_file;

const show = defineCommand({
  summary: "Shows all settings in force",
  examples: [
    { command: "magnet config show", does: "values by name" },
    { command: "magnet config show --origin", does: "also where each value came from" },
  ],
  args: {},
  flags: {
    origin: { type: "boolean", summary: "show where each value came from and what it means" },
  },
  async run(context, { flags }) {
    const config = await context.config();
    const rows = SETTINGS.map((setting) => ({
      key: setting.key,
      value: settingValue(config, setting),
      origin: config.origins.get(setting.key)!,
      env: setting.env,
      description: setting.description,
    }));
    const data = { file: config.file ?? null, settings: rows };
    context.out.result("config_show", data, () =>
      flags.origin
        ? table(
            ["setting", "value", "from", "meaning"],
            rows.map((r) => [r.key, shown(r.value), r.origin, r.description]),
          )
        : rows.map((row) => `${row.key} = ${JSON.stringify(row.value)}`).join("\n"),
    );
  },
});

const get = defineCommand({
  summary: "Shows one setting",
  examples: [{ command: "magnet config get node.listen", does: "the value in force" }],
  args: { key: { value: "KEY", summary: "dotted name, for example node.listen" } },
  flags: {},
  async run(context, { args }) {
    const setting = settingOf(args.key);
    const config = await context.config();
    const value = settingValue(config, setting);
    const origin = config.origins.get(setting.key)!;
    context.out.result("config_get", { key: setting.key, value, origin }, shown(value));
  },
});

const set = defineCommand({
  summary: "Changes one setting in the configuration file",
  details: "Comments and all other settings of the file stay. Lists are parted by commas.",
  examples: [
    { command: "magnet config set node.listen 0.0.0.0:7701", does: "listen on another port" },
    { command: "magnet config set node.max_disk 50GiB", does: "allow more disk space" },
  ],
  args: {
    key: { value: "KEY", summary: "dotted name, for example node.listen" },
    value: { value: "VALUE", summary: "the new value" },
  },
  flags: {},
  async run(context, { args }) {
    const setting = settingOf(args.key);
    const raw = valueFromText(setting, args.value);
    checkValue(setting, raw);
    const file = fileOf(context, await configForChange(context));
    const value = setInFile(file, setting, raw);
    context.out.result(
      "config_set",
      { key: setting.key, value, file },
      `${setting.key} = ${shown(value)} in ${file}`,
    );
  },
});

/** `set` must also work where --config names a file that does not exist yet. */
async function configForChange(context: Context): Promise<Config> {
  if (context.global.config === undefined) return await context.config();
  return { ...loadConfig({ env: {} }), file: context.global.config };
}

const path = defineCommand({
  summary: "Shows where configuration, data and cache live",
  examples: [{ command: "magnet config path --json", does: "for scripts" }],
  args: {},
  flags: {},
  async run(context) {
    const config = await context.config();
    const data = {
      config_file: fileOf(context, config),
      config_file_exists: config.file !== undefined,
      data_dir: config.values.node.data_dir,
      cache_dir: config.paths.cache_dir,
      note: config.paths.note ?? null,
    };
    if (data.note) context.out.note(data.note);
    const missing = data.config_file_exists ? "" : " (absent: defaults)";
    context.out.result(
      "config_path",
      data,
      `config  ${data.config_file}${missing}\ndata    ${data.data_dir}\ncache   ${data.cache_dir}`,
    );
  },
});

const check = defineCommand({
  summary: "Checks a configuration file and the environment; exit 3 names what is wrong",
  examples: [{ command: "magnet config check ./magnet.toml", does: "check before using it" }],
  args: { file: { value: "FILE", summary: "instead of the file in use", optional: true } },
  flags: {},
  async run(context, { args }) {
    const config =
      args.file === undefined
        ? await context.config()
        : loadConfig({ env: process.env, config_path: args.file });
    const changed = [...config.origins.values()].filter((origin) => origin !== "default").length;
    const data = {
      ok: true,
      file: config.file ?? null,
      changed,
    };
    const what = config.file ?? "no file";
    context.out.result(
      "config_check",
      data,
      `ok: ${what}, ${changed} settings differ from defaults`,
    );
  },
});

export const config = defineGroup("Shows and changes settings", { show, get, set, path, check });
