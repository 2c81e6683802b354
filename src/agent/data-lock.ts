/** One node per data folder: two would vote twice with one key. */
import { MagnetError } from "../core/errors.ts";
import { lockFolder } from "../core/folder-lock.ts";

/**
 * Returns the function that unlocks. Throws NODE_RUNNING, or why the folder cannot be written to.
 */
export function lockDataDir(data_dir: string): () => void {
  return lockFolder({
    folder: data_dir,
    name: "node",
    busy: (holder) =>
      new MagnetError("NODE_RUNNING", `a node already runs on ${data_dir}${holder}`, {
        hint: "magnet node stop ends it; a second node needs its own --data-dir",
      }),
    unusable: (lock_file, cause) =>
      new MagnetError("DATA_DIR_UNUSABLE", `${lock_file}: ${(cause as Error).message}`, {
        hint: "delete the file if no node runs on this folder",
        cause,
      }),
  });
}
