/**
 * What the proof found, for people and scripts: docs/proof.json (every row), docs/proof.md (tables)
 * and docs/proof-loss.svg (both curves of the main pair). Written anew after every row.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { AlignResult } from "./align-row.ts";
import { readJson, round, writeWhole } from "./context.ts";
import { type Corpus, LANGUAGES } from "./corpus.ts";
import type { GenkidamaResult } from "./genkidama-row.ts";
import { lossCurves } from "./plot.ts";
import { RECIPES, ROWS, SEEDS } from "./rows.ts";
import { MIXTURE, type TrainResult } from "./train-row.ts";

export type StoredRow = { name: string; commit: string } & (
  | ({ kind: "train" } & TrainResult)
  | ({ kind: "genkidama" } & GenkidamaResult)
  | ({ kind: "align" } & AlignResult)
);
type Trained = Extract<StoredRow, { kind: "train" }>;

/** CPU model and instruction sets that decide the path; nothing that names a machine. */
function machine() {
  const info = fs.readFileSync("/proc/cpuinfo", "utf8");
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(info)?.[1] ?? "";
  const flags = field("flags").split(" ");
  const path = ["avx512f", "avx2"].find((flag) => flags.includes(flag)) ?? "none";
  const memory_gib = Math.round(os.totalmem() / 2 ** 30);
  return { cpu: field("model name"), cores: os.cpus().length, widest_simd: path, memory_gib };
}

