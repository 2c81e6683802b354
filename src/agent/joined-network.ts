/**
 * The network of a data folder: the file named, else the one joined before, else a new network of
 * this node alone. It is kept in the folder, so that the next start needs no flag.
 */
import fs from "node:fs";
import path from "node:path";
import { MagnetError } from "../core/errors.ts";
import type { PublicKey } from "../core/types.ts";
import { replaceFileSync } from "./durable-state.ts";
import {
  type NetworkFile,
  networkConfigHash,
  networkFileSchema,
  readNetworkFile,
} from "./network-file.ts";

export interface JoinedNetwork {
  network: NetworkFile;
  file: string;
}

/**
 * Promises made in one network mean nothing in another, and a data folder holds one set of them.
 */
function refuseOtherNetwork(data_dir: string, kept: NetworkFile, named: string): void {
  if (!fs.existsSync(path.join(data_dir, "state", "election.json"))) return;
  throw new MagnetError("NETWORK_DIFFERS", `this data folder belongs to the network ${kept.id}`, {
    hint: `${named} describes another one: join it with its own --data-dir`,
    exit: "config",
  });
}

/**
 * The network file that a command reads: the one named (empty: none), else that of the data folder;
 * undefined where it has joined none.
 */
export function joinedNetworkFile(data_dir: string, file: string): string | undefined {
  if (file !== "") return file;
  const kept = path.join(data_dir, "network.json");
  return fs.existsSync(kept) ? kept : undefined;
}

/**
 * `file` is empty where none was named; `name` is that of a new network. Throws
 * NETWORK_FILE_INVALID, NOT_FOUND, and NETWORK_DIFFERS where the folder has voted in another
 * network.
 */
export function joinedNetwork(options: {
  data_dir: string;
  file: string;
  name: string;
  public_key: PublicKey;
}): JoinedNetwork {
  const { data_dir, file, name, public_key } = options;
  const kept = path.join(data_dir, "network.json");
  const before = fs.existsSync(kept) ? readNetworkFile(kept) : undefined;
  const keep = (network: NetworkFile) =>
    replaceFileSync(kept, `${JSON.stringify(network, null, 2)}\n`);
  if (file !== "") {
    const network = readNetworkFile(file);
    if (before && networkConfigHash(before) !== networkConfigHash(network))
      refuseOtherNetwork(data_dir, before, file);
    if (path.resolve(file) !== path.resolve(kept)) keep(network);
    return { network, file };
  }
  if (before) return { network: before, file: kept };
  const alone = networkFileSchema.parse({
    schema: "magnet.network/1",
    id: name,
    roster: [public_key],
  });
  keep(alone);
  return { network: alone, file: kept };
}
