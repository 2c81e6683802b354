/**
 * Files with secrets: mode 0600 from the first byte, complete or absent, never overwritten by
 * accident, and refused where others could have read them.
 */
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { requireFile } from "../core/read-file.ts";

/** Longest secret file read; a keystore has about 500 bytes, a certificate file 2 KiB. */
const SECRET_FILE_MAX = 64 << 10;

/**
 * Creates the file in one step: a crash leaves nothing or all of it, and of two processes one wins.
 * With `replace` an existing file is exchanged, else FILE_EXISTS is thrown.
 */
export function writePrivateFile(file: string, text: string, replace = false): void {
  const folder = path.dirname(file);
  const temporary = `${file}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    const fd = fs.openSync(temporary, "wx", 0o600);
    try {
      fs.fchmodSync(fd, 0o600); // whatever the umask says
      fs.writeFileSync(fd, text);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    if (replace) fs.renameSync(temporary, file);
    else fs.linkSync(temporary, file); // fails where the name exists, unlike rename
    syncFolder(folder);
  } catch (error) {
    if ((error as { code?: string }).code === "EEXIST")
      throw new MagnetError("FILE_EXISTS", `${file} exists already`, {
        hint: "move it away first; it is never overwritten",
        exit: "auth",
        cause: error,
      });
    throw toMagnetError(error);
  } finally {
    fs.rmSync(temporary, { force: true });
  }
}

function syncFolder(folder: string): void {
  const fd = fs.openSync(folder, "r");
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * The file's text, or undefined where it does not exist. Throws KEY_FILE_MODE if others can read
 * it.
 */
export function readPrivateFile(file: string): string | undefined {
  let fd: number;
  try {
    requireFile(file);
    fd = fs.openSync(file, "r");
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return undefined;
    throw toMagnetError(error);
  }
  try {
    const { mode, size } = fs.fstatSync(fd);
    if ((mode & 0o077) !== 0)
      throw new MagnetError(
        "KEY_FILE_MODE",
        `${file} has mode 0${(mode & 0o777).toString(8)}: others may read it`,
        { hint: `chmod 600 ${file}`, exit: "auth" },
      );
    if (size > SECRET_FILE_MAX)
      throw new MagnetError("KEY_FILE_CORRUPT", `${file} is too large (${size} bytes)`, {
        hint: "restore it from the backup",
        exit: "auth",
      });
    return fs.readFileSync(fd, "utf8");
  } finally {
    fs.closeSync(fd);
  }
}
