/** The folder of a run: made where it is not there, and never that of another run. */
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { CheckpointStore } from "./checkpoint-store.ts";
import { type FileSystem, hostFileSystem } from "./file-system.ts";

/** Throws the disk's errors. */
export async function makeOut(out_dir: string, disk: FileSystem): Promise<void> {
  try {
    await disk.makeFolder(out_dir);
  } catch (error) {
    throw toMagnetError(error);
  }
}

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
