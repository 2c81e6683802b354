/** Where the network's ledger lies, by the configuration: its network file and this machine's RPC. */
import { joinedNetworkFile } from "../agent/joined-network.ts";
import { readNetworkFile } from "../agent/network-file.ts";
import type { Deployment } from "../chain/client/deployment.ts";
import type { ConfigValues } from "../core/config-schema.ts";
import { MagnetError } from "../core/errors.ts";

export interface LedgerPlace {
  ledger: Deployment;
  rpc_url: string | undefined;
}

/** Throws NO_NETWORK_FILE, NETWORK_FILE_INVALID, NO_LEDGER. */
export function ledgerPlace({ network, chain, node }: ConfigValues): LedgerPlace {
  const file = joinedNetworkFile(node.data_dir, network.file);
  if (file === undefined)
    throw new MagnetError("NO_NETWORK_FILE", "the network's ledger is not known", {
      hint: "give --network FILE, or set network.file",
      exit: "config",
    });
  const { ledger } = readNetworkFile(file);
  if (ledger === undefined)
    throw new MagnetError("NO_LEDGER", `${file} names no ledger`, {
      hint: "magnet chain deploy makes one and writes it there",
      exit: "config",
    });
  return { ledger, rpc_url: chain.rpc || undefined };
}
