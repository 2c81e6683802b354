/**
 * Preference pairs from text: the chosen response is how a text goes on, the rejected one how
 * another document does. All choices come from hashes of a seed and the texts, so they do not
 * depend on the order or names of files; held-out pairs come, whole, from documents that training
 * holds out as well (the same rule and share). Texts are read a piece at a time; what is kept is
 * the pairs that are written.
 */
import { sha256Hex } from "../core/bytes.ts";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { type FileSystem, hostFileSystem, replaceFile } from "./file-system.ts";
import { bucketOf } from "./heldout-split.ts";
import { LowestSample } from "./lowest-sample.ts";
import { cutText, type PairLengths, type TextUnits } from "./text-cuts.ts";
import type { TextPart } from "./text-parts.ts";
import { boundaryOf, partsOf } from "./text-reader.ts";
import { findInputs } from "./text-source.ts";
import { HELDOUT_FRACTION } from "./tokenise.ts";

export interface TextPairsOptions {
  /** Text and JSONL files, and folders of them. */
  inputs: readonly string[];
  out_file: string;
  lengths: PairLengths;
  /** Lengths are in its tokens; without one in bytes. */
  tokenizer?: TextUnits | undefined;
  seed: bigint;
  /** Pairs at most, and held-out ones. */
  count: number;
  heldout_count: number;
  /** Share of the text held out; must be that of the training to compare with. */
  heldout_fraction?: number | undefined;
  disk?: FileSystem;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { done_bytes: number; total_bytes: number }) => void) | undefined;
}
export interface TextPairsSummary {
  file: string;
  pairs: number;
  heldout_pairs: number;
  documents: number;
  /** Stretches of text dropped because their prompt or continuation was there already. */
  duplicates: number;
  sha256: string;
}

/** A stretch of text that may become a pair. */
interface Stretch {
  document: number;
  /** Place in the text: which part of which document. */
  part: number;
  prompt: string;
  continuation: string;
}
interface TextPair {
  prompt: string;
  chosen: string;
  rejected: string;
}

/**
 * Gives each stretch the continuation of the next one (in the order of the sample, which is random)
 * that comes from another document; where all come from one document, from another part of it.
 * None where there is no such stretch. Continuations differ, as each occurs once.
 */
function rejectedFor(stretches: readonly Stretch[]): TextPair[] {
  const count = stretches.length;
  const origin = new Set(stretches.map(({ document }) => document)).size > 1 ? "document" : "part";
  if (new Set(stretches.map((stretch) => stretch[origin])).size < 2) return [];
  // Backwards, once around for the end of the list and once more for all of it.
  const next = new Int32Array(count);
  for (let i = 2 * count - 2; i >= 0; i--) {
    const [here, after] = [i % count, (i + 1) % count];
    const differs = stretches[here]![origin] !== stretches[after]![origin];
    next[here] = differs ? after : next[after]!;
  }
  return stretches.map(({ prompt, continuation }, i) => ({
    prompt,
    chosen: continuation,
    rejected: stretches[next[i]!]!.continuation,
  }));
}

/** The two sides of the stretches: each prompt and each continuation occurs once in all. */
class Sides {
  private readonly sides: [train: LowestSample<Stretch>, heldout: LowestSample<Stretch>];
  duplicates = 0;

  constructor(
    private readonly seed: bigint,
    private readonly counts: [train: number, heldout: number],
  ) {
    // A few more than wanted, as some fall out as duplicates of the other field or side.
    const limit = (count: number) => (count === 0 ? 0 : Math.ceil(1.25 * count) + 64);
    this.sides = [new LowestSample(limit(counts[0])), new LowestSample(limit(counts[1]))];
  }

  add(stretch: Stretch, heldout: boolean): void {
    // Equal prompts have equal keys, of which a sample keeps one.
    this.sides[heldout ? 1 : 0].add(sha256Hex(`${this.seed}\n${stretch.prompt}`), stretch);
  }

  /** Held-out stretches go first: what they use is not trained on. */
  pairs(): { train: TextPair[]; heldout: TextPair[] } {
    const seen = new Set<string>();
    const unique = (side: 0 | 1) => {
      const sample = this.sides[side];
      const kept = sample.values().filter(({ prompt, continuation }) => {
        const keys = [`prompt ${prompt}`, `continuation ${continuation}`];
        if (keys.some((key) => seen.has(key))) return false;
        for (const key of keys) seen.add(key);
        return true;
      });
      this.duplicates += sample.values().length - kept.length + sample.duplicates;
      return rejectedFor(kept.slice(0, this.counts[side]));
    };
    const heldout = unique(1);
    return { train: unique(0), heldout };
  }
}

async function writePairs(
  options: TextPairsOptions,
  { train, heldout }: { train: TextPair[]; heldout: TextPair[] },
): Promise<string> {
  const { out_file, disk = hostFileSystem } = options;
  const encoder = new TextEncoder();
  const { sha256 } = await replaceFile(disk, out_file, async (file) => {
    for (const [side, pairs] of [train, heldout].entries())
      for (const pair of pairs)
        await file.write(encoder.encode(`${JSON.stringify({ ...pair, heldout: side === 1 })}\n`));
  });
  return sha256;
}

/**
 * Makes pairs from text and writes them as JSONL. Throws NOT_FOUND, DATA_EMPTY, DATA_NOT_TEXT,
 * DATA_BAD_JSON, DATA_TOO_SMALL (too little text for one pair), DISK_FULL, CANCELLED; an existing
 * file is then as it was.
 */
export async function makeTextPairs(options: TextPairsOptions): Promise<TextPairsSummary> {
  const { inputs, lengths, tokenizer, seed, signal } = options;
  try {
    const found = await findInputs(inputs);
    let done_bytes = 0;
    const onBytes = (bytes: number) => {
      done_bytes += bytes;
      options.onProgress?.({ done_bytes, total_bytes: 2 * found.size_bytes });
    };
    const parts = (): AsyncGenerator<TextPart> => partsOf(found.inputs, { signal, onBytes });
    const fraction = options.heldout_fraction ?? HELDOUT_FRACTION;
    const boundary = await boundaryOf(parts(), inputs, fraction);
    const sides = new Sides(seed, [options.count, options.heldout_count]);
    let documents = 0;
    let part = 0;
    for await (const { bytes, starts } of parts()) {
      if (starts) documents++;
      part++;
      const heldout = bucketOf(bytes) < boundary;
      for (const cut of await cutText(bytes, { lengths, tokenizer, seed }))
        sides.add({ document: documents, part, ...cut }, heldout);
    }
    const { train, heldout } = sides.pairs();
    if (train.length === 0)
      throw new MagnetError("DATA_TOO_SMALL", `${inputs.join(", ")}: too little text for a pair`, {
        hint: "give more text, or smaller --prompt-length and --response-length",
      });
    const sha256 = await writePairs(options, { train, heldout });
    return {
      file: options.out_file,
      pairs: train.length,
      heldout_pairs: heldout.length,
      documents,
      duplicates: sides.duplicates,
      sha256,
    };
  } catch (error) {
    throw toMagnetError(error);
  }
}