const table = (titles: string[], rows: (string | number)[][]) =>
  [titles, titles.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
const bits = (value: number) => value.toFixed(4);
const minutes = (seconds: number) => (seconds / 60).toFixed(1);
const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(2);
const millions = (count: number) => (count / 1e6).toFixed(2);

/** Mean and standard error of the mean (n - 1 in the variance). */
export function meanError(values: number[]): { mean: number; error: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const error = values.length < 2 ? Number.NaN : Math.sqrt(squares / (values.length - 1));
  return { mean, error: error / Math.sqrt(values.length) };
}

export interface Comparison {
  recipe: string;
  seeds: number;
  bits_per_byte: { mean: number; error: number };
  /** Difference to the base with the same seed, mean and standard error; negative is better. */
  difference: { mean: number; error: number } | null;
}

/** Each recipe against the base, seed by seed: the same data order and initial weights. */
export function compareRecipes(rows: readonly StoredRow[]): Comparison[] {
  const figure = (recipe: string, seed: number) => {
    const row = rows.find(({ name }) => name === `recipe-${recipe}-${seed}`) as Trained | undefined;
    return row?.heldout.all.bits_per_byte;
  };
  return Object.keys(RECIPES).flatMap((recipe) => {
    const pairs = SEEDS.map((seed) => [figure(recipe, seed), figure("base", seed)] as const);
    const values = pairs.flatMap(([own]) => (own === undefined ? [] : [own]));
    if (values.length === 0) return [];
    const differences = pairs.flatMap(([own, base]) =>
      own === undefined || base === undefined ? [] : [own - base],
    );
    const compared = recipe !== "base" && differences.length > 0;
    return [
      {
        ...{ recipe, seeds: values.length, bits_per_byte: meanError(values) },
        difference: compared ? meanError(differences) : null,
      },
    ];
  });
}

const plusMinus = ({ mean, error }: { mean: number; error: number }, sign = "") =>
  Number.isNaN(error) ? `${sign}${bits(mean)}` : `${sign}${bits(mean)} ± ${bits(error)}`;

function corpusText(corpus: Corpus): string {
  const rows = LANGUAGES.map((language) => {
    const { train, heldout } = corpus.languages[language];
    const cells = [train, heldout].flatMap((p) => [p.documents, `${millions(p.text_bytes)} MB`]);
    return [language, ...cells, MIXTURE[language]];
  });
  const titles = ["language", "pages", "text", "pages held out", "text", "weight in the mixture"];
  const packages = Object.entries(corpus.packages).map(([name, version]) => `${name} ${version}`);
  return `## Text\n\n${packages.join(", ")}.\n\n${table(titles, rows)}`;
}

function mainText(rows: readonly StoredRow[]): string {
  const pair = ["ternary", "none"].map(
    (quant) => rows.find(({ name }) => name === `main-${quant}`) as Trained | undefined,
  );
  const titles = ["weights", "parameters", "tokens", "nats per token", "bits per byte"];
  const cells = pair.flatMap((row, i) => {
    if (row === undefined) return [];
    const { heldout, usage } = row;
    const each = LANGUAGES.map((language) => bits(heldout[language].bits_per_byte));
    const time = [minutes(usage.cpu_s), minutes(usage.wall_s), row.tokens_per_cpu_s];
    const name = i === 0 ? "ternary" : "float32";
    const size = [`${millions(row.params)}M`, `${millions(row.tokens)}M`];
    const figures = [bits(heldout.all.loss), bits(heldout.all.bits_per_byte)];
    return [[name, ...size, ...figures, ...each, ...time]];
  });
  const [ternary, float] = pair;
  const gap =
    ternary === undefined || float === undefined
      ? ""
      : `\n\nGap: ${gapText(ternary, float)}\n\n![Loss of both models](proof-loss.svg)`;
  const all = [...titles, ...LANGUAGES, "CPU min", "wall min", "tokens per CPU second"];
  return `## Ternary against float32\n\n${table(all, cells)}${gap}`;
}

function gapText(ternary: Trained, float: Trained): string {
  const parts = (["all", ...LANGUAGES] as const).map((part) => {
    const ours = ternary.heldout[part].bits_per_byte;
    const theirs = float.heldout[part].bits_per_byte;
    const percent = (100 * (ours / theirs - 1)).toFixed(2);
    return `${part} ${(ours - theirs).toFixed(4)} bits per byte (${percent}%)`;
  });
  return `${parts.join(", ")}.`;
}

function recipeText(rows: readonly StoredRow[]): string {
  const titles = ["recipe", "settings", "seeds", "bits per byte", "difference to base"];
  const cells = compareRecipes(rows).map(({ recipe, seeds, bits_per_byte, difference }) => [
    recipe,
    Object.values(RECIPES[recipe]!).join(", "),
    seeds,
    plusMinus(bits_per_byte),
    difference === null ? "-" : plusMinus(difference, difference.mean >= 0 ? "+" : ""),
  ]);
  const scans = ROWS.flatMap((row) => {
    const found = rows.find(({ name }) => name === row.name) as Trained | undefined;
    if (row.kind !== "train" || row.group !== "scan" || found === undefined) return [];
    return [[row.flags.optimizer!, row.flags.lr!, bits(found.heldout.all.bits_per_byte)]];
  });
  const scan_table = table(["optimiser", "peak learning rate", "bits per byte"], scans);
  return `## Recipes\n\n${table(titles, cells)}\n\nLearning rates, fewer tokens and a seed of its own:\n\n${scan_table}`;
}

function genkidamaText(rows: readonly StoredRow[]): string {
  const row = rows.find((r): r is Extract<StoredRow, { kind: "genkidama" }> => {
    return r.kind === "genkidama";
  });
  if (row === undefined) return "";
  const { hf, gguf, llama_cpp } = row;
  const difference = llama_cpp.logits_difference_max;
  const cells = [
    ["parameters", row.params],
    ["memory, estimate", `${gigabytes(row.memory_estimate_bytes)} GB`],
    ["memory, largest resident set", `${gigabytes(row.memory_bytes)} GB`],
    ["seconds of each step, estimate", row.step_estimate_s ?? "-"],
    ["seconds of each step (the first with all that starts)", row.step_s.join(", ")],
    ["loss of each step", row.losses.join(", ")],
    ["checkpoint", `${gigabytes(row.checkpoint_bytes)} GB, ${row.checkpoint_hash.slice(0, 16)}`],
    ["stopped after 2 and resumed", row.resume_exact ? "the same hash" : "ANOTHER HASH"],
    [
      "Hugging Face folder",
      `${gigabytes(hf.bytes)} GB, logits differ by ${hf.logits_difference_max}`,
    ],
    [`GGUF ${gguf.type}`, `${gigabytes(gguf.bytes)} GB`],
    ["in llama.cpp", `${llama_cpp.type}; logits differ by at most ${difference}`],
  ];
  return `## The paper's own size: genkidama-618m\n\n${table(["what", "figure"], cells)}`;
}

function alignText(rows: readonly StoredRow[]): string {
  const row = rows.find((r): r is Extract<StoredRow, { kind: "align" }> => r.kind === "align");
  if (row === undefined) return "";
  const side = (r: AlignResult["before"]) => [
    `${(100 * r.win_rate).toFixed(1)}% ± ${(100 * r.win_rate_error).toFixed(1)}`,
    bits(r.language_loss),
  ];
  const cells = [
    ["before", ...side(row.before)],
    ["after", ...side(row.after)],
  ];
  const change = (100 * row.language_loss_change).toFixed(2);
  const titles = ["", "win rate on held-out pairs", "language loss, nats per token"];
  return `## ORPO on real text\n\n${table(titles, cells)}\n\n${row.pairs_train} pairs trained on, ${row.pairs_heldout} held out; the language loss changes by ${change}%.`;
}

/** Writes all files that the rows so far allow. */
export function writeReport(repository: string, corpus: Corpus, rows: readonly StoredRow[]): void {
  const docs = path.join(repository, "docs");
  const old = readJson<{ machine: object }>(path.join(docs, "proof.json"));
  const usage = rows.map((row) => row.usage);
  const cpu_s = round(
    usage.reduce((sum, { cpu_s }) => sum + cpu_s, 0),
    1,
  );
  const wall_s = round(
    usage.reduce((sum, { wall_s }) => sum + wall_s, 0),
    1,
  );
  const where = rows.length === 0 && old !== null ? old.machine : machine();
  const recipes = compareRecipes(rows);
  const document = {
    schema: "magnet.proof/1",
    machine: where,
    cpu_s,
    wall_s,
    corpus,
    recipes,
    rows,
  };
  writeWhole(path.join(docs, "proof.json"), `${JSON.stringify(document, null, 1)}\n`);
  const { cpu, cores, widest_simd } = machine();
  const head = `# Proof on real text\n\nWritten by \`tests/peers/proof.sh\`; all figures with commits, seeds and hashes are in\n[proof.json](proof.json). ${cores} cores of ${cpu} (${widest_simd}), shared with other work: CPU\nminutes are what counts. All rows together: ${minutes(cpu_s)} CPU minutes, which is ${minutes(cpu_s / 2)} minutes of two\ncores.`;
  const parts = [
    head,
    corpusText(corpus),
    mainText(rows),
    recipeText(rows),
    genkidamaText(rows),
    alignText(rows),
  ];
  const text = parts.filter((part) => part !== "").join("\n\n");
  writeWhole(path.join(docs, "proof.md"), `${text}\n`);
  const curves = ["ternary", "none"].flatMap((quant) => {
    const row = rows.find(({ name }) => name === `main-${quant}`) as Trained | undefined;
    return row === undefined ? [] : [{ name: quant === "none" ? "float32" : quant, ...row.curve }];
  });
  if (curves.length > 0) writeWhole(path.join(docs, "proof-loss.svg"), lossCurves(curves));
}
