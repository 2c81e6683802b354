/**
 * The node machine's durable state: one JSON file per key, replaced atomically and fsynced before
 * `persist` returns, because a promise to the network (an acknowledgement) depends on it.
 * Synchronous on purpose: nothing else of the node may happen between the decision and its record.
 */
import fs from "node:fs";
import path from "node:path";
import { MagnetError } from "../core/errors.ts";
import type { PersistKey } from "./node-types.ts";

/** A lock with two certificates of 1,024 members stays below this. */
const FILE_LIMIT_BYTES = 16 << 20;
const KEYS: readonly PersistKey[] = ["election", "jobs", "contribution", "peers"];

/** Writes a file so that a crash leaves the old or the new content, whole; durable on return. */
export function replaceFileSync(file: string, text: string): void {
  const temporary = `${file}.tmp`;
  const fd = fs.openSync(temporary, "w", 0o600);
  try {
    fs.writeFileSync(fd, text);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(temporary, file);
  const folder = fs.openSync(path.dirname(file), "r");
  try {
    fs.fsyncSync(folder);
  } finally {
    fs.closeSync(folder);
  }
}

export interface DurableState {
  load(): Record<string, unknown>;
  persist(key: PersistKey, value: unknown): void;
}

/**
 * Opens (and creates) the folder. `load` throws STATE_CORRUPT: voting on with lost promises is
 * unsafe.
 */
export function openDurableState(folder: string): DurableState {
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fileOf = (key: PersistKey) => path.join(folder, `${key}.json`);
  return {
    load() {
      const state: Record<string, unknown> = {};
      for (const key of KEYS) {
        const file = fileOf(key);
        if (!fs.existsSync(file)) continue;
        try {
          if (fs.statSync(file).size > FILE_LIMIT_BYTES) throw new Error("too large");
          state[key] = JSON.parse(fs.readFileSync(file, "utf8"));
        } catch (error) {
          throw new MagnetError("STATE_CORRUPT", `${file} cannot be read as this node's state`, {
            hint: "a node that forgot its promises must not vote: restore the file from a backup, or join with a new --data-dir",
            exit: "verification",
            cause: error,
          });
        }
      }
      return state;
    },
    persist: (key, value) => replaceFileSync(fileOf(key), JSON.stringify(value)),
  };
}
