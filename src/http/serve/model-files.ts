/**
 * What a model is on disk: its size, and a digest that tells models apart. Reading all weights for
 * a hash would double the time of a start, so places spread over each file stand for it.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { sha256Hex } from "../../core/bytes.ts";

const SAMPLES = 16;
const SAMPLE_BYTES = 4096;

export interface ModelFiles {
  size_bytes: number;
  digest: string;
}

/** A file, or the files of a folder and its folders in the order of their names. */
export async function modelFiles(place: string): Promise<ModelFiles> {
  const stat = await fs.stat(place);
  if (!stat.isDirectory())
    return { size_bytes: stat.size, digest: await sampled(place, stat.size) };
  const names = (await fs.readdir(place)).toSorted();
  const files = await Promise.all(names.map((name) => modelFiles(path.join(place, name))));
  const size_bytes = files.reduce((sum, file) => sum + file.size_bytes, 0);
  const parts = files.map(({ digest }, index) => `${names[index]} ${digest}\n`);
  return { size_bytes, digest: sha256Hex(...parts) };
}

/** Of the size and of places from the first byte to the last. */
async function sampled(file: string, size_bytes: number): Promise<string> {
  const handle = await fs.open(file);
  try {
    const samples: Uint8Array[] = [];
    const last = Math.max(0, size_bytes - SAMPLE_BYTES);
    for (let i = 0; i < SAMPLES; i++) {
      const at = Math.floor((last * i) / (SAMPLES - 1));
      const bytes = new Uint8Array(SAMPLE_BYTES);
      const { bytesRead } = await handle.read(bytes, 0, SAMPLE_BYTES, at);
      samples.push(bytes.subarray(0, bytesRead));
    }
    return sha256Hex(`${size_bytes}\n`, ...samples);
  } finally {
    await handle.close();
  }
}
