/** `magnet export`: a trained model as a GGUF file (llama.cpp) or a Hugging Face folder. */
import path from "node:path";
import { formatBytes } from "../core/bytes.ts";
import { requireReplaceable } from "../core/read-file.ts";
import {
  defaultEmbedding,
  EMBEDDING_TYPES,
  type EmbeddingType,
  EXPORT_TYPES,
  type ExportType,
  exportGguf,
} from "../model/export-gguf.ts";
import { exportHf } from "../model/export-hf.ts";
import { loadLatentModel } from "../model/load-model.ts";
import { defineCommand, defineGroup } from "./frame/command.ts";
import type { Output } from "./frame/output.ts";

const model = { value: "MODEL", summary: "checkpoint, run folder or Hugging Face folder" } as const;
const tokenizer = {
  type: "string",
  value: "FILE",
  summary: "a tokenizer.json instead of the model's own (must be the same)",
} as const;
const TYPES = EXPORT_TYPES.map((type) => type.toLowerCase());

/** The weights named on the line. */
const load = (place: string, tokenizer_path: string | undefined) =>
  loadLatentModel(place, tokenizer_path === undefined ? {} : { tokenizer_path });

const gguf = defineCommand({
  summary: "Writes a GGUF file",
  details:
    "tq2_0, tq1_0 and f16 load in llama.cpp; i2_s is bitnet.cpp's. tq2_0 and tq1_0 need widths that\nare multiples of 256.",
  examples: [
    {
      command: "magnet export gguf run/ --type tq2_0 --out model.gguf",
      does: "2.06 bits a weight",
    },
  ],
  args: { model },
  flags: {
    type: {
      type: "choice",
      options: TYPES,
      summary: "of the weights (default tq2_0; f16 for a model without quantisation)",
    },
    embedding: {
      type: "choice",
      options: EMBEDDING_TYPES.map((type) => type.toLowerCase()),
      summary: "of embedding and head (default q6_k with tq types and widths that fit, else f16)",
    },
    out: {
      type: "string",
      value: "FILE",
      required: true,
      summary: "a GGUF file there is replaced",
    },
    name: { type: "string", summary: "name inside the file (default: from --out)" },
    tokenizer,
  },
  async run({ out }, { args, flags }) {
    requireReplaceable(flags.out, "GGUF");
    const { config, params, tokenizer } = await load(args.model, flags.tokenizer);
    const name = flags.name ?? path.parse(flags.out).name;
    let progress: ReturnType<Output["progress"]> | undefined;
    const type_name = flags.type ?? (config.quant === "none" ? "f16" : "tq2_0");
    const type = type_name.toUpperCase() as ExportType;
    const embedding_name = flags.embedding ?? defaultEmbedding(config, type).toLowerCase();
    const embedding = embedding_name.toUpperCase() as EmbeddingType;
    const onTensor = (done: number, total: number) => {
      progress ??= out.progress({ label: "export", total, unit: "tensors" });
      progress.update(done);
    };
    const digest = await exportGguf({
      ...{ config, params, tokenizer, type, embedding, name, onTensor },
      path: flags.out,
    });
    progress?.end();
    const types = { type: type_name, embedding: embedding_name };
    const data = { format: "gguf", ...types, name, path: flags.out, ...digest };
    const kind = `${type_name}, embedding ${embedding_name}`;
    const size = formatBytes(digest.size_bytes);
    out.result("export", data, `${flags.out}: ${kind}, ${size}, sha256 ${digest.sha256}`);
  },
});

const hf = defineCommand({
  summary: "Writes a folder that transformers loads",
  examples: [
    { command: "magnet export hf run/ --out model-hf/", does: "config, weights, tokenizer" },
  ],
  args: { model },
  flags: {
    out: { type: "string", value: "DIR", required: true, summary: "must not exist yet" },
    tokenizer,
  },
  async run({ out }, { args, flags }) {
    const { config, params, tokenizer } = await load(args.model, flags.tokenizer);
    await exportHf({ config, params, tokenizer, folder: flags.out });
    const data = { format: "hf", path: flags.out, variant: config.variant, params: params.length };
    out.result("export", data, `${flags.out}: ${params.length} parameters`);
  },
});

export const exportGroup = defineGroup("Writes a model for other programs", { gguf, hf });
