/** Small files that the flags of a chat name. */
import { MagnetError } from "../../core/errors.ts";
import { readSmallText } from "../../core/read-file.ts";

/** A schema larger than this compiles to no constraint that fits. */
const SCHEMA_BYTES_MAX = 1 << 20;

/** The file's JSON; what is in it is judged by whoever compiles it. */
export function schemaOf(file: string): unknown {
  const text = readSmallText(file, SCHEMA_BYTES_MAX);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MagnetError("BAD_SCHEMA", `${file} is not JSON`, {
      hint: "a JSON schema is a JSON object; the README lists its keywords",
      exit: "usage",
      cause,
    });
  }
}

/** A server's key: the first line of the file, or the environment's. */
export function apiKeyOf(file: string | undefined): string | undefined {
  if (file === undefined) return process.env.MAGNET_API_KEY || undefined;
  const lines = readSmallText(file, 1 << 16).split(/\r?\n/);
  const key = lines.map((line) => line.trim()).find((line) => line !== "" && !line.startsWith("#"));
  if (key !== undefined) return key;
  throw new MagnetError("BAD_API_KEY", `${file} has no key`, { hint: "one line", exit: "auth" });
}
