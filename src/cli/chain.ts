/** `magnet chain`: the ledger's chain. Each command is a module of src/cli/chain, loaded when it runs. */
import { type Group, lazy } from "./frame/command.ts";

export const chain: Group = {
  kind: "group",
  meta: { description: "the ledger's chain: host, verify" },
  subCommands: {
    host: lazy(
      "run the embedded chain for development or a private cluster",
      async () => (await import("./chain/host.ts")).host,
    ),
    verify: lazy(
      "re-execute the embedded chain's log and compare every root",
      async () => (await import("./chain/verify.ts")).verify,
    ),
  },
};
