/**
 * API keys: read from a file or the environment, never from the command line (other users see it
 * there). Only their SHA-256 stays in memory; a given key is compared with all of them in constant
 * time. Logs and metrics name a key by the first digits of its hash.
 */
import crypto from "node:crypto";
import fs from "node:fs/promises";
import { MagnetError, toMagnetError } from "../../core/errors.ts";

/** Shorter keys can be guessed over the network. */
const KEY_LENGTH_MIN = 16;
const KEY_LENGTH_MAX = 512;
const KEYS_MAX = 10_000;

const digest = (text: string): Buffer => crypto.createHash("sha256").update(text).digest();

export class ApiKeys {
  readonly #keys: { id: string; hash: Buffer }[];

  /** Throws BAD_API_KEY naming the place, never the key. */
  constructor(keys: readonly string[], source = "api_keys") {
    if (keys.length > KEYS_MAX)
      throw new MagnetError("BAD_API_KEY", `${source} has more than ${KEYS_MAX} keys`, {
        exit: "config",
      });
    this.#keys = keys.map((key, index) => {
      if (!/^[\x21-\x7e]+$/.test(key) || key.length < KEY_LENGTH_MIN || key.length > KEY_LENGTH_MAX)
        throw new MagnetError("BAD_API_KEY", `${source}: key ${index + 1} is not usable`, {
          hint: `a key has ${KEY_LENGTH_MIN} to ${KEY_LENGTH_MAX} visible ASCII characters`,
          exit: "config",
        });
      const hash = digest(key);
      return { id: hash.toString("hex").slice(0, 8), hash };
    });
  }

  get size(): number {
    return this.#keys.length;
  }

  /** Id of the key, or undefined. Every key is looked at, so that time tells nothing. */
  find(given: string): string | undefined {
    const hash = digest(given);
    let found: string | undefined;
    for (const key of this.#keys) if (crypto.timingSafeEqual(key.hash, hash)) found = key.id;
    return found;
  }
}

export interface ApiKeySources {
  /** One key a line; empty lines and lines that begin with # do not count. */
  file?: string | undefined;
  /** Keys separated by commas or blanks, as MAGNET_API_KEYS holds them. */
  environment?: string | undefined;
}

/** Keys of all sources together. Throws BAD_API_KEY, NOT_FOUND, NOT_PERMITTED. */
export async function loadApiKeys(sources: ApiKeySources): Promise<string[]> {
  const keys = (sources.environment ?? "").split(/[\s,]+/).filter((key) => key !== "");
  if (sources.file === undefined) return keys;
  let text: string;
  try {
    text = await fs.readFile(sources.file, "utf8");
  } catch (error) {
    throw toMagnetError(error);
  }
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const found = lines.filter((line) => line !== "" && !line.startsWith("#"));
  if (found.length === 0)
    throw new MagnetError("BAD_API_KEY", `${sources.file} has no key`, {
      hint: "write one key a line, for example: openssl rand -hex 24",
      exit: "config",
    });
  return [...keys, ...found];
}
