/** SHA-256 of a file of any size: what the chain keeps of specifications, results and data sets. */
import fs from "node:fs";
import { toMagnetError } from "../../core/errors.ts";
import { requireFile } from "../../core/read-file.ts";

/** 64 lower-case hex digits, and the size. Throws NOT_FOUND, NOT_A_FILE. */
export async function hashFile(file: string): Promise<{ hash: string; size_bytes: number }> {
  try {
    requireFile(file);
    const hasher = new Bun.CryptoHasher("sha256");
    let size_bytes = 0;
    for await (const part of fs.createReadStream(file)) {
      hasher.update(part as Uint8Array);
      size_bytes += (part as Uint8Array).byteLength;
    }
    return { hash: hasher.digest("hex"), size_bytes };
  } catch (error) {
    throw toMagnetError(error);
  }
}
