/**
 * A checkpoint is a folder: model.safetensors (latent weights under their HF names),
 * optimizer.safetensors (m.<name>, v.<name>; no v for the matrices of Muon), tokenizer.json and
 * manifest.json. It is written beside its place, every file and the folder fsynced, and renamed into
 * place: a crash or a full disk at any moment leaves the old checkpoint or the new one. Every byte
 * read is checked against the manifest.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { invariant, MagnetError, toMagnetError } from "../core/errors.ts";
import { readSmallFile } from "../core/read-file.ts";
import {
  type CheckpointFile,
  type CheckpointManifest,
  type CheckpointState,
  checkpointCorrupt,
  checkpointHash,
  parseManifest,
} from "./checkpoint-manifest.ts";
import { type FileDigest, type FileSystem, hostFileSystem, writeDurably } from "./file-system.ts";
import { bytesOf, SafetensorsFile, type TensorData, writeSafetensors } from "./safetensors.ts";

export type { CheckpointManifest, CheckpointState } from "./checkpoint-manifest.ts";

/** Where a tensor lies in an arena (fields of `tensorInfos`). */
export interface TensorPlace {
  name: string;
  /** First element. */
  offset: number;
  rows: number;
  cols: number;
  /** false: a vector of `cols` elements. */
  is_matrix: boolean;
  /** A matrix of a block: Muon keeps no second moment of it. */
  is_ternary: boolean;
}
/** Arenas of a trainer: views of the same layout. */
export interface Arenas {
  params: Float32Array;
  m: Float32Array;
  v: Float32Array;
}
export interface CheckpointContent extends Arenas {
  layout: readonly TensorPlace[];
  tokenizer_json: string;
  state: CheckpointState;
  losses: CheckpointManifest["losses"];
}

/** A manifest larger than this was not written by us. */
const MANIFEST_BYTES_MAX = 1024 * 1024;
/** Large vocabularies take about 20 MB. */
const TOKENIZER_BYTES_MAX = 256 * 1024 * 1024;

const shapeOf = (t: TensorPlace) => (t.is_matrix ? [t.rows, t.cols] : [t.cols]);
const sliceOf = (t: TensorPlace, arena: Float32Array) =>
  bytesOf(arena.subarray(t.offset, t.offset + t.rows * t.cols));
const entriesOf = (
  layout: readonly TensorPlace[],
  prefix: string,
  arena: Float32Array,
): TensorData[] =>
  layout.map((t) => ({
    name: prefix + t.name,
    dtype: "F32",
    shape: shapeOf(t),
    data: sliceOf(t, arena),
  }));

/** What optimizer.safetensors holds, in order. */
const momentsOf = (
  layout: readonly TensorPlace[],
  optimizer: CheckpointState["optimizer"]["name"],
  { m, v }: Pick<Arenas, "m" | "v">,
): TensorData[] => [
  ...entriesOf(layout, "m.", m),
  ...entriesOf(optimizer === "muon" ? layout.filter((t) => !t.is_ternary) : layout, "v.", v),
];

const beside = (folder: string, suffix: string) => {
  const { dir, base } = path.parse(path.resolve(folder));
  return path.join(dir, `.${base}.${suffix}`);
};

/** After a crash between the two renames of a replacement, puts the old checkpoint back. */
async function recover(folder: string, disk: FileSystem): Promise<void> {
  const old = beside(folder, "old");
  if (!(await disk.exists(folder)) && (await disk.exists(old))) await disk.rename(old, folder);
}

