/**
 * The disk operations that storage is made of, as an argument: tests fail or stop at each one in
 * turn. Errors keep the system's code (ENOSPC, ...), which `toMagnetError` turns into a clear one.
 */
import fs from "node:fs/promises";
import { MagnetError } from "../core/errors.ts";

/** A new file, written from start to end. */
export interface DiskWriter {
  /** Writes all of `bytes`, which must not change until the promise settles. */
  write(bytes: Uint8Array): Promise<void>;
  /** Returns once everything written is on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface Disk {
  /** Creates a folder and its parents; one that exists is fine. */
  makeFolder(path: string): Promise<void>;
  /** Names inside a folder, sorted. */
  list(path: string): Promise<string[]>;
  /** Length in bytes of a regular file, null where there is none. */
  sizeOf(path: string): Promise<number | null>;
  /** Creates a file that must not exist yet. */
  create(path: string): Promise<DiskWriter>;
  /** Exactly `length` bytes from `offset`; a shorter file is FILE_CUT_OFF. */
  read(path: string, offset: number, length: number): Promise<Uint8Array>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; nothing there is fine. */
  remove(path: string): Promise<void>;
  /** Makes creations, renames and removals inside a folder durable. */
  syncFolder(path: string): Promise<void>;
}

async function create(path: string): Promise<DiskWriter> {
  const handle = await fs.open(path, "wx", 0o600);
  return {
    async write(bytes) {
      for (let done = 0; done < bytes.length; )
        done += (await handle.write(bytes, done, bytes.length - done)).bytesWritten;
    },
    sync: () => handle.sync(),
    close: () => handle.close(),
  };
}

async function read(path: string, offset: number, length: number): Promise<Uint8Array> {
  const handle = await fs.open(path, "r");
  try {
    const out = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await handle.read(out, done, length - done, offset + done);
      if (bytesRead === 0)
        throw new MagnetError("FILE_CUT_OFF", `${path} ends before byte ${offset + length}`, {
          hint: "the file is damaged; its content is fetched again from other nodes",
          exit: "verification",
        });
      done += bytesRead;
    }
    return out;
  } finally {
    await handle.close();
  }
}

/** The host's disk. */
export const hostDisk: Disk = {
  async makeFolder(path) {
    await fs.mkdir(path, { recursive: true, mode: 0o700 });
  },
  list: async (path) => (await fs.readdir(path)).sort(),
  async sizeOf(path) {
    try {
      const stat = await fs.lstat(path);
      return stat.isFile() ? stat.size : null;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw error;
    }
  },
  create,
  read,
  rename: (from, to) => fs.rename(from, to),
  remove: (path) => fs.rm(path, { force: true }),
  async syncFolder(path) {
    const handle = await fs.open(path, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};
