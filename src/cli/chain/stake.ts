/** `magnet chain register|bond|unbond|withdraw`, `magnet chain seat`: a node's stake in the ledger. */
import { chooseTier } from "../../agent/tier.ts";
import { formatMag, parseMag } from "../../chain/amounts.ts";
import { formatChainTime } from "../../chain/chain-time.ts";
import { publicKeyPoint } from "../../chain/client/account.ts";
import { MagnetError } from "../../core/errors.ts";
import { TIER_ALIASES, TIERS } from "../../core/tiers.ts";
import { parseDevice } from "../../native/device.ts";
import { type Context, defineCommand, defineGroup } from "../frame/command.ts";
import { CHAIN_FLAGS, type ChainFlags } from "./options.ts";
import { type Sending, type Session, withSending } from "./session.ts";

const AMOUNT = { value: "MAG", summary: "amount, for example 12.5" } as const;

/** What the node's stake is now, for the result. */
async function stakeOf({ ledger }: Session, { address, identity }: Sending) {
  const node = await ledger.read("nodes", "nodeOf", [address]);
  return {
    ...{ node_id: identity.node_id, address },
    ...{ registered: node.registered, tier: TIERS[node.tier] ?? null, banned: node.banned },
    ...{ active: await ledger.read("nodes", "isActive", [address]) },
    ...{ bond: node.bond, unbonding: node.unbonding },
    release_time: Number(node.releaseTime),
    notary_bond: node.notaryBond,
    balance: await ledger.read("magToken", "balanceOf", [address]),
  };
}

async function report(name: string, session: Session, sending: Sending): Promise<undefined> {
  const stake = await stakeOf(session, sending);
  const mag = (amount: bigint) => `${formatMag(amount)} MAG`;
  const release = `${formatChainTime(stake.release_time)}Z`;
  const lines = [
    `${stake.node_id}  ${stake.address}`,
    `tier      ${stake.tier ?? "none"}${stake.active ? "" : " (not active)"}`,
    `bond      ${mag(stake.bond)}`,
    ...(stake.unbonding > 0n ? [`leaving   ${mag(stake.unbonding)}, free at ${release}`] : []),
    ...(stake.notary_bond > 0n ? [`seat      ${mag(stake.notary_bond)}`] : []),
    `balance   ${mag(stake.balance)}`,
  ];
  const data = { ...stake, transactions: sending.sent };
  session.context.out.result(name, data, () => lines.join("\n"));
  return undefined;
}

/** Sends by `body` and reports the stake that results. */
const changing = (
  context: Context,
  flags: ChainFlags,
  name: string,
  body: (sending: Sending, session: Session) => Promise<void>,
): Promise<undefined> =>
  withSending(context, flags, async (sending, session) => {
    await body(sending, session);
    return await report(name, session, sending);
  });

export const register = defineCommand({
  summary: "Registers this machine's key as a node of the ledger and bonds it",
  details:
    "The bond is staked: it leaves only after the unbonding time, and is slashed for what the ledger\npunishes. Without --bond it is the least of the tier.",
  examples: [
    { command: "magnet chain register", does: "as the tier this machine is good for" },
    { command: "magnet chain register --tier storage --bond 50", does: "with a larger bond" },
  ],
  args: {},
  flags: {
    ...CHAIN_FLAGS,
    tier: {
      type: "choice",
      options: ["auto", ...Object.keys(TIER_ALIASES)],
      default: "auto",
      summary: "what this machine contributes; audits check it",
    },
    bond: { type: "string", value: "MAG", summary: "stake; the tier's least unless given" },
  },
  async run(context, { flags }) {
    const { values } = await context.config();
    const wanted = flags.tier === "auto" ? "auto" : TIER_ALIASES[flags.tier]!;
    const { tier } = await chooseTier(wanted, parseDevice(values.node.device));
    return await changing(context, flags, "chain_register", async (sending, { ledger }) => {
      const index = TIERS.indexOf(tier);
      const { registered } = await ledger.read("nodes", "nodeOf", [sending.address]);
      if (registered)
        throw new MagnetError("ALREADY_REGISTERED", `${sending.address} is a node already`, {
          hint: "magnet chain bond AMOUNT adds to its bond",
          exit: "chain",
        });
      const { tierBonds } = await ledger.read("params", "current", []);
      const bond = flags.bond === undefined ? tierBonds[index]! : parseMag(flags.bond);
      await mustHold(ledger, sending, bond);
      const { x, y } = publicKeyPoint(sending.identity.public_key);
      await sending.approve(ledger.address("nodes"), bond);
      await sending.send(ledger.call("nodes", "register", [x, y, index, bond]));
    });
  },
});

