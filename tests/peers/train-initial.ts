/**
 * Writes what both sides of train.sh start from: the initial weights and the batch of `magnet bench
 * train` as one safetensors file. Usage: train-initial.ts SHAPE VARIANT FILE
 */
import fs from "node:fs/promises";
import {
  BENCH_SEED,
  benchShape,
  benchTokens,
  SHAPE_NAMES,
  type ShapeName,
} from "../../src/model/bench-shapes.ts";
import { tensorInfos } from "../../src/model/config.ts";
import { bytesOf, writeSafetensors } from "../../src/model/safetensors.ts";
import { Trainer } from "../../src/model/trainer.ts";

export async function writeInitial(name: string, variant: string, path: string): Promise<void> {
  if (!SHAPE_NAMES.includes(name as ShapeName)) throw new Error(`there is no shape ${name}`);
  if (variant !== "bitnet" && variant !== "llama") throw new Error(`no variant ${variant}`);
  const shape = benchShape(name as ShapeName, { variant });
  const { model, batch, context } = shape;
  const trainer = Trainer.create(model, { batch, context, threads: 1 });
  const file = await fs.open(path, "w");
  try {
    await trainer.initialise(BENCH_SEED);
    const { params } = trainer;
    const weights = tensorInfos(model).map(({ name: tensor, offset, rows, cols, is_matrix }) => ({
      name: tensor,
      dtype: "F32" as const,
      shape: is_matrix ? [rows, cols] : [cols],
      data: bytesOf(params.subarray(offset, offset + rows * cols)),
    }));
    const tokens = {
      name: "tokens",
      dtype: "I32" as const,
      shape: [batch, context + 1],
      data: bytesOf(benchTokens(shape)),
    };
    const output = { write: async (bytes: Uint8Array) => void (await file.writeFile(bytes)) };
    await writeSafetensors(output, [...weights, tokens], { model: JSON.stringify(model) });
  } finally {
    await file.close();
    trainer.close();
  }
}

if (import.meta.main) {
  const [shape, variant, path] = process.argv.slice(2);
  await writeInitial(shape ?? "", variant ?? "", path ?? "initial.safetensors");
}
