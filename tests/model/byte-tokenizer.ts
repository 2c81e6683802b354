/** A tokenizer whose tokens are bytes: what data and training need of one, easy to check by eye. */
import { sha256Hex } from "../../src/core/bytes.ts";
import type { Hash } from "../../src/core/types.ts";
import type { TextEncoding } from "../../src/model/tokenise.ts";

export const BOS = 256;
export const EOS = 257;

export const byteTokenizer: TextEncoding & { byteLengths(): Uint16Array } = {
  vocab_size: 258,
  hash: sha256Hex("bytes") as Hash,
  bos_id: BOS,
  eos_id: EOS,
  encodeBytes: (text) => Int32Array.from(text),
  toJson: () => '{"version":"1.0","test":"bytes"}',
  byteLengths: () => new Uint16Array(258).fill(1, 0, 256),
};
