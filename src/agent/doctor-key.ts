/** The doctor's look at the wallet key: present, readable by its owner only, opened, backed up. */
import fs from "node:fs";
import { toMagnetError } from "../core/errors.ts";
import { type KeyStorage, keyFile, loadIdentity, wasExported } from "../network/key-storage.ts";
import { type Check, fail, ok, warn } from "./doctor-check.ts";

/** Opens the key (which checks its mode) without showing anything secret. */
export function checkKey(storage: KeyStorage): Check {
  const file = keyFile(storage);
  if (!fs.existsSync(file))
    return warn("key", `none yet at ${file}`, "magnet keys create, or it is made on first join");
  try {
    const { node_id } = loadIdentity(storage);
    const mode = (fs.statSync(file).mode & 0o777).toString(8).padStart(4, "0");
    const value = `${node_id}, ${file}, mode ${mode}`;
    if (wasExported(storage)) return ok("key", `${value}, exported`);
    return warn(
      "key",
      `${value}, no backup`,
      "magnet keys export --out FILE, and keep it elsewhere",
    );
  } catch (error) {
    const failure = toMagnetError(error);
    return fail("key", failure.message, failure.hint ?? "magnet keys show");
  }
}
