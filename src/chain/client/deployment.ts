/**
 * Where a network's ledger lies: the chain, the addresses of its contracts, its clock. Kept as
 * `ledger` in the network file and part of that file's hash, since nodes with different ledgers are
 * different networks. The address of the RPC is each machine's own and not in here.
 */
import path from "node:path";
import { z } from "zod";
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";

const address = z
  .string()
  .regex(/^0x[0-9a-fA-F]{40}$/, "an address: 0x and 40 hexadecimal digits")
  .transform((text) => text.toLowerCase() as `0x${string}`);

/** Names in the file, by the names of build/contracts.ts. */
export const CONTRACT_FIELDS = {
  magToken: "mag_token",
  voteMag: "vote_mag",
  governor: "governor",
  timelock: "timelock",
  params: "params",
  nodes: "nodes",
  epochs: "epochs",
  disputes: "disputes",
  dataRegistry: "data_registry",
  revenue: "revenue",
} as const;
export type ContractName = keyof typeof CONTRACT_FIELDS;

export const deploymentSchema = z.strictObject({
  chain_id: z.int().min(1),
  contracts: z.strictObject({
    mag_token: address,
    vote_mag: address,
    governor: address,
    timelock: address,
    params: address,
    nodes: address,
    epochs: address,
    disputes: address,
    data_registry: address,
    revenue: address,
  }),
  /** Number of the block with the first contract: no event of the ledger is older. */
  block: z.int().min(0),
  epoch_seconds: z.int().min(1),
  /** Start of epoch 0, unix seconds. */
  genesis: z.int().min(0),
});
export type Deployment = z.output<typeof deploymentSchema>;

/** Address of a contract of the deployment. */
export const contractAddress = (deployment: Deployment, name: ContractName): `0x${string}` =>
  deployment.contracts[CONTRACT_FIELDS[name]];

/**
 * The file of transactions of this ledger in a data folder. The node and the commands beside it use
 * the same one, so that they never give out a nonce twice; another ledger, say after a chain for
 * development was started anew under the same id, has another.
 */
export function queueFile(data_dir: string, deployment: Deployment): string {
  const id = sha256Hex(canonicalJson(deployment)).slice(0, 12);
  return path.join(data_dir, "ledger", `transactions-${id}.sqlite`);
}
