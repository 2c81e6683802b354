/**
 * Three-way merge of configurations: what `theirs` changed of `base` goes into `ours` wherever
 * ours left it alone. Two strategies that each mended something on its own are so tried together.
 */
import { canonicalJson } from "../../core/bytes.ts";
import type { Configuration, Json } from "../types.ts";

/** Lists of different lengths are changed as a whole; where both changed one place, ours stays. */
export function mergeConfigurations(
  base: Configuration,
  ours: Configuration,
  theirs: Configuration,
): Configuration {
  return merge(base, ours, theirs) as Configuration;
}

function merge(base: Json | undefined, ours: Json | undefined, theirs: Json | undefined): Json {
  if (same(base, theirs)) return ours!;
  if (same(base, ours)) return theirs!;
  if (isList(base) && isList(ours) && isList(theirs))
    return base.length === ours.length && base.length === theirs.length
      ? base.map((value, i) => merge(value, ours[i], theirs[i]))
      : ours;
  if (!isRecord(base) || !isRecord(ours) || !isRecord(theirs)) return ours!;
  const keys = new Set([...Object.keys(ours), ...Object.keys(theirs)]);
  const merged: { [key: string]: Json } = {};
  for (const key of keys) {
    const value = merge(base[key], ours[key], theirs[key]);
    if (value !== undefined) merged[key] = value;
  }
  return merged;
}

const same = (a: Json | undefined, b: Json | undefined) =>
  a === b || (a !== undefined && b !== undefined && canonicalJson(a) === canonicalJson(b));
const isList = (value: Json | undefined): value is readonly Json[] => Array.isArray(value);
const isRecord = (value: Json | undefined): value is { readonly [key: string]: Json } =>
  value !== null && typeof value === "object" && !Array.isArray(value);
