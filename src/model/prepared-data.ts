/**
 * A folder of prepared data: train.mgt, heldout.mgt (where something was held out), tokenizer.json
 * and data.json, which says what the others are; opened only if they are what it says.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { hostFileSystem } from "./file-system.ts";
import { TokenFile } from "./token-file.ts";

const sideSchema = z.strictObject({
  documents: z.int().nonnegative(),
  tokens: z.int().nonnegative(),
  text_bytes: z.int().nonnegative(),
  content_hash: z.string(),
});
const summarySchema = z.strictObject({
  schema: z.literal("magnet.data/1"),
  tokenizer_hash: z.string(),
  vocab_size: z.int(),
  files: z.int(),
  ignored_files: z.int(),
  heldout_fraction: z.number(),
  train: sideSchema,
  /** null where nothing was held out. */
  heldout: sideSchema.nullable(),
});
/** data.json: what a prepared folder holds. */
export type DataSummary = z.infer<typeof summarySchema>;

/** The entry of a token file in data.json. */
export function summarise(file: TokenFile): z.infer<typeof sideSchema> {
  const { document_count, token_count, text_bytes } = file.header;
  const content_hash = file.content_hash;
  return { documents: document_count, tokens: token_count, text_bytes, content_hash };
}

/** Files of a prepared folder. */
export const dataPaths = (folder: string) => ({
  train: path.join(folder, "train.mgt"),
  heldout: path.join(folder, "heldout.mgt"),
  tokenizer: path.join(folder, "tokenizer.json"),
  summary: path.join(folder, "data.json"),
  /** Of a folder of mixed data, in place of the others (see mixed-data.ts). */
  mixture: path.join(folder, "mixture.json"),
});

/** The token files of a folder, whose hashes are checked, but not that they belong together. */
export async function openTokenFiles(
  folder: string,
): Promise<{ train: TokenFile; heldout: TokenFile | null }> {
  const paths = dataPaths(folder);
  const train = await TokenFile.open(paths.train);
  try {
    return { train, heldout: await TokenFile.open(paths.heldout) };
  } catch (error) {
    if (toMagnetError(error).code === "NOT_FOUND") return { train, heldout: null };
    train.close();
    throw error;
  }
}

/** A prepared folder, open. */
export interface PreparedData {
  summary: DataSummary;
  train: TokenFile;
  /** null where nothing was held out. */
  heldout: TokenFile | null;
  tokenizer_json: string;
  close(): void;
}

/** True for a folder that `prepareData` has written. */
export const isPrepared = (folder: string): Promise<boolean> =>
  hostFileSystem.exists(dataPaths(folder).summary);

/**
 * Opens a prepared folder; every file must be the one that data.json names. Throws NOT_FOUND,
 * DATA_NOT_PREPARED, TOKENS_CORRUPT (exit kind verification), UNSUPPORTED.
 */
export async function openData(folder: string): Promise<PreparedData> {
  const paths = dataPaths(folder);
  const broken = (what: string) =>
    new MagnetError("TOKENS_CORRUPT", `${folder}: ${what}`, {
      hint: "make it again with: magnet data prepare",
      exit: "verification",
    });
  try {
    await fs.stat(folder);
    if (!(await isPrepared(folder)))
      throw new MagnetError("DATA_NOT_PREPARED", `${folder} holds no data.json`, {
        hint: "make it with: magnet data prepare",
      });
    const parsed = summarySchema.safeParse(parseJson(await fs.readFile(paths.summary, "utf8")));
    if (!parsed.success) throw broken("data.json is damaged");
    const summary = parsed.data;
    const tokenizer_json = await fs.readFile(paths.tokenizer, "utf8");
    const { train, heldout } = await openTokenFiles(folder);
    const close = () => {
      train.close();
      heldout?.close();
    };
    const isSame =
      train.content_hash === summary.train.content_hash &&
      heldout?.content_hash === summary.heldout?.content_hash;
    if (isSame) return { summary, train, heldout, tokenizer_json, close };
    close();
    throw broken("data.json belongs to other token files");
  } catch (error) {
    throw toMagnetError(error);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // the schema refuses it
  }
}
