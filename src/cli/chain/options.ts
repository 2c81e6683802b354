/** Flags that the commands of the ledger share. */

export const CHAIN_FLAGS = {
  rpc: { type: "string", value: "URL", summary: "RPC of the chain (setting chain.rpc)" },
  network: {
    type: "string",
    value: "FILE",
    summary: "network file that names the ledger; the joined network's unless given",
  },
} as const;
export interface ChainFlags {
  rpc: string | undefined;
  network: string | undefined;
}
