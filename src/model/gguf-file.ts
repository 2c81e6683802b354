/**
 * An open GGUF v3 file (format: magnet's native parser, which checks every byte before this reads
 * one): metadata as JavaScript values, and the handle that an inference model is built from.
 */

import { MagnetError, toMagnetError } from "../core/errors.ts";
import { requireFile } from "../core/read-file.ts";
import { type Address, addressSlot, bytesAt, NULL, takeAddress } from "../native/ffi.ts";
import { cpuInfer, type InferLibrary, requireLibrary } from "../native/infer.ts";

/** ggml type ids, as they stand in files. */
export const GGML_TYPES = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q8_0: 8,
  Q4_K: 12,
  Q6_K: 14,
  BF16: 30,
  TQ1_0: 34,
  TQ2_0: 35,
  I2_S: 36,
} as const;
export type GgmlType = keyof typeof GGML_TYPES;

/** GGUF value types. */
export const GGUF_TYPES = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;

type Scalar = number | bigint | boolean | string;
/** 64-bit integers are bigint. */
export type GgufValue = Scalar | Scalar[];

export interface GgufTensorInfo {
  name: string;
  /** ggml type id. */
  type: number;
  cols: number;
  rows: number;
  size_bytes: number;
}

const utf8 = new TextDecoder();
/** Bytes of a native record and where its 64-bit words are. */
const RECORD_BYTES = 64;

type ScalarReader = (view: DataView, at: number) => Scalar;
const READERS: Record<number, [bytes: number, read: ScalarReader]> = {
  [GGUF_TYPES.u8]: [1, (v, at) => v.getUint8(at)],
  [GGUF_TYPES.i8]: [1, (v, at) => v.getInt8(at)],
  [GGUF_TYPES.u16]: [2, (v, at) => v.getUint16(at, true)],
  [GGUF_TYPES.i16]: [2, (v, at) => v.getInt16(at, true)],
  [GGUF_TYPES.u32]: [4, (v, at) => v.getUint32(at, true)],
  [GGUF_TYPES.i32]: [4, (v, at) => v.getInt32(at, true)],
  [GGUF_TYPES.f32]: [4, (v, at) => v.getFloat32(at, true)],
  [GGUF_TYPES.bool]: [1, (v, at) => v.getUint8(at) === 1],
  [GGUF_TYPES.u64]: [8, (v, at) => v.getBigUint64(at, true)],
  [GGUF_TYPES.i64]: [8, (v, at) => v.getBigInt64(at, true)],
  [GGUF_TYPES.f64]: [8, (v, at) => v.getFloat64(at, true)],
};

function readItems(bytes: Uint8Array, type: number, count: number): Scalar[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const items: Scalar[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (type === GGUF_TYPES.string) {
      const length = Number(view.getBigUint64(at, true));
      items.push(utf8.decode(bytes.subarray(at + 8, at + 8 + length)));
      at += 8 + length;
    } else {
      const [size, read] = READERS[type]!;
      items.push(read(view, at));
      at += size;
    }
  }
  return items;
}

/** A copy of native bytes; an empty range needs no address. */
const copyOf = (address: bigint, length: number): Uint8Array =>
  length === 0 ? new Uint8Array(0) : bytesAt(Number(address) as Address, length).slice();

export class GgufFile {
  #handle: Address;
  /** Of the values, by key. */
  #indices: Map<string, number> | undefined;

  private constructor(
    /** Path, or what the bytes are, for messages. */
    readonly name: string,
    readonly library: InferLibrary,
    handle: Address,
  ) {
    this.#handle = handle;
  }