/** Says it before an approval is paid for. */
async function mustHold(ledger: Session["ledger"], { address }: Sending, amount: bigint) {
  const balance = await ledger.read("magToken", "balanceOf", [address]);
  if (balance >= amount) return;
  throw new MagnetError(
    "INSUFFICIENT_MAG",
    `${address} holds ${formatMag(balance)} MAG, ${formatMag(amount)} are needed`,
    { hint: "ask who deployed the ledger for a grant, or bond less", exit: "chain" },
  );
}

export const bond = defineCommand({
  summary: "Adds to this node's bond",
  examples: [{ command: "magnet chain bond 50", does: "50 MAG more at stake" }],
  args: { amount: AMOUNT },
  flags: CHAIN_FLAGS,
  async run(context, { args, flags }) {
    const amount = parseMag(args.amount);
    return await changing(context, flags, "chain_bond", async (sending, { ledger }) => {
      await mustHold(ledger, sending, amount);
      await sending.approve(ledger.address("nodes"), amount);
      await sending.send(ledger.call("nodes", "addBond", [amount]));
    });
  },
});

export const unbond = defineCommand({
  summary: "Takes from this node's bond; it is free after the unbonding time",
  details: "Until then it can still be slashed. A node below its tier's least bond earns nothing.",
  examples: [{ command: "magnet chain unbond 50", does: "then: magnet chain withdraw" }],
  args: { amount: AMOUNT },
  flags: CHAIN_FLAGS,
  async run(context, { args, flags }) {
    const amount = parseMag(args.amount);
    return await changing(context, flags, "chain_unbond", async (sending, { ledger }) => {
      await sending.send(ledger.call("nodes", "unbond", [amount]));
    });
  },
});

export const withdraw = defineCommand({
  summary: "Pays out what has finished unbonding",
  examples: [{ command: "magnet chain withdraw", does: "after magnet chain unbond" }],
  args: {},
  flags: CHAIN_FLAGS,
  async run(context, { flags }) {
    return await changing(context, flags, "chain_withdraw", async (sending, { ledger }) => {
      await sending.send(ledger.call("nodes", "withdraw", []));
    });
  },
});

const take = defineCommand({
  summary: "Takes a notary's seat, or adds to its bond",
  details:
    "Notaries sign settlements and judge disputes. Of the 31 seats the least bonded one is displaced\nwhere all are taken. The bond is slashed for signing a root that is judged bad.",
  examples: [{ command: "magnet chain seat take", does: "with the least notary bond" }],
  args: {},
  flags: {
    ...CHAIN_FLAGS,
    bond: { type: "string", value: "MAG", summary: "notary bond; the least unless given" },
  },
  async run(context, { flags }) {
    return await changing(context, flags, "chain_seat", async (sending, { ledger }) => {
      const { notaryBond } = await ledger.read("params", "current", []);
      const amount = flags.bond === undefined ? notaryBond : parseMag(flags.bond);
      await mustHold(ledger, sending, amount);
      await sending.approve(ledger.address("nodes"), amount);
      await sending.send(ledger.call("nodes", "takeSeat", [amount]));
    });
  },
});

const leave = defineCommand({
  summary: "Leaves the notary's seat; its bond goes through the unbonding time",
  examples: [{ command: "magnet chain seat leave", does: "then: magnet chain withdraw" }],
  args: {},
  flags: CHAIN_FLAGS,
  async run(context, { flags }) {
    return await changing(context, flags, "chain_seat", async (sending, { ledger }) => {
      await sending.send(ledger.call("nodes", "leaveSeat", []));
    });
  },
});

export const seat = defineGroup("a notary's seat: take, leave", { take, leave });
