/**
 * Changes one setting in the TOML file and keeps everything else of it, comments included. The
 * result is parsed again before it replaces the old file in one step: either exactly this setting
 * changed, or the file is left alone.
 */
import fs from "node:fs";
import path from "node:path";
import { canonicalJson } from "./bytes.ts";
import { checkValue, parseConfigText, readConfigText } from "./config.ts";
import type { Setting } from "./config-schema.ts";
import { MagnetError, toMagnetError } from "./errors.ts";
import { requireFile } from "./read-file.ts";

/** A value of the schema's kinds as TOML. */
function tomlValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(", ")}]`;
  if (typeof value === "string") return JSON.stringify(value); // a basic string has JSON's escapes
  return String(value);
}

const escapePattern = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** The file's text with one setting replaced or added. */
function edited(text: string, setting: Setting, value: unknown): string {
  const lines = text === "" ? [] : text.replace(/\n$/, "").split("\n");
  const line = `${setting.name} = ${tomlValue(value)}`;
  const header = new RegExp(`^\\s*\\[\\s*${escapePattern(setting.section)}\\s*\\]\\s*(#.*)?$`);
  const start = lines.findIndex((l) => header.test(l));
  if (start < 0) {
    const gap = lines.length > 0 ? [""] : [];
    return `${[...lines, ...gap, `[${setting.section}]`, line].join("\n")}\n`;
  }
  const next = lines.findIndex((l, i) => i > start && /^\s*\[/.test(l));
  const end = next < 0 ? lines.length : next;
  const assignment = new RegExp(`^\\s*${escapePattern(setting.name)}\\s*=`);
  const at = lines.findIndex((l, i) => i > start && i < end && assignment.test(l));
  if (at >= 0) lines[at] = line;
  else lines.splice(start + 1, 0, line);
  return `${lines.join("\n")}\n`;
}

/**
 * Sets a value (in the schema's input form, for example "20GiB") and returns it checked. Throws
 * CONFIG_BAD_VALUE, CONFIG_NOT_EDITABLE (a layout this editor does not follow) and system failures.
 */
export function setInFile(file: string, setting: Setting, raw: unknown): unknown {
  const checked = checkValue(setting, raw);
  const before = fs.existsSync(file) ? readConfigText(file) : "";
  const wanted = parseConfigText(file, before);
  wanted.set(setting.key, raw);
  const after = edited(before, setting, raw);
  if (!parsesTo(file, after, wanted))
    throw new MagnetError("CONFIG_NOT_EDITABLE", `${file} is laid out in a way not edited here`, {
      hint: `change ${setting.key} in the file by hand; nothing was written`,
      exit: "config",
    });
  replaceFile(file, after);
  return checked;
}

function parsesTo(file: string, text: string, wanted: Map<string, unknown>): boolean {
  const json = (map: Map<string, unknown>) => canonicalJson(Object.fromEntries(map));
  try {
    return json(parseConfigText(file, text)) === json(wanted);
  } catch {
    return false; // the edit broke the file's syntax: it is not written
  }
}

/** Replaces a small file in one step, durably; other users cannot read it. */
function replaceFile(file: string, text: string): void {
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    if (fs.existsSync(file)) requireFile(file);
    fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    fs.writeFileSync(temporary, text, { mode: 0o600, flush: true });
    fs.renameSync(temporary, file);
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw toMagnetError(error);
  }
}
