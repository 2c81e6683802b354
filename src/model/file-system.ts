/**
 * The few disk operations that checkpoints and token files are made of, as an argument: tests fail
 * each one in turn. The real ones are asynchronous, so that timers and sockets stay punctual while
 * gigabytes are written. Errors keep the system's code (ENOSPC, ...) for `toMagnetError`.
 */
import fs from "node:fs/promises";
import { MagnetError, toMagnetError } from "../core/errors.ts";

/** A file being written, from start to end. */
export interface OutputFile {
  /** Writes all of `bytes`; they must not change until the promise settles. */
  write(bytes: Uint8Array): Promise<void>;
  /** Writes over bytes that were written before. */
  overwrite(bytes: Uint8Array, position: number): Promise<void>;
  /** Returns once everything written is on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface FileSystem {
  /** Creates a file that must not exist yet. */
  create(path: string): Promise<OutputFile>;
  /** Creates a folder and its parents; one that exists is fine. */
  makeFolder(path: string): Promise<void>;
  /** Makes renames and creations inside a folder durable. */
  syncFolder(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file or a folder with all it holds; nothing there is fine. */
  remove(path: string): Promise<void>;
  exists(path: string): Promise<boolean>;
  /** Names inside a folder, sorted. */
  list(path: string): Promise<string[]>;
}

async function writeAll(handle: fs.FileHandle, bytes: Uint8Array, position: number | null) {
  for (let done = 0; done < bytes.length; ) {
    const length = Math.min(CHUNK_BYTES, bytes.length - done);
    const at = position === null ? null : position + done;
    done += (await handle.write(bytes, done, length, at)).bytesWritten;
  }
}

/** One read or write: the hash of a piece this size takes a few milliseconds. */
export const CHUNK_BYTES = 4 * 1024 * 1024;

async function createFile(path: string): Promise<OutputFile> {
  const handle = await fs.open(path, "wx", 0o644);
  return {
    write: (bytes) => writeAll(handle, bytes, null),
    overwrite: (bytes, position) => writeAll(handle, bytes, position),
    sync: () => handle.sync(),
    close: () => handle.close(),
  };
}

/** The host's disk. */
export const hostFileSystem: FileSystem = {
  create: createFile,
  async makeFolder(path) {
    try {
      await fs.mkdir(path, { recursive: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      throw new MagnetError("NOT_A_FOLDER", `${path} is a file, not a folder`, {
        hint: "choose another path",
        cause: error,
      });
    }
  },
  async syncFolder(path) {
    const handle = await fs.open(path, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  rename: (from, to) => fs.rename(from, to),
  remove: (path) => fs.rm(path, { recursive: true, force: true }),
  async exists(path) {
    try {
      await fs.lstat(path);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT" || code === "ENOTDIR") return false;
      throw error;
    }
  },
  list: async (path) => (await fs.readdir(path)).sort(),
};

/** Writes through to `file` and hashes what passes. */
function hashingFile(file: OutputFile): Omit<OutputFile, "overwrite"> & { result(): FileDigest } {
  const hasher = new Bun.CryptoHasher("sha256");
  let size_bytes = 0;
  return {
    async write(bytes) {
      for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
        const piece = bytes.subarray(at, at + CHUNK_BYTES);
        hasher.update(piece);
        await file.write(piece);
        size_bytes += piece.length;
      }
    },
    sync: () => file.sync(),
    close: () => file.close(),
    result: () => ({ size_bytes, sha256: hasher.digest("hex") }),
  };
}
export interface FileDigest {
  size_bytes: number;
  /** 64 hexadecimal digits. */
  sha256: string;
}

/** Writes one file durably: created, written, fsynced, closed. Returns what was written. */
export async function writeDurably(
  disk: FileSystem,
  path: string,
  write: (file: Pick<OutputFile, "write">) => Promise<void>,
): Promise<FileDigest> {
  const file = hashingFile(await disk.create(path));
  try {
    await write(file);
    await file.sync();
  } finally {
    await file.close();
  }
  return file.result();
}

let temporaries = 0;
/** A name beside `path` that no other writer uses, in this process or another. */
export const temporaryBeside = (path: string): string =>
  `${path}.${process.pid}-${temporaries++}.tmp`;

/** Replaces a file in one step: a crash leaves the old or the new content. */
export async function replaceFile(
  disk: FileSystem,
  path: string,
  write: (file: Pick<OutputFile, "write">) => Promise<void>,
): Promise<FileDigest> {
  const temporary = temporaryBeside(path);
  try {
    const digest = await writeDurably(disk, temporary, write);
    await disk.rename(temporary, path);
    await disk.syncFolder(path.replace(/\/?[^/]*$/, "") || ".");
    return digest;
  } catch (error) {
    await disk.remove(temporary).catch(() => undefined); // the first failure is the one to report
    throw toMagnetError(error);
  }
}

/**
 * Reads exactly `target.length` bytes at `position`; less is `code` with the path. `onPiece` sees
 * each piece once it is in place.
 */
export async function readExactly(
  handle: fs.FileHandle,
  path: string,
  target: Uint8Array,
  position: number,
  code: string,
  onPiece?: (piece: Uint8Array) => void,
): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const length = Math.min(CHUNK_BYTES, target.length - done);
    const { bytesRead } = await handle.read(target, done, length, position + done);
    if (bytesRead === 0)
      throw new MagnetError(code, `${path} ends at byte ${position + done}, before its content`, {
        hint: "the file was cut off; copy or make it again",
        exit: "verification",
      });
    onPiece?.(target.subarray(done, done + bytesRead));
    done += bytesRead;
  }
}