  /**
   * Maps and checks a file; BAD_FORMAT, UNSUPPORTED or NOT_FOUND with its path. library: that of the
   * model which is made from it.
   */
  static async open(file: string, library: InferLibrary = cpuInfer): Promise<GgufFile> {
    try {
      requireFile(file);
    } catch (error) {
      throw toMagnetError(error);
    }
    const path = new TextEncoder().encode(file);
    return GgufFile.#make(file, library, (slot) =>
      library.async.mg_gguf_open(undefined, path, path.length, slot),
    );
  }

  /** The same from memory. */
  static parse(
    bytes: Uint8Array,
    name = "GGUF bytes",
    library: InferLibrary = cpuInfer,
  ): Promise<GgufFile> {
    return GgufFile.#make(name, library, (slot) =>
      library.async.mg_gguf_parse(undefined, bytes, bytes.length, slot),
    );
  }

  static async #make(
    name: string,
    library: InferLibrary,
    call: (slot: BigUint64Array) => Promise<void>,
  ) {
    const slot = addressSlot();
    try {
      await call(slot);
    } catch (error) {
      if (!(error instanceof MagnetError)) throw error;
      throw new MagnetError(error.code, `${name}: ${error.message}`, {
        hint: "the file is damaged, cut off, or of a kind that magnet does not read; get it again",
        exit: "verification",
        cause: error,
      });
    }
    return new GgufFile(name, library, takeAddress(slot));
  }

  /** For calls on this file; FILE_CLOSED after `close`. */
  handleOf(library: InferLibrary): Address {
    requireLibrary(library, this.library, this.name);
    return this.#open();
  }

  #open(): Address {
    if (this.#handle === NULL) throw new MagnetError("FILE_CLOSED", `${this.name} has been closed`);
    return this.#handle;
  }

  #counts(): { values: number; tensors: number } {
    const values = new BigUint64Array(1);
    const tensors = new BigUint64Array(1);
    this.library.mg_gguf_counts(this.#open(), values, tensors);
    return { values: Number(values[0]), tensors: Number(tensors[0]) };
  }

  #valueAt(index: number): { key: string; read: () => GgufValue } {
    const record = new Uint8Array(RECORD_BYTES);
    const view = new DataView(record.buffer);
    this.library.mg_gguf_value_at(this.#open(), index, record);
    const word = (n: number) => view.getBigUint64(8 * n, true);
    const read = () => {
      const bytes = copyOf(word(2), Number(word(3)));
      const type = view.getUint32(40, true);
      if (type === GGUF_TYPES.string) return utf8.decode(bytes);
      if (type === GGUF_TYPES.array)
        return readItems(bytes, view.getUint32(44, true), Number(word(4)));
      return readItems(bytes, type, 1)[0]!;
    };
    return { key: utf8.decode(copyOf(word(0), Number(word(1)))), read };
  }

  /** One value; undefined where the file has no such key. */
  value(key: string): GgufValue | undefined {
    this.#indices ??= new Map(
      Array.from({ length: this.#counts().values }, (_, i) => [this.#valueAt(i).key, i]),
    );
    const index = this.#indices.get(key);
    return index === undefined ? undefined : this.#valueAt(index).read();
  }

  /**
   * All metadata, in file order. Arrays are decoded whole: with a large vocabulary that takes longer
   * than the model's loading.
   */
  metadata(): Map<string, GgufValue> {
    const values = Array.from({ length: this.#counts().values }, (_, i) => this.#valueAt(i));
    return new Map(values.map(({ key, read }) => [key, read()]));
  }

  /** The tensor table, in file order. */
  tensors(): GgufTensorInfo[] {
    const record = new Uint8Array(RECORD_BYTES);
    const view = new DataView(record.buffer);
    return Array.from({ length: this.#counts().tensors }, (_, i) => {
      this.library.mg_gguf_tensor_at(this.#open(), i, record);
      const word = (n: number) => view.getBigUint64(8 * n, true);
      return {
        name: utf8.decode(copyOf(word(0), Number(word(1)))),
        type: view.getUint32(48, true),
        cols: Number(word(4)),
        rows: Number(word(5)),
        size_bytes: Number(word(3)),
      };
    });
  }

  /**
   * A copy of one tensor's packed bytes; TENSOR_MISSING where there is none of that name, BAD_FORMAT
   * where the file has been cut off since.
   */
  tensorBytes(name: string): Uint8Array {
    const tensors = this.tensors();
    const index = tensors.findIndex((t) => t.name === name);
    if (index < 0) throw new MagnetError("TENSOR_MISSING", `${this.name} has no tensor "${name}"`);
    const out = new Uint8Array(tensors[index]!.size_bytes);
    this.library.mg_gguf_tensor_read(this.#open(), index, out, out.length);
    return out;
  }

  /** Unmaps the file; models built from the file do not need them. A second close is a no-op. */
  close(): void {
    this.library.mg_gguf_free(this.#handle);
    this.#handle = NULL;
  }
}
