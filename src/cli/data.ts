/** `magnet data`: turns text into token files for training, and shows what such a folder holds. */
import { formatBytes } from "../core/bytes.ts";
import { type DataSummary, openData, prepareData } from "../model/data.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { defineCommand, defineGroup } from "./frame/command.ts";
import { table } from "./frame/output.ts";

function summaryText(folder: string, { train, heldout, tokenizer_hash }: DataSummary): string {
  const row = (name: string, side: DataSummary["train"]) => [
    name,
    side.documents,
    side.tokens,
    formatBytes(side.text_bytes),
    side.content_hash,
  ];
  const rows = [row("train", train), ...(heldout ? [row("held out", heldout)] : [])];
  const titles = ["part", "documents", "tokens", "text", "content hash"];
  return `${folder}: tokenizer ${tokenizer_hash}\n${table(titles, rows)}`;
}

const prepare = defineCommand({
  summary: "Turns text into token files",
  details:
    "Writes train.mgt, heldout.mgt, tokenizer.json and data.json. What is held out is chosen by\ncontent, so the same text always lands on the same side.",
  examples: [
    {
      command: "magnet data prepare books/ --tokenizer tokenizer.json --out data/",
      does: "a folder of text",
    },
  ],
  args: {
    paths: { value: "PATH", summary: "text or JSONL files, or folders of them", many: true },
  },
  flags: {
    tokenizer: { type: "string", value: "FILE", required: true, summary: "a tokenizer.json" },
    out: { type: "string", value: "DIR", required: true, summary: "folder to write into" },
    heldout: {
      type: "number",
      min: 0,
      max: 0.5,
      default: 0.05,
      summary: "share of the text kept out of training",
    },
  },
  async run({ out, signal }, { args, flags }) {
    const tokenizer = await Tokenizer.load(flags.tokenizer);
    let progress: ReturnType<typeof out.progress> | undefined;
    const summary = await prepareData({
      inputs: args.paths,
      tokenizer,
      out_dir: flags.out,
      heldout_fraction: flags.heldout,
      signal,
      onProgress({ done_bytes, total_bytes }) {
        progress ??= out.progress({ label: "prepare", total: total_bytes, unit: "bytes" });
        progress.update(done_bytes);
      },
    });
    progress?.end();
    const { schema: _, ...data } = summary;
    out.result("data", { folder: flags.out, ...data }, summaryText(flags.out, summary));
  },
});

const inspect = defineCommand({
  summary: "Checks a prepared folder and shows what it holds",
  examples: [{ command: "magnet data inspect data/ --json", does: "for scripts" }],
  args: { folder: { value: "DIR", summary: "made by data prepare" } },
  flags: {},
  async run({ out }, { args }) {
    const data = await openData(args.folder);
    try {
      const { schema: _, ...summary } = data.summary;
      out.result(
        "data",
        { folder: args.folder, ...summary },
        summaryText(args.folder, data.summary),
      );
    } finally {
      data.close();
    }
  },
});

export const data = defineGroup("Prepares text for training", { prepare, inspect });
