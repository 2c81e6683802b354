/**
 * From texts and settings to a job: tokenizer and token files in a folder, and the JobSpec over
 * them.
 */
import fs from "node:fs/promises";
import { sha256Hex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import type { ModelConfig } from "../model/config.ts";
import { type DataSummary, dataPaths, prepareData, tokenizerSample } from "../model/data.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { type JobSpec, jobSpecSchema } from "./job.ts";

/** Everything of a job that does not follow from the texts. */
export type JobSettings = Omit<
  JobSpec,
  "schema" | "tokenizer_hash" | "train_hash" | "heldout_hash" | "model"
>;

export interface PreparedJob {
  job: JobSpec;
  tokenizer: Tokenizer;
  data: DataSummary;
  /** Local files of the job's blobs, by hash. */
  files: Record<string, string>;
}

/** Bytes of text that a job's tokenizer is trained on at most: more hardly changes the merges. */
const TOKENIZER_SAMPLE_BYTES = 4 << 20;

async function hashFile(file: string): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const bytes of Bun.file(file).stream()) hasher.update(bytes);
  return hasher.digest("hex");
}

/**
 * Trains a tokenizer of model.vocab_size on the texts, tokenises them into `folder`, and describes
 * the job. Throws DATA_*, NOT_FOUND, DISK_FULL, CANCELLED, and DATA_TOO_SMALL where nothing could
 * be held out.
 */
export async function prepareJob(options: {
  inputs: readonly string[];
  model: ModelConfig;
  settings: JobSettings;
  folder: string;
  signal?: AbortSignal;
}): Promise<PreparedJob> {
  const { inputs, model, settings, folder, signal } = options;
  const common = { inputs, ...(signal === undefined ? {} : { signal }) };
  const sample_bytes_max = TOKENIZER_SAMPLE_BYTES;
  const sample = await tokenizerSample({ ...common, sample_bytes_max });
  const { vocab_size } = model;
  const cancel = signal === undefined ? {} : { signal };
  const tokenizer = await Tokenizer.train(sample, { vocab_size, ...cancel });
  const data = await prepareData({ ...common, tokenizer, out_dir: folder });
  if (!data.heldout)
    throw new MagnetError("DATA_TOO_SMALL", "the text is too short to hold a part of it out", {
      hint: "give more text: some hundred kilobytes at least",
    });
  const paths = dataPaths(folder);
  const [tokenizer_hash, train_hash, heldout_hash] = [
    sha256Hex(await fs.readFile(paths.tokenizer)),
    await hashFile(paths.train),
    await hashFile(paths.heldout),
  ];
  const files = {
    [tokenizer_hash]: paths.tokenizer,
    [train_hash]: paths.train,
    [heldout_hash]: paths.heldout,
  };
  const job = jobSpecSchema.parse({
    schema: "magnet.job/1",
    ...settings,
    model: { ...model, vocab_size: tokenizer.vocab_size },
    tokenizer_hash,
    train_hash,
    heldout_hash,
  } satisfies JobSpec);
  return { job, tokenizer, data, files };
}
