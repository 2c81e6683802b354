/**
 * The configuration in force: flags > environment > file > defaults, each value with its origin. A
 * name that the schema does not know is an error in every source, and so is a value that does not
 * fit.
 */
import fs from "node:fs";
import path from "node:path";
import type { z } from "zod";
import {
  type ConfigValues,
  OTHER_VARIABLES,
  SECTION_NAMES,
  SETTINGS,
  SETTINGS_BY_KEY,
  type SectionName,
  type Setting,
} from "./config-schema.ts";
import { didYouMean } from "./did-you-mean.ts";
import { MagnetError, toMagnetError } from "./errors.ts";
import { type Paths, standardPaths } from "./paths.ts";
import { readSmallFile } from "./read-file.ts";

/**
 * Values by dotted key, for example {"node.listen": "0.0.0.0:7700"}; undefined ones do not count.
 */
export type Overrides = Record<string, unknown>;
export type Origin = "default" | "file" | "environment" | "flag";

export interface Config {
  values: ConfigValues;
  /** Where each value came from, by dotted key. */
  origins: ReadonlyMap<string, Origin>;
  paths: Paths;
  /** The file that was read; undefined where there is none. */
  file: string | undefined;
}

export interface ConfigSources {
  env: Record<string, string | undefined>;
  /** `--config`: this file must exist. */
  config_path?: string | undefined;
  flags?: Overrides;
}

/** 1 MiB: a configuration is a few hundred bytes; more is another file given by mistake. */
const FILE_BYTES_MAX = 1 << 20;
/** Shells and tools set many variables; only ours are looked at. */
const PREFIX = "MAGNET_";

const configError = (code: string, message: string, hint: string) =>
  new MagnetError(code, message, { hint, exit: "config" });

/** Reads all sources. Throws CONFIG_* with exit `config`; never returns a half-checked value. */
export function loadConfig(sources: ConfigSources): Config {
  const paths = standardPaths(sources.env);
  const chosen = sources.config_path ?? (sources.env.MAGNET_CONFIG || undefined);
  const file = chosen ?? (fs.existsSync(paths.config_file) ? paths.config_file : undefined);
  const layers: [Origin, Map<string, unknown>][] = [
    ["file", file === undefined ? new Map() : parseConfigText(file, readConfigText(file))],
    ["environment", fromEnvironment(sources.env)],
    ["flag", fromFlags(sources.flags ?? {})],
  ];
  const values = Object.fromEntries(
    SECTION_NAMES.map((name) => [name, {} as Record<string, unknown>]),
  ) as Record<SectionName, Record<string, unknown>>;
  const origins = new Map<string, Origin>();
  for (const setting of SETTINGS) {
    let [origin, raw]: [Origin, unknown] = ["default", undefined];
    for (const [name, layer] of layers)
      if (layer.has(setting.key)) [origin, raw] = [name, layer.get(setting.key)];
    values[setting.section][setting.name] = checkValue(
      setting,
      raw,
      originText(origin, setting, file),
    );
    origins.set(setting.key, origin);
  }
  const checked = values as unknown as ConfigValues; // every section and name of the schema was just filled
  checked.node.data_dir = path.resolve(checked.node.data_dir || paths.data_dir);
  return { values: checked, origins, paths, file };
}

function originText(origin: Origin, setting: Setting, file: string | undefined): string {
  if (origin === "file") return `${file}: ${setting.key}`;
  return origin === "environment" ? setting.env : setting.key;
}

/** Checks one raw value; `where` names its source in the error. */
export function checkValue(setting: Setting, raw: unknown, where: string = setting.key): unknown {
  const result = (setting.schema as z.ZodType).safeParse(raw);
  if (result.success) return result.data;
  const what = result.error.issues[0]?.message ?? "is not valid";
  const shown = raw === undefined ? "" : ` ${JSON.stringify(raw)}`;
  throw configError(
    "CONFIG_BAD_VALUE",
    `${where}${shown}: ${what}`,
    `${setting.key} is: ${setting.description}`,
  );
}