async function writeFiles(
  temporary: string,
  content: CheckpointContent,
  disk: FileSystem,
): Promise<CheckpointManifest> {
  const { layout, params, m, v, tokenizer_json, state, losses } = content;
  const write = (name: CheckpointFile, tensors: TensorData[]) =>
    writeDurably(disk, path.join(temporary, name), (file) =>
      writeSafetensors(file, tensors, { format: "pt" }),
    );
  const files = {
    "model.safetensors": await write("model.safetensors", entriesOf(layout, "", params)),
    "optimizer.safetensors": await write(
      "optimizer.safetensors",
      momentsOf(layout, state.optimizer.name, { m, v }),
    ),
    "tokenizer.json": await writeDurably(disk, path.join(temporary, "tokenizer.json"), (file) =>
      file.write(new TextEncoder().encode(tokenizer_json)),
    ),
  };
  const body = { schema: "magnet.checkpoint/1" as const, ...state, losses, files };
  const { schema, ...rest } = body;
  const manifest = { schema, checkpoint_hash: checkpointHash(body), ...rest };
  await writeDurably(disk, path.join(temporary, "manifest.json"), (file) =>
    file.write(new TextEncoder().encode(`${JSON.stringify(manifest, null, 2)}\n`)),
  );
  await disk.syncFolder(temporary);
  return manifest;
}

/**
 * Saves a checkpoint at `folder`, replacing one that is there. The arenas must not change until it
 * is done. Throws DISK_FULL, NOT_PERMITTED, ...; what was at `folder` is then still there.
 */
export async function saveCheckpoint(
  folder: string,
  content: CheckpointContent,
  disk: FileSystem = hostFileSystem,
): Promise<CheckpointManifest> {
  const temporary = beside(folder, "new");
  const old = beside(folder, "old");
  try {
    await recover(folder, disk);
    await disk.remove(temporary);
    await disk.makeFolder(temporary);
    const manifest = await writeFiles(temporary, content, disk);
    if (await disk.exists(folder)) {
      await disk.remove(old);
      await disk.rename(folder, old);
    }
    await disk.rename(temporary, folder);
    await disk.syncFolder(path.dirname(temporary));
    await disk.remove(old);
    return manifest;
  } catch (error) {
    // Tidying may fail for the same reason as the save; the first failure is the one to report.
    await recover(folder, disk).catch(() => undefined);
    await disk.remove(temporary).catch(() => undefined);
    const cause = toMagnetError(error);
    throw new MagnetError(cause.code, `checkpoint ${folder} was not saved: ${cause.message}`, {
      ...(cause.hint === undefined ? {} : { hint: cause.hint }),
      exit: cause.exit,
      cause: error,
    });
  }
}

/** Reads a whole small file of a checkpoint. */
async function readSmall(folder: string, name: string, bytes_max: number): Promise<Uint8Array> {
  const file = path.join(folder, name);
  try {
    const { size } = await fs.stat(file);
    if (size > bytes_max)
      throw checkpointCorrupt(folder, name, `has ${size} bytes (limit ${bytes_max})`);
    return readSmallFile(file, bytes_max);
  } catch (error) {
    const known = toMagnetError(error);
    if (known.code === "NOT_FOUND") throw checkpointCorrupt(folder, name, "is missing");
    throw known;
  }
}

/** A checkpoint on disk whose manifest was checked; the files are checked as they are read. */
export class Checkpoint {
  private constructor(
    readonly folder: string,
    readonly manifest: CheckpointManifest,
  ) {}

  /**
   * Opens the checkpoint folder itself (see `resolveCheckpoint` for run folders). Throws NOT_FOUND,
   * NOT_A_CHECKPOINT, CHECKPOINT_CORRUPT or UNSUPPORTED (another version's schema).
   */
  static async open(folder: string, disk: FileSystem = hostFileSystem): Promise<Checkpoint> {
    try {
      await recover(folder, disk);
      const hint = "name a folder that holds manifest.json and model.safetensors";
      if (!(await fs.stat(folder)).isDirectory())
        throw new MagnetError("NOT_A_CHECKPOINT", `${folder} is a file, not a folder`, { hint });
      if (!(await disk.exists(path.join(folder, "manifest.json"))))
        throw new MagnetError("NOT_A_CHECKPOINT", `${folder} holds no manifest.json`, { hint });
    } catch (error) {
      throw toMagnetError(error);
    }
    const text = await readSmall(folder, "manifest.json", MANIFEST_BYTES_MAX);
    return new Checkpoint(folder, parseManifest(folder, new TextDecoder().decode(text)));
  }

