/** The settings of a chat: from the flags at the start, by /set while talking. */
import { MagnetError } from "../../core/errors.ts";
import type { Rounding } from "../../model/inference.ts";
import { parseSampling } from "../../model/sampling.ts";
import type { Flag } from "../frame/command.ts";
import { typedValue } from "../frame/strict.ts";

/** What `--name` and `/set name` take. */
export const SAMPLING_FLAGS = {
  temperature: { type: "number", min: 0, max: 100, default: 0.8, summary: "0: most likely token" },
  "top-k": { type: "integer", min: 0, max: 1 << 20, default: 40, summary: "0 means off" },
  "top-p": { type: "number", min: 0, max: 1, default: 0.95, summary: "1 means off" },
  "min-p": { type: "number", min: 0, max: 1, default: 0, summary: "0 means off" },
  "repetition-penalty": { type: "number", min: 0.01, max: 100, default: 1, summary: "1 means off" },
  seed: { type: "integer", min: 0, default: 0, summary: "the same seed gives the same answer" },
  "max-tokens": { type: "integer", min: 1, max: 1_000_000, default: 256, summary: "of an answer" },
} as const satisfies Record<string, Flag>;

export interface ChatSettings {
  temperature: number;
  top_k: number;
  top_p: number;
  min_p: number;
  repetition_penalty: number;
  seed: number;
  max_tokens: number;
  stop: readonly string[];
  rounding: Rounding;
  /** A JSON schema that answers follow. */
  schema?: unknown;
  /** Go on with the last message's text instead of answering it. */
  complete: boolean;
}

const snake = (name: string) => name.replaceAll("-", "_") as keyof ChatSettings;

/** One line for each setting that /set changes. */
export const settingLines = (settings: ChatSettings): string =>
  Object.entries(SAMPLING_FLAGS)
    .map(([name, { summary }]) => `${name.padEnd(19)} ${settings[snake(name)]}  (${summary})`)
    .join("\n");

/** The settings with one changed. Throws BAD_SETTING, saying what fits. */
export function changedSettings(settings: ChatSettings, name: string, text: string): ChatSettings {
  const dashed = name.replaceAll("_", "-");
  const flag: Flag | undefined = Object.hasOwn(SAMPLING_FLAGS, dashed)
    ? SAMPLING_FLAGS[dashed as keyof typeof SAMPLING_FLAGS]
    : undefined;
  if (flag === undefined)
    throw new MagnetError("BAD_SETTING", `there is no setting ${name}`, {
      hint: `one of ${Object.keys(SAMPLING_FLAGS).join(", ")}`,
    });
  const value = typedValue(flag, text) as number;
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = flag as { min?: number; max?: number };
  const whole = flag.type !== "integer" || Number.isSafeInteger(value);
  if (!(whole && value >= min && value <= max))
    throw new MagnetError("BAD_SETTING", `${dashed} cannot be "${text}"`, {
      hint: `${flag.type === "integer" ? "a whole number" : "a number"} from ${min} to ${max}`,
    });
  const changed = { ...settings, [snake(dashed)]: value };
  parseSampling(samplingOf(changed));
  return changed;
}

/** What the sampler takes of them. */
export function samplingOf(settings: ChatSettings) {
  const { temperature, top_k, top_p, min_p, repetition_penalty, seed } = settings;
  return { temperature, top_k, top_p, min_p, repetition_penalty, seed };
}
