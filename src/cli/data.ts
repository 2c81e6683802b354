/** `magnet data`: turns text into token files for training, and shows what such a folder holds. */
import { formatBytes } from "../core/bytes.ts";
import { type DataSummary, openData, prepareData } from "../model/data.ts";
import { isMixture, type OpenedData, openMixture, prepareMixture } from "../model/mixed-data.ts";
import { MixtureOrder } from "../model/mixture-order.ts";
import { parseSources } from "../model/source-list.ts";
import { makeTextPairs } from "../model/text-pairs.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { defineCommand, defineGroup } from "./frame/command.ts";
import { type Output, table } from "./frame/output.ts";

const TITLES = ["part", "documents", "tokens", "text", "content hash"];

function summaryRows({ train, heldout }: DataSummary, prefix = "") {
  const row = (name: string, side: DataSummary["train"]) => [
    prefix + name,
    side.documents,
    side.tokens,
    formatBytes(side.text_bytes),
    side.content_hash,
  ];
  return [row("train", train), ...(heldout ? [row("held out", heldout)] : [])];
}

function reportSingle(out: Output, folder: string, summary: DataSummary): void {
  const { schema: _, ...data } = summary;
  const head = `${folder}: tokenizer ${summary.tokenizer_hash}`;
  out.result("data", { folder, ...data }, `${head}\n${table(TITLES, summaryRows(summary))}`);
}

/** The sources of a mixture; each is described as a prepared folder of its own. */
function reportMixture(out: Output, folder: string, { sources, summaries }: OpenedData): void {
  const { shares } = new MixtureOrder(sources.map((s) => s.weight));
  const described = sources.map(({ name, weight }, i) => {
    const { schema: _, ...summary } = summaries[i]!;
    return { name, weight, share: shares[i]!, ...summary };
  });
  const { tokenizer_hash, vocab_size } = summaries[0]!;
  const rows = described.flatMap(({ name, share }, i) =>
    summaryRows(summaries[i]!, `${name} (${(100 * share).toFixed(1)}%): `),
  );
  out.result(
    "data",
    { folder, tokenizer_hash, vocab_size, sources: described },
    `${folder}: ${sources.length} sources, tokenizer ${tokenizer_hash}\n${table(TITLES, rows)}`,
  );
}

async function report(out: Output, folder: string): Promise<void> {
  if (await isMixture(folder)) {
    const data = await openMixture(folder);
    reportMixture(out, folder, data);
    return data.close();
  }
  const data = await openData(folder);
  reportSingle(out, folder, data.summary);
  data.close();
}

const prepare = defineCommand({
  summary: "Turns text into token files",
  details:
    "Writes train.mgt, heldout.mgt, tokenizer.json and data.json. What is held out is chosen by\ncontent, so the same text always lands on the same side. Text must be UTF-8: anything else is\nrefused with its place, never replaced. With weights (PATH=NUMBER) each source\nis prepared by itself, and mixture.json names them.",
  examples: [
    {
      command: "magnet data prepare books/ --tokenizer tokenizer.json --out data/",
      does: "a folder of text",
    },
    {
      command: "magnet data prepare en/=0.7 ko/=0.3 --tokenizer tokenizer.json --out data/",
      does: "two sources, mixed by weight",
    },
  ],
  args: {
    paths: {
      value: "PATH[=WEIGHT]",
      summary: "text or JSONL files, or folders of them",
      many: true,
    },
  },
  flags: {
    tokenizer: { type: "string", value: "FILE", required: true, summary: "a tokenizer.json" },
    out: { type: "string", value: "DIR", required: true, summary: "folder to write into" },
    "text-field": { type: "string", value: "NAME", summary: "field of JSONL (default text)" },
    heldout: {
      type: "number",
      min: 0,
      max: 0.5,
      default: 0.05,
      summary: "share of the text kept out of training",
    },
  },
  async run({ out, signal }, { args, flags }) {
    const sources = await parseSources(args.paths);
    const tokenizer = await Tokenizer.load(flags.tokenizer);
    let progress: ReturnType<typeof out.progress> | undefined;
    const common = {
      tokenizer,
      out_dir: flags.out,
      heldout_fraction: flags.heldout,
      text_field: flags.text_field,
      signal,
      onProgress({ done_bytes, total_bytes }: { done_bytes: number; total_bytes: number }) {
        progress ??= out.progress({ label: "prepare", total: total_bytes, unit: "bytes" });
        progress.update(done_bytes);
      },
    };
    if (sources) await prepareMixture({ ...common, sources });
    else await prepareData({ ...common, inputs: args.paths });
    progress?.end();
    await report(out, flags.out);
  },
});

