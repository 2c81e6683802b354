/** `magnet chain`: the ledger's chain. Each command is a module of src/cli/chain, loaded when it runs. */
import { type Group, lazy } from "./frame/command.ts";

export const chain: Group = {
  kind: "group",
  meta: { description: "the ledger and its chain: status, deploy, host, stake, disputes, claims" },
  subCommands: {
    bond: lazy("add to this node's bond", async () => (await import("./chain/stake.ts")).bond),
    claim: lazy(
      "claim what has been earned and not been paid",
      async () => (await import("./chain/claim.ts")).claim,
    ),
    data: lazy(
      "data sets on the ledger: register, confirm, list, measure",
      async () => (await import("./chain/data.ts")).data,
    ),
    deploy: lazy(
      "put the ledger on a chain and into the network file",
      async () => (await import("./chain/deploy.ts")).deploy,
    ),
    dispute: lazy(
      "disputes before the notaries: list, show, open, vote, advance",
      async () => (await import("./chain/dispute.ts")).dispute,
    ),
    host: lazy(
      "run the embedded chain for development or a private cluster",
      async () => (await import("./chain/host.ts")).host,
    ),
    jobs: lazy(
      "research jobs in escrow: create, take, submit, accept, contest, settle, list",
      async () => (await import("./chain/jobs.ts")).jobs,
    ),
    params: lazy(
      "governed values of the ledger: show, check",
      async () => (await import("./chain/params.ts")).params,
    ),
    register: lazy(
      "register this machine's key as a node and bond it",
      async () => (await import("./chain/stake.ts")).register,
    ),
    seat: lazy("a notary's seat: take, leave", async () => (await import("./chain/stake.ts")).seat),
    simulate: lazy(
      "let strategies compete on the real contracts: does honesty pay best?",
      async () => (await import("./chain/simulate.ts")).simulate,
    ),
    sweep: lazy(
      "split the income of a paid server",
      async () => (await import("./chain/sweep.ts")).sweep,
    ),
    unbond: lazy(
      "take from this node's bond",
      async () => (await import("./chain/stake.ts")).unbond,
    ),
    status: lazy(
      "this node's part in the ledger, with reasons",
      async () => (await import("./chain/status.ts")).status,
    ),
    epoch: lazy(
      "one epoch: its record, rewards, root and signatures",
      async () => (await import("./chain/status.ts")).epoch,
    ),
    verify: lazy(
      "re-execute the embedded chain's log and compare every root",
      async () => (await import("./chain/verify.ts")).verify,
    ),
    withdraw: lazy(
      "pay out what has finished unbonding",
      async () => (await import("./chain/stake.ts")).withdraw,
    ),
  },
};