  /** Text of tokenizer.json, checked against its hash. */
  async tokenizerJson(): Promise<string> {
    const bytes = await readSmall(this.folder, "tokenizer.json", TOKENIZER_BYTES_MAX);
    const sha256 = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
    this.check("tokenizer.json", { size_bytes: bytes.length, sha256 });
    return new TextDecoder().decode(bytes);
  }

  /** Reads the latent weights into `params`. After an error its content is undefined. */
  async loadParams(layout: readonly TensorPlace[], params: Float32Array): Promise<void> {
    await this.loadTensors("model.safetensors", entriesOf(layout, "", params));
  }

  /**
   * Reads weights and moments into a trainer's arenas. After an error their content is undefined.
   */
  async load(layout: readonly TensorPlace[], { params, m, v }: Arenas): Promise<void> {
    await this.loadParams(layout, params);
    const { name } = this.manifest.optimizer;
    await this.loadTensors("optimizer.safetensors", momentsOf(layout, name, { m, v }));
  }

  /**
   * Hashes every file without keeping it. Throws CHECKPOINT_CORRUPT naming the first that differs.
   */
  async verify(): Promise<void> {
    await this.tokenizerJson();
    for (const name of ["model.safetensors", "optimizer.safetensors"] as const) {
      const file = await this.openTensors(name);
      const hasher = new Bun.CryptoHasher("sha256");
      let size_bytes = 0;
      try {
        for await (const piece of file.chunks()) {
          hasher.update(piece);
          size_bytes += piece.length;
        }
      } finally {
        await file.close();
      }
      this.check(name, { size_bytes, sha256: hasher.digest("hex") });
    }
  }

  private check(name: CheckpointFile, found: FileDigest): void {
    const expected = this.manifest.files[name];
    if (found.size_bytes !== expected.size_bytes || found.sha256 !== expected.sha256)
      throw checkpointCorrupt(this.folder, name, "does not match the hash in manifest.json");
  }

  private async openTensors(name: CheckpointFile): Promise<SafetensorsFile> {
    try {
      return await SafetensorsFile.open(path.join(this.folder, name));
    } catch (error) {
      const cause = toMagnetError(error);
      if (cause.code === "NOT_FOUND") throw checkpointCorrupt(this.folder, name, "is missing");
      if (cause.code === "SAFETENSORS_CORRUPT")
        throw checkpointCorrupt(this.folder, name, `is damaged (${cause.message})`);
      throw cause;
    }
  }

  /**
   * Reads tensors into place and hashes the same bytes in one pass: the tensors, in order, are all
   * of the file behind its header.
   */
  private async loadTensors(name: CheckpointFile, targets: TensorData[]): Promise<void> {
    const file = await this.openTensors(name);
    try {
      const described = (t: { name: string; dtype: string; shape: readonly number[] }) =>
        `${t.name} ${t.dtype} ${t.shape}`;
      if (file.tensors.map(described).join("\n") !== targets.map(described).join("\n")) {
        await this.verify(); // damage is reported as damage
        throw new MagnetError(
          "CHECKPOINT_MISMATCH",
          `${this.folder}: ${name} holds another model's tensors`,
          { hint: "use the configuration that the checkpoint was trained with" },
        );
      }
      const hasher = new Bun.CryptoHasher("sha256").update(await file.headerBytes());
      for (const { name: tensor, data } of targets) {
        invariant(data instanceof Uint8Array, "a target is memory");
        await file.readInto(tensor, data, { onPiece: (piece) => hasher.update(piece) });
      }
      this.check(name, { size_bytes: file.size_bytes, sha256: hasher.digest("hex") });
    } finally {
      await file.close();
    }
  }
}
