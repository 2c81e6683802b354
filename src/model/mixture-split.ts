/**
 * What is held out of mixed text: one rule for all sources, so that a text held out in one is
 * trained on in none, whatever source it also appears in (the same page in two languages' manuals,
 * the same licence everywhere). The boundary is that of all text together; a source too small to
 * have a part below it holds out its own lowest ones, which the others then leave out.
 */
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { digestOf, HeldoutSplit, type SourceSplit, sideOf } from "./heldout-split.ts";
import { partsOf, type ReadOptions, splitOf } from "./text-reader.ts";
import { findInputs } from "./text-source.ts";

/**
 * The split of each path. Throws DATA_TOO_SMALL naming a source with too few documents, and as
 * `prepareData`.
 */
export async function splitSources(
  paths: readonly string[],
  heldout_fraction: number,
  options: ReadOptions = {},
): Promise<SourceSplit[]> {
  try {
    const together = new HeldoutSplit();
    const splits: HeldoutSplit[] = [];
    for (const path of paths) {
      const { inputs } = await findInputs([path]);
      splits.push(await splitOf(partsOf(inputs, options), [path]));
      together.absorb(splits.at(-1)!);
    }
    if (paths.length === 0) return [];
    const common = together.boundary(heldout_fraction);
    const boundaries = splits.map((split, i) => {
      if (split.isCutBy(common)) return common;
      const own = split.canBeCut ? split.boundary(heldout_fraction) : 0;
      if (own >= common) return own;
      throw new MagnetError("DATA_TOO_SMALL", `${paths[i]} has too few documents to mix`, {
        hint: "give it more text, put it into another source, or hold nothing out: --heldout 0",
      });
    });
    const excluded = new Set<string>();
    for (const [i, boundary] of boundaries.entries())
      if (boundary !== common) await addHeldout(excluded, paths[i]!, boundary, options);
    return boundaries.map((boundary) => ({ boundary, excluded }));
  } catch (error) {
    throw toMagnetError(error);
  }
}

/** A source that needs this has few parts. */
async function addHeldout(
  excluded: Set<string>,
  path: string,
  boundary: number,
  options: ReadOptions,
): Promise<void> {
  const { inputs } = await findInputs([path]);
  for await (const { bytes } of partsOf(inputs, options))
    if (sideOf({ boundary }, bytes) === "heldout") excluded.add(digestOf(bytes));
}
