/** The folder of a run: made where it is not there, locked, and never that of another run. */
import fs from "node:fs/promises";
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { CheckpointStore } from "./checkpoint-store.ts";
import { type FileSystem, hostFileSystem } from "./file-system.ts";
import { RunLock } from "./run-lock.ts";

/** Throws OUT_IN_USE where a folder holds checkpoints of a run. */
export async function requireUnused(
  out_dir: string,
  disk: FileSystem = hostFileSystem,
): Promise<void> {
  const store = new CheckpointStore(path.join(out_dir, "checkpoints"), { keep: 1, disk });
  const latest = await store.latest();
  if (latest === null) return;
  throw new MagnetError("OUT_IN_USE", `${out_dir} holds a run already (${path.basename(latest)})`, {
    hint: "go on with it (--resume), or choose another --out",
    exit: "usage",
  });
}

/** A folder that no other process trains into until it is released. */
export interface TakenOut {
  release(): Promise<void>;
}

/**
 * Makes and locks the folder of a run. A `fresh` one holds no run, also none that has come to its
 * end since that was last asked. Throws OUT_BUSY, OUT_IN_USE and the disk's errors.
 */
export async function takeOut(
  out_dir: string,
  fresh: boolean,
  disk: FileSystem = hostFileSystem,
): Promise<TakenOut> {
  try {
    const existed = await disk.exists(out_dir);
    await disk.makeFolder(out_dir);
    const lock = await RunLock.take(out_dir);
    const release = async () => {
      await lock.release();
      // Nothing is left of a run that failed before it wrote anything.
      if (!existed) await fs.rmdir(out_dir).catch(() => undefined);
    };
    if (!fresh) return { release };
    await requireUnused(out_dir, disk).catch(async (error) => {
      await release();
      throw error;
    });
    return { release };
  } catch (error) {
    throw toMagnetError(error);
  }
}
