/**
 * Naming several sources of data: PATH=WEIGHT. What a path means as a file always wins over what it
 * means as a weight, so a file that is called "a=1" can still be named.
 */
import path from "node:path";
import { MagnetError } from "../core/errors.ts";
import { hostFileSystem } from "./file-system.ts";
import { SOURCES_MAX } from "./mixture-order.ts";

export interface NamedSource {
  path: string;
  /** Share of the sequences, up to a common factor. */
  weight: number;
  /** Short and unique among the sources; appears in reports. */
  name: string;
}

const badSource = (message: string, hint: string) =>
  new MagnetError("BAD_DATA_SOURCE", message, { hint, exit: "usage" });

async function parseOne(given: string): Promise<{ path: string; weight: number | null }> {
  const match = /^(.+)=([^=/]*)$/.exec(given);
  if (!match || (await hostFileSystem.exists(given))) return { path: given, weight: null };
  const [, file, number] = match as unknown as [string, string, string];
  const weight = number.trim() === "" ? Number.NaN : Number(number);
  if (Number.isFinite(weight) && weight > 0 && weight <= 1e15) return { path: file, weight };
  // Anything else behind the sign is part of a name; the search for the file reports it.
  if (!/^[-+.\d\s]/.test(number) && number.trim() !== "") return { path: given, weight: null };
  throw badSource(
    `the weight of "${given}" is "${number}"`,
    "a weight is a number above 0, for example --data books/=0.5",
  );
}

/** The last part of each path, or the whole path where that is not unique. */
function namesOf(paths: readonly string[]): string[] {
  const short = paths.map((p) => path.basename(path.resolve(p)));
  return paths.map((p, i) => (short.filter((s) => s === short[i]).length > 1 ? p : short[i]!));
}

/**
 * Reads a list of PATH and PATH=WEIGHT. null: no weights are given, so the paths are one corpus.
 * Throws BAD_DATA_SOURCE where only some have weights, or one path is named twice.
 */
export async function parseSources(given: readonly string[]): Promise<NamedSource[] | null> {
  const parsed = await Promise.all(given.map(parseOne));
  const bare = parsed.find(({ weight }) => weight === null);
  if (bare && parsed.every(({ weight }) => weight === null)) return null;
  if (parsed.length === 0) return null;
  if (bare)
    throw badSource(
      `"${bare.path}" has no weight, others have one`,
      "give every source a weight (PATH=NUMBER), or none",
    );
  if (parsed.length > SOURCES_MAX)
    throw badSource(`${parsed.length} sources (limit ${SOURCES_MAX})`, "put some into one folder");
  const places = parsed.map((p) => path.resolve(p.path));
  const twice = places.findIndex((place, i) => places.indexOf(place) !== i);
  if (twice >= 0)
    throw badSource(`"${parsed[twice]!.path}" is named twice`, "name it once, with the sum");
  const names = namesOf(parsed.map((p) => p.path));
  return parsed.map(({ path: p, weight }, i) => ({ path: p, weight: weight!, name: names[i]! }));
}
