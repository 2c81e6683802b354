/**
 * One node per data folder: two would vote twice with one key. The lock is the kernel's (through
 * SQLite's exclusive transaction on node.lock), so it ends with its process however that ends, and
 * no process number that was given to another program can keep a folder locked. node.pid is for the
 * message only.
 */
import { Database } from "bun:sqlite";
import fs from "node:fs";
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";

const isBusy = (error: unknown): boolean =>
  String((error as { code?: unknown }).code).startsWith("SQLITE_BUSY");

function holderOf(pid_file: string): string {
  const pid = fs.existsSync(pid_file) ? fs.readFileSync(pid_file, "utf8").trim() : "";
  return /^\d{1,10}$/.test(pid) ? ` (process ${pid})` : "";
}

/**
 * Returns the function that unlocks. Throws NODE_RUNNING, or why the folder cannot be written to.
 */
export function lockDataDir(data_dir: string): () => void {
  const pid_file = path.join(data_dir, "node.pid");
  const lock_file = path.join(data_dir, "node.lock");
  // SQLite's own message does not name a folder that cannot be written to.
  try {
    fs.closeSync(fs.openSync(lock_file, "a", 0o600));
  } catch (error) {
    throw toMagnetError(error);
  }
  const database = new Database(lock_file);
  try {
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    database.run("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if (!isBusy(error))
      throw new MagnetError("DATA_DIR_UNUSABLE", `${lock_file}: ${(error as Error).message}`, {
        hint: "delete the file if no node runs on this folder",
        cause: error,
      });
    const holder = holderOf(pid_file);
    throw new MagnetError("NODE_RUNNING", `a node already runs on ${data_dir}${holder}`, {
      hint: "magnet node stop ends it; a second node needs its own --data-dir",
    });
  }
  fs.writeFileSync(pid_file, `${process.pid}\n`, { mode: 0o600 });
  return () => {
    fs.rmSync(pid_file, { force: true });
    database.close();
  };
}
