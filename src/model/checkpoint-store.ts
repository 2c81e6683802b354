/**
 * The checkpoints of one run: step-00000100, step-00000200, ... in one folder, a `latest` file
 * naming the newest, and only the last few kept. `latest` changes in one step after the checkpoint
 * it names is complete, and a checkpoint leaves by rename before its files go, so that a crash at
 * any moment leaves at least one whole checkpoint that `latest` (or the highest step) leads to.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import {
  Checkpoint,
  type CheckpointContent,
  type CheckpointManifest,
  saveCheckpoint,
} from "./checkpoint.ts";
import { type FileSystem, hostFileSystem, replaceFile } from "./file-system.ts";

/** What a crash while `latest` was replaced leaves (see `temporaryBeside`); one run writes here. */
const INTERRUPTED_POINTER = /^latest\.\d+-\d+\.tmp$/;
const STEP_NAME = /^step-\d{8,15}$/;
const stepName = (step: number) => `step-${String(step).padStart(8, "0")}`;
const stepOf = (name: string) => Number(name.slice("step-".length));

export interface CheckpointStoreOptions {
  /** Checkpoints kept, at least 1. */
  keep: number;
  disk?: FileSystem;
}

export class CheckpointStore {
  private readonly disk: FileSystem;
  private readonly keep: number;

  constructor(
    readonly root: string,
    options: CheckpointStoreOptions = { keep: 3 },
  ) {
    this.disk = options.disk ?? hostFileSystem;
    this.keep = Math.max(1, options.keep);
  }

  /**
   * Saves a checkpoint under its step, points `latest` at it and removes the oldest beyond `keep`.
   */
  async save(
    content: CheckpointContent,
  ): Promise<{ folder: string; manifest: CheckpointManifest }> {
    const name = stepName(content.state.step);
    const folder = path.join(this.root, name);
    const manifest = await saveCheckpoint(folder, content, this.disk);
    await replaceFile(this.disk, path.join(this.root, "latest"), (file) =>
      file.write(new TextEncoder().encode(`${name}\n`)),
    );
    await this.prune(name);
    return { folder, manifest };
  }

  /** Folders of all checkpoints, lowest step first; an absent root holds none. */
  async list(): Promise<string[]> {
    return (await this.names()).map((name) => path.join(this.root, name));
  }

  /** Folder of the newest checkpoint, or null. */
  async latest(): Promise<string | null> {
    const names = await this.names();
    const pointed = await fs
      .readFile(path.join(this.root, "latest"), "utf8")
      .then((text) => text.trim())
      .catch(() => ""); // no pointer: a crash before the first one was written
    const name = names.includes(pointed) ? pointed : names.at(-1);
    return name === undefined ? null : path.join(this.root, name);
  }

  private async names(): Promise<string[]> {
    if (!(await this.disk.exists(this.root))) return [];
    const names = (await this.disk.list(this.root)).map((n) => {
      const interrupted = /^\.(step-\d{8,15})\.old$/.exec(n); // a crash while it was replaced
      return interrupted ? interrupted[1]! : n;
    });
    const steps = new Set(names.filter((n) => STEP_NAME.test(n)));
    return [...steps].sort((a, b) => stepOf(a) - stepOf(b));
  }

  private async prune(newest: string): Promise<void> {
    const others = (await this.names()).filter((name) => name !== newest);
    const excess = others.slice(0, Math.max(0, others.length - (this.keep - 1)));
    for (const name of excess) {
      const leaving = path.join(this.root, `.${name}.leaving`);
      await this.disk.remove(leaving);
      await this.disk.remove(path.join(this.root, `.${name}.old`));
      if (await this.disk.exists(path.join(this.root, name)))
        await this.disk.rename(path.join(this.root, name), leaving);
    }
    for (const name of await this.disk.list(this.root))
      if (name.endsWith(".leaving") || INTERRUPTED_POINTER.test(name))
        await this.disk.remove(path.join(this.root, name));
  }
}

/**
 * Opens what a user means by a path: a checkpoint folder, a folder of step-* checkpoints, or a run
 * folder with `checkpoints/` (the newest of them). Throws NOT_FOUND, NOT_A_CHECKPOINT,
 * CHECKPOINT_CORRUPT, UNSUPPORTED.
 */
export async function resolveCheckpoint(
  given: string,
  disk: FileSystem = hostFileSystem,
): Promise<Checkpoint> {
  try {
    for (const root of [path.join(given, "checkpoints"), given]) {
      const newest = await new CheckpointStore(root, { keep: 1, disk }).latest();
      if (newest !== null) return await Checkpoint.open(newest, disk);
    }
    return await Checkpoint.open(given, disk);
  } catch (error) {
    const known = toMagnetError(error);
    if (known.code !== "NOT_A_FOLDER") throw known;
    throw new MagnetError("NOT_A_CHECKPOINT", `${given} is a file, not a checkpoint folder`, {
      hint: "name a folder that holds manifest.json and model.safetensors",
    });
  }
}
