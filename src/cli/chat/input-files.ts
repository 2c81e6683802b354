/** Small files that the flags of a chat name. */
import { MagnetError } from "../../core/errors.ts";
import { readSmallText } from "../../core/read-file.ts";

/** A server's key: the first line of the file, or the environment's. */
export function apiKeyOf(file: string | undefined): string | undefined {
  if (file === undefined) return process.env.MAGNET_API_KEY || undefined;
  const lines = readSmallText(file, 1 << 16).split(/\r?\n/);
  const key = lines.map((line) => line.trim()).find((line) => line !== "" && !line.startsWith("#"));
  if (key !== undefined) return key;
  throw new MagnetError("BAD_API_KEY", `${file} has no key`, { hint: "one line", exit: "auth" });
}