/** The setting of a dotted key. Throws CONFIG_UNKNOWN_KEY with the nearest name. */
export function settingOf(key: string, where = "the configuration"): Setting {
  const setting = SETTINGS_BY_KEY.get(key);
  if (setting) return setting;
  throw configError(
    "CONFIG_UNKNOWN_KEY",
    `${where} has no setting "${key}"`,
    didYouMean(key, SETTINGS_BY_KEY.keys(), "magnet config show lists all settings"),
  );
}

/** Values of a TOML text by dotted key, not yet checked against their settings. Throws CONFIG_*. */
export function parseConfigText(file: string, text: string): Map<string, unknown> {
  const parsed = parseToml(file, text);
  const values = new Map<string, unknown>();
  for (const [section, body] of Object.entries(parsed)) {
    if (!(SECTION_NAMES as string[]).includes(section))
      throw configError(
        "CONFIG_UNKNOWN_KEY",
        `${file} has no section "${section}"`,
        didYouMean(section, SECTION_NAMES, `sections are ${SECTION_NAMES.join(", ")}`),
      );
    if (typeof body !== "object" || body === null || Array.isArray(body))
      throw configError(
        "CONFIG_BAD_VALUE",
        `${file}: ${section} is a section, not a value`,
        `write [${section}] and its settings below`,
      );
    for (const [name, value] of Object.entries(body)) {
      const key = `${section}.${name}`;
      settingOf(key, file);
      values.set(key, value);
    }
  }
  return values;
}

/** The text of a configuration file. Throws CONFIG_* and the system's own failures. */
export function readConfigText(file: string): string {
  try {
    const bytes = readSmallFile(file, FILE_BYTES_MAX);
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    const known = toMagnetError(error);
    if (known.code !== "INTERNAL")
      throw new MagnetError(known.code, known.message, {
        hint: "name another file with --config, or make one with: magnet config set",
        exit: "config",
        cause: error,
      });
    throw configError("CONFIG_NOT_TEXT", `${file} is not UTF-8 text`, "it must be a TOML file");
  }
}

function parseToml(file: string, text: string): Record<string, unknown> {
  try {
    return Bun.TOML.parse(text) as Record<string, unknown>;
  } catch (error) {
    const place = error as { line?: unknown; message?: unknown };
    const line = typeof place.line === "number" ? `:${place.line}` : "";
    throw configError(
      "CONFIG_BAD_TOML",
      `${file}${line}: ${String(place.message ?? error)}`,
      'a setting looks like: listen = "0.0.0.0:7700", below its [section]',
    );
  }
}

/** Values of MAGNET_<SECTION>_<KEY>; an empty variable counts as unset. */
function fromEnvironment(env: Record<string, string | undefined>): Map<string, unknown> {
  const values = new Map<string, unknown>();
  const byName = new Map(SETTINGS.map((setting) => [setting.env, setting]));
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith(PREFIX) || !text) continue;
    if ((OTHER_VARIABLES as readonly string[]).includes(name)) continue;
    const setting = byName.get(name);
    if (!setting)
      throw configError(
        "CONFIG_UNKNOWN_KEY",
        `no setting is called ${name}`,
        didYouMean(name, [...byName.keys(), ...OTHER_VARIABLES], "unset it"),
      );
    values.set(setting.key, valueFromText(setting, text));
  }
  return values;
}

/**
 * Text of a variable or of `config set` as the schema's kind: numbers and lists (parted by commas)
 * are converted; what does not convert stays text and the schema refuses it.
 */
export function valueFromText(setting: Setting, text: string): unknown {
  if (setting.schema.safeParse(text).success) return text;
  if (/^[+-]?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(text)) return Number(text);
  const list = text === "" ? [] : text.split(",").map((item) => item.trim());
  return setting.schema.safeParse(list).success ? list : text;
}

function fromFlags(flags: Overrides): Map<string, unknown> {
  const values = new Map<string, unknown>();
  for (const [key, value] of Object.entries(flags)) {
    if (value === undefined) continue;
    values.set(settingOf(key).key, value);
  }
  return values;
}
