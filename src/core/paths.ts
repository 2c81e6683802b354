/**
 * Where files live by the XDG base directory rules. HOME may be unset or empty (a service, a
 * container): then the account's home is used, and where that is not writable either, a folder of
 * this user below the temporary one, with a note for the caller to show.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

export interface Paths {
  config_file: string;
  data_dir: string;
  cache_dir: string;
  /** Why the usual folders were not taken; undefined where they were. */
  note: string | undefined;
}

function writable(folder: string): boolean {
  try {
    fs.accessSync(folder, fs.constants.W_OK);
    return true;
  } catch {
    return false; // absent or not ours: the next candidate is tried
  }
}

function accountHome(): string {
  try {
    return os.userInfo().homedir;
  } catch {
    return ""; // the user id has no account entry
  }
}

/** XDG variables count only where they hold an absolute path (as the standard demands). */
const absolute = (value: string | undefined) =>
  value !== undefined && path.isAbsolute(value) ? value : undefined;

/** Computes the paths without creating anything. */
export function standardPaths(env: Record<string, string | undefined>): Paths {
  let home = absolute(env.HOME);
  let note: string | undefined;
  const complete = absolute(env.XDG_DATA_HOME) && absolute(env.XDG_CONFIG_HOME);
  if (home === undefined && !complete) {
    const account = accountHome();
    const uid = process.getuid?.() ?? 0;
    home = writable(account) ? account : path.join(os.tmpdir(), `magnet-${uid}`);
    note = `HOME is not set: files go below ${home}`;
  }
  const base = home ?? "/";
  const config = absolute(env.XDG_CONFIG_HOME) ?? path.join(base, ".config");
  const data = absolute(env.XDG_DATA_HOME) ?? path.join(base, ".local", "share");
  const cache = absolute(env.XDG_CACHE_HOME) ?? path.join(base, ".cache");
  return {
    config_file: path.join(config, "magnet", "config.toml"),
    data_dir: path.join(data, "magnet"),
    cache_dir: path.join(cache, "magnet"),
    note,
  };
}
