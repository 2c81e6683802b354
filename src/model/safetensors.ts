/**
 * safetensors files: a reader that reads one tensor at a time into memory the caller gives, and a
 * writer that streams tensors out of memory that already exists. Neither holds a whole file.
 */
import fs from "node:fs/promises";
import { invariant, MagnetError, toMagnetError } from "../core/errors.ts";
import { CHUNK_BYTES, type OutputFile, readExactly } from "./file-system.ts";
import {
  DTYPE_BYTES,
  type Dtype,
  encodeHeader,
  headerLength,
  parseHeader,
  type SafetensorsHeader,
  type TensorEntry,
} from "./safetensors-header.ts";

export type { Dtype, TensorEntry } from "./safetensors-header.ts";

/** A tensor to write. `data` holds exactly the little-endian elements of `shape`. */
export interface TensorData {
  name: string;
  dtype: Dtype;
  shape: readonly number[];
  /** Bytes in memory, or pieces made one after another. */
  data: Uint8Array | (() => AsyncIterable<Uint8Array> | Iterable<Uint8Array>);
}

/** The bytes of a typed array, without a copy. */
export const bytesOf = (array: NodeJS.TypedArray): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** Writes a whole safetensors file into an open one; the same input gives the same bytes. */
export async function writeSafetensors(
  file: Pick<OutputFile, "write">,
  tensors: readonly TensorData[],
  metadata: Record<string, string> = {},
): Promise<void> {
  const names = new Set(tensors.map((t) => t.name));
  invariant(names.size === tensors.length, "two tensors of one name");
  await file.write(encodeHeader(tensors, metadata));
  for (const { name, dtype, shape, data } of tensors) {
    const expected = shape.reduce((product, n) => product * n, DTYPE_BYTES[dtype]);
    let written = 0;
    for await (const piece of typeof data === "function" ? data() : [data]) {
      written += piece.length;
      await file.write(piece);
    }
    invariant(written === expected, `${name}: ${written} bytes for a shape of ${expected}`);
  }
}

/**
 * An open safetensors file. The header was checked against the size of the file when it was opened.
 * Errors: NOT_FOUND, SAFETENSORS_CORRUPT (exit kind verification), UNSUPPORTED (element type).
 */
export class SafetensorsFile {
  private constructor(
    readonly path: string,
    private readonly handle: fs.FileHandle,
    private readonly header: SafetensorsHeader,
    readonly size_bytes: number,
  ) {}

  static async open(path: string): Promise<SafetensorsFile> {
    let handle: fs.FileHandle | undefined;
    try {
      handle = await fs.open(path, "r");
      const stat = await handle.stat();
      if (!stat.isFile())
        throw new MagnetError("NOT_A_FILE", `${path} is not a file`, { hint: "name a file" });
      const first8 = new Uint8Array(Math.min(8, stat.size));
      await readExactly(handle, path, first8, 0, "SAFETENSORS_CORRUPT");
      const json = new Uint8Array(headerLength(first8, stat.size));
      await readExactly(handle, path, json, 8, "SAFETENSORS_CORRUPT");
      return new SafetensorsFile(path, handle, parseHeader(json, stat.size), stat.size);
    } catch (error) {
      await handle?.close();
      const known = toMagnetError(error);
      if (known.code !== "SAFETENSORS_CORRUPT" && known.code !== "UNSUPPORTED") throw known;
      throw new MagnetError(known.code, `${path}: ${known.message}`, {
        ...(known.hint === undefined ? {} : { hint: known.hint }),
        exit: known.exit,
        cause: error,
      });
    }
  }

  /** In the order of the data. */
  get tensors(): TensorEntry[] {
    return [...this.header.tensors.values()];
  }
  get metadata(): Record<string, string> {
    return this.header.metadata;
  }
  has(name: string): boolean {
    return this.header.tensors.has(name);
  }

  /** Shape, type and place of a tensor; TENSOR_MISSING where there is none of that name. */
  entry(name: string): TensorEntry {
    const entry = this.header.tensors.get(name);
    if (entry) return entry;
    throw new MagnetError("TENSOR_MISSING", `${this.path} has no tensor "${name}"`, {
      hint: "the file belongs to another architecture",
      exit: "verification",
    });
  }

  /** Everything before the data, as it is in the file. */
  async headerBytes(): Promise<Uint8Array> {
    const target = new Uint8Array(this.header.data_start);
    await readExactly(this.handle, this.path, target, 0, "SAFETENSORS_CORRUPT");
    return target;
  }

  /**
   * Reads a tensor's bytes into `target`, whose length must be the tensor's; or, with `from`, a part
   * of them. `onPiece` sees each piece once it is in place.
   */
  async readInto(
    name: string,
    target: Uint8Array,
    options: { from?: number; onPiece?: (piece: Uint8Array) => void } = {},
  ): Promise<void> {
    const { begin, end } = this.entry(name);
    const { from = 0, onPiece } = options;
    const whole = options.from === undefined;
    const left = end - begin - from;
    invariant(whole ? target.length === left : target.length <= left, `${name}: another size`);
    const position = this.header.data_start + begin + from;
    await readExactly(this.handle, this.path, target, position, "SAFETENSORS_CORRUPT", onPiece);
  }

  /** A tensor's bytes in fresh, aligned memory. */
  async bytes(name: string): Promise<Uint8Array> {
    const { begin, end } = this.entry(name);
    const target = new Uint8Array(end - begin);
    await this.readInto(name, target);
    return target;
  }
  /** An F32 tensor; SHAPE_MISMATCH for any other type. */
  async floats(name: string): Promise<Float32Array> {
    this.expectDtype(name, "F32");
    return new Float32Array((await this.bytes(name)).buffer as ArrayBuffer);
  }
  /** An I32 tensor; SHAPE_MISMATCH for any other type. */
  async integers(name: string): Promise<Int32Array> {
    this.expectDtype(name, "I32");
    return new Int32Array((await this.bytes(name)).buffer as ArrayBuffer);
  }
  private expectDtype(name: string, dtype: Dtype): void {
    const found = this.entry(name).dtype;
    if (found !== dtype)
      throw new MagnetError("SHAPE_MISMATCH", `${this.path}: "${name}" is ${found}, not ${dtype}`);
  }

  /**
   * The file from its first to its last byte, in pieces; each is valid until the next is asked for.
   */
  async *chunks(): AsyncIterable<Uint8Array> {
    const buffer = new Uint8Array(CHUNK_BYTES);
    for (let position = 0; ; ) {
      const { bytesRead } = await this.handle.read(buffer, 0, buffer.length, position);
      if (bytesRead === 0) return;
      position += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}
