/**
 * Preference pairs as tokens, split into a training and a held-out side. Which side a pair falls on
 * depends on its prompt only (or on what its line says), so no prompt is on both. A pair that is
 * longer than the context loses the beginning of its prompt; a response is never cut.
 */
import { canonicalJson, toHex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import { encodeChat } from "./chat-template.ts";
import { bucketOf, HeldoutSplit } from "./heldout-split.ts";
import { badLine } from "./json-lines.ts";
import { type PairFormat, type PreferencePair, readPairs } from "./preference-pairs.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** 0.1: pairs are fewer than documents, and a win rate needs many. */
export const HELDOUT_PAIRS = 0.1;
/** Pairs tokenised before other work gets its turn. */
const TURN_PAIRS = 256;

export interface EncodedPair {
  /** Never empty: it begins with the begin token, where the tokenizer has one. */
  prompt: Int32Array;
  chosen: Int32Array;
  rejected: Int32Array;
}
export interface PairData {
  train: EncodedPair[];
  heldout: EncodedPair[];
  /** Hash of the training side: all that the order of training depends on. */
  train_hash: Hash;
  heldout_hash: Hash;
  /** Pairs whose prompt lost its beginning. */
  truncated: number;
}
export interface PairDataOptions {
  files: readonly string[];
  tokenizer: Tokenizer;
  /** Tokens of a prompt with a response at most, the last response token not being an input. */
  context: number;
  format?: PairFormat | undefined;
  /** Share of the prompts held out among the pairs that do not say so themselves. */
  heldout_fraction?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** Tokens of a pair, before anything is cut. Throws NO_CHAT_TOKENS, PAIRS_INVALID. */
function tokensOf(pair: PreferencePair, tokenizer: Tokenizer): EncodedPair {
  const { prompt, chosen, rejected, place } = pair;
  if (typeof prompt !== "string") {
    const end = tokenizer.eos_id === null ? [] : [tokenizer.eos_id];
    const answer = (text: string) => Int32Array.from([...tokenizer.encode(text), ...end]);
    const asked = encodeChat(tokenizer, prompt);
    return { prompt: asked, chosen: answer(chosen), rejected: answer(rejected) };
  }
  const start = tokenizer.bos_id === null ? [] : [tokenizer.bos_id];
  const text = Int32Array.from([...start, ...tokenizer.encode(prompt)]);
  if (text.length === 0)
    throw badLine(
      place,
      "the prompt is empty and the tokenizer has no begin token",
      "give each pair a prompt",
    );
  return { prompt: text, chosen: tokenizer.encode(chosen), rejected: tokenizer.encode(rejected) };
}

/**
 * A pair as tokens, its prompt cut from the left (behind the begin token) to fit. Throws
 * PAIRS_INVALID where a response alone is too long.
 */
export function encodePair(
  pair: PreferencePair,
  tokenizer: Tokenizer,
  context: number,
): { encoded: EncodedPair; truncated: boolean } {
  const encoded = tokensOf(pair, tokenizer);
  const { prompt, chosen, rejected } = encoded;
  const response = Math.max(chosen.length, rejected.length);
  const room = context + 1 - response;
  if (prompt.length <= room) return { encoded, truncated: false };
  const kept = tokenizer.bos_id === null ? 0 : 1;
  if (room < kept + 1)
    throw badLine(
      pair.place,
      `a response of ${response} tokens does not fit a context of ${context}`,
      "shorten or drop it, or align a model with a longer context",
    );
  const cut = new Int32Array(room);
  cut.set(prompt.subarray(0, kept));
  cut.set(prompt.subarray(prompt.length - (room - kept)), kept);
  return { encoded: { ...encoded, prompt: cut }, truncated: true };
}

/** What a prompt is told apart by. */
const promptBytes = ({ prompt }: PreferencePair) => new TextEncoder().encode(canonicalJson(prompt));

/** Decides sides by prompt; a pair that says its side is taken at its word. */
function sidesOf(pairs: readonly PreferencePair[], fraction: number): boolean[] {
  const prompts = pairs.map(promptBytes);
  const split = new HeldoutSplit();
  const open = new Set<string>();
  for (const [i, { heldout }] of pairs.entries()) {
    if (heldout !== null) continue;
    split.add(prompts[i]!);
    open.add(toHex(prompts[i]!));
  }
  // The lines have decided already, or one prompt cannot be on two sides.
  const boundary = open.size < 2 ? 0 : split.boundary(fraction);
  const sides = pairs.map(({ heldout }, i) => heldout ?? bucketOf(prompts[i]!) < boundary);
  const seen = new Map<string, boolean>();
  for (const [i, side] of sides.entries()) {
    const key = toHex(prompts[i]!);
    if ((seen.get(key) ?? side) !== side)
      throw badLine(
        pairs[i]!.place,
        "its prompt is on the other side (training and held out) in an earlier line",
        'give all pairs of a prompt the same "heldout"',
      );
    seen.set(key, side);
  }
  return sides;
}

function hashOf(pairs: readonly EncodedPair[]): Hash {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const { prompt, chosen, rejected } of pairs) {
    hasher.update(Int32Array.of(prompt.length, chosen.length, rejected.length));
    for (const ids of [prompt, chosen, rejected]) hasher.update(ids);
  }
  return hasher.digest("hex") as Hash;
}

/**
 * Reads, splits and tokenises the pairs of files. Throws PAIRS_INVALID naming file and line,
 * PAIRS_EMPTY, NO_CHAT_TOKENS, NOT_FOUND, CANCELLED.
 */
export async function loadPairs(options: PairDataOptions): Promise<PairData> {
  const { files, tokenizer, context, format, signal } = options;
  const pairs: PreferencePair[] = [];
  for await (const pair of readPairs(files, { format, signal })) pairs.push(pair);
  if (pairs.length === 0)
    throw new MagnetError("PAIRS_EMPTY", `${files.join(", ")}: no preference pair`, {
      hint: "make pairs from text with: magnet data pairs",
    });
  const sides = sidesOf(pairs, options.heldout_fraction ?? HELDOUT_PAIRS);
  const train: EncodedPair[] = [];
  const heldout: EncodedPair[] = [];
  let truncated = 0;
  for (const [i, pair] of pairs.entries()) {
    const made = encodePair(pair, tokenizer, context);
    if (made.truncated) truncated++;
    (sides[i] ? heldout : train).push(made.encoded);
    if (i % TURN_PAIRS !== 0) continue;
    await Bun.sleep(0); // timers and signals of the process
    if (signal?.aborted)
      throw new MagnetError("CANCELLED", "reading pairs was cancelled", { exit: "interrupted" });
  }
  return { train, heldout, truncated, train_hash: hashOf(train), heldout_hash: hashOf(heldout) };
}
