/**
 * One process at a time on a folder. The lock is the kernel's (through SQLite's exclusive
 * transaction on NAME.lock), so it ends with its process however that ends, and no process number
 * that was given to another program can keep a folder locked. NAME.pid is for the message only.
 */
import { Database } from "bun:sqlite";
import fs from "node:fs";
import path from "node:path";
import { type MagnetError, toMagnetError } from "./errors.ts";

export interface FolderLock {
  folder: string;
  /** Of the two files, without their ends. */
  name: string;
  /** The error where another process has it; `holder` is " (process 123)" or empty. */
  busy(holder: string): MagnetError;
  /** The error where the lock's file is not one that SQLite can use. */
  unusable(lock_file: string, cause: unknown): MagnetError;
}

const isBusy = (error: unknown): boolean =>
  String((error as { code?: unknown }).code).startsWith("SQLITE_BUSY");

function notedPid(pid_file: string): number | null {
  const pid = fs.existsSync(pid_file) ? fs.readFileSync(pid_file, "utf8").trim() : "";
  return /^\d{1,10}$/.test(pid) ? Number(pid) : null;
}

function holderOf(pid_file: string): string {
  const pid = notedPid(pid_file);
  return pid === null ? "" : ` (process ${pid})`;
}

/**
 * The process that has the folder now; null where nobody has. The kernel's lock decides: a number
 * that a killed process left behind may belong to another program by now.
 */
export function folderHolder({ folder, name }: Pick<FolderLock, "folder" | "name">): number | null {
  const lock_file = path.join(folder, `${name}.lock`);
  if (!fs.existsSync(lock_file)) return null;
  const database = new Database(lock_file, { readonly: true });
  try {
    database.query("SELECT count(*) FROM sqlite_master").get();
    return null;
  } catch (error) {
    if (!isBusy(error)) throw toMagnetError(error);
    return notedPid(path.join(folder, `${name}.pid`));
  } finally {
    database.close();
  }
}

/**
 * Returns the function that unlocks. Throws `busy`, or why the folder cannot be written to.
 */
export function lockFolder({ folder, name, busy, unusable }: FolderLock): () => void {
  const pid_file = path.join(folder, `${name}.pid`);
  const lock_file = path.join(folder, `${name}.lock`);
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
    throw isBusy(error) ? busy(holderOf(pid_file)) : unusable(lock_file, error);
  }
  try {
    fs.writeFileSync(pid_file, `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    database.close();
    throw toMagnetError(error);
  }
  return () => {
    fs.rmSync(pid_file, { force: true });
    database.close();
  };
}