const inspect = defineCommand({
  summary: "Checks a prepared folder and shows what it holds",
  examples: [{ command: "magnet data inspect data/ --json", does: "for scripts" }],
  args: { folder: { value: "DIR", summary: "made by data prepare" } },
  flags: {},
  async run({ out }, { args }) {
    await report(out, args.folder);
  },
});

const pairs = defineCommand({
  summary: "Makes preference pairs for magnet align from text",
  details:
    "Chosen is how a text goes on, rejected how another document does. Held-out pairs come from the\ndocuments that training with the same --heldout holds out. Lengths are in tokens with --tokenizer,\nelse in bytes.",
  examples: [
    {
      command:
        "magnet data pairs --data books/ --tokenizer run/data/tokenizer.json --out pairs.jsonl",
      does: "64 tokens of prompt, 64 of response",
    },
  ],
  args: {},
  flags: {
    data: { type: "list", value: "PATH", required: true, summary: "text or JSONL, or folders" },
    out: { type: "string", value: "FILE", required: true, summary: "JSONL file to write" },
    tokenizer: { type: "string", value: "FILE", summary: "a tokenizer.json to count lengths with" },
    "prompt-length": { type: "integer", min: 1, summary: "default 64 tokens or 256 bytes" },
    "response-length": { type: "integer", min: 1, summary: "default 64 tokens or 256 bytes" },
    count: { type: "integer", min: 1, default: 10_000, summary: "training pairs at most" },
    "heldout-count": { type: "integer", min: 0, default: 1000, summary: "held-out pairs at most" },
    heldout: {
      type: "number",
      min: 0,
      max: 0.5,
      default: 0.05,
      summary: "share of the text held out",
    },
    seed: { type: "integer", min: 0, default: 1, summary: "the same seed gives the same pairs" },
  },
  async run({ out, signal }, { flags }) {
    const tokenizer =
      flags.tokenizer === undefined ? undefined : await Tokenizer.load(flags.tokenizer);
    const usual = tokenizer ? 64 : 256;
    let progress: ReturnType<typeof out.progress> | undefined;
    const summary = await makeTextPairs({
      inputs: flags.data,
      out_file: flags.out,
      lengths: {
        prompt: flags.prompt_length ?? usual,
        response: flags.response_length ?? usual,
      },
      tokenizer,
      seed: BigInt(flags.seed),
      count: flags.count,
      heldout_count: flags.heldout_count,
      heldout_fraction: flags.heldout,
      signal,
      onProgress({ done_bytes, total_bytes }) {
        progress ??= out.progress({ label: "pairs", total: total_bytes, unit: "bytes" });
        progress.update(done_bytes);
      },
    });
    progress?.end();
    out.result("data_pairs", summary, () =>
      [
        `file        ${summary.file}`,
        `pairs       ${summary.pairs}`,
        `held out    ${summary.heldout_pairs}`,
        `documents   ${summary.documents}`,
        `duplicates  ${summary.duplicates} dropped`,
      ].join("\n"),
    );
  },
});

export const data = defineGroup("Prepares text for training", { prepare, inspect, pairs });
