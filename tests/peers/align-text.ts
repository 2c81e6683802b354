/**
 * ORPO on real text, from nothing: trains a base model on the demo's English, makes pairs of its
 * documents (chosen: how a text goes on, rejected: how another does), aligns, and compares on
 * documents that neither has seen. Fails where the win rate does not rise clearly or the language
 * loss gets worse by more than 2%. Run: sh setup.sh bun tests/peers/align-text.ts [--json]
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { table } from "../../src/cli/frame/output.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { AlignSettings } from "../../src/model/align-config.ts";
import { type AlignedFromFiles, alignFromFiles } from "../../src/model/align-from-files.ts";
import { makeTextPairs } from "../../src/model/text-pairs.ts";
import { Tokenizer } from "../../src/model/tokenizer.ts";
import { trainFromFiles } from "../../src/model/train-from-files.ts";
import type { TrainingSettings } from "../../src/model/training-config.ts";

export interface AlignTextOptions {
  /** Gets the texts, the runs and the pairs. */
  folder: string;
  /** Preset of the base model, and the size of its tokenizer. */
  model: string;
  vocab_size: number;
  base: Omit<TrainingSettings, "model">;
  pairs: { prompt: number; response: number; count: number; heldout_count: number };
  align: AlignSettings;
  onLine?: (line: string) => void;
}

const TEXT = path.join(import.meta.dir, "../../build/demo-text.json.gz");
/** A worse language loss than this is no alignment. */
export const LANGUAGE_CHANGE_MAX = 0.02;

/** The demo's documents as files. */
function writeTexts(folder: string): string {
  fs.mkdirSync(folder, { recursive: true });
  const packed = Bun.gunzipSync(new Uint8Array(fs.readFileSync(TEXT)));
  const documents = JSON.parse(new TextDecoder().decode(packed)) as { text: string }[];
  for (const [i, { text }] of documents.entries())
    fs.writeFileSync(path.join(folder, `${String(i).padStart(4, "0")}.txt`), text);
  return folder;
}

export async function alignOnText(options: AlignTextOptions): Promise<AlignedFromFiles> {
  const { folder, model, vocab_size, base, pairs, align, onLine } = options;
  const texts = writeTexts(path.join(folder, "texts"));
  const base_dir = path.join(folder, "base");
  const common = { model, vocab_size, data: [texts], out_dir: base_dir, clock: systemClock };
  const trained = await trainFromFiles({ ...common, settings: { eval_interval: 0, ...base } });
  onLine?.(`base: ${trained.step} steps, held-out loss ${trained.heldout?.loss.toFixed(4)}`);
  const file = path.join(folder, "pairs.jsonl");
  const made = await makeTextPairs({
    inputs: [texts],
    out_file: file,
    lengths: pairs,
    tokenizer: await Tokenizer.load(path.join(base_dir, "data", "tokenizer.json")),
    seed: 1n,
    count: pairs.count,
    heldout_count: pairs.heldout_count,
  });
  onLine?.(`pairs: ${made.pairs}, ${made.heldout_pairs} held out`);
  return alignFromFiles({
    model: base_dir,
    pairs: [file],
    language_data: path.join(base_dir, "data"),
    out_dir: path.join(folder, "aligned"),
    settings: align,
    clock: systemClock,
    onEvent(event) {
      if (event.type === "step" && event.step % 50 === 0)
        onLine?.(`align: step ${event.step}/${event.steps}, loss ${event.loss.toFixed(4)}`);
    },
  });
}

/** What a run must show, and whether it does. */
export function goals({ before, after, language_change }: AlignedFromFiles) {
  const [first, last] = [before!.heldout!, after!.heldout!];
  const error = Math.hypot(first.win_rate_error, last.win_rate_error);
  return {
    win_rate_rise: last.win_rate - first.win_rate,
    /** Of the difference, were the two evaluations on different pairs; on the same it is less. */
    win_rate_rise_error: error,
    margin_rise: last.margin - first.margin,
    language_change: language_change!,
    rises: last.win_rate > first.win_rate && last.margin > first.margin,
    language_kept: language_change! <= LANGUAGE_CHANGE_MAX,
  };
}

async function main(): Promise<void> {
  const json = process.argv.includes("--json");
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-align-text-"));
  try {
    const result = await alignOnText({
      folder,
      model: "demo",
      vocab_size: 2048,
      base: { steps: 300 },
      pairs: { prompt: 48, response: 32, count: 8000, heldout_count: 2000 },
      align: { batch: 16, steps: 300, beta: 2 },
      onLine: (line) => process.stderr.write(`${line}\n`),
    });
    const figures = goals(result);
    const percent = (x: number) => `${(100 * x).toFixed(2)}%`;
    const sides = [result.before!, result.after!];
    const rows = [
      ["win rate", ...sides.map(({ heldout: h }) => `${percent(h!.win_rate)}`)],
      ["standard error", ...sides.map(({ heldout: h }) => `${percent(h!.win_rate_error)}`)],
      ["margin", ...sides.map(({ heldout: h }) => h!.margin.toFixed(4))],
      ["language loss", ...sides.map(({ language: l }) => l!.loss.toFixed(4))],
    ];
    const change = `language loss ${percent(figures.language_change)} (at most 2%)`;
    const text = `${table(["held out", "before", "after"], rows)}\n${change}`;
    process.stdout.write(`${json ? JSON.stringify({ ...result, ...figures }) : text}\n`);
    if (!figures.rises || !figures.language_kept) process.exitCode = 1;
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

if (import.meta.main) await main();
