/** `magnet chain deploy`: puts the ledger on a chain and its addresses into the network file. */
import fs from "node:fs";
import path from "node:path";
import type { Address } from "viem";
import { replaceFileSync } from "../../agent/durable-state.ts";
import { type NetworkFile, networkConfigHash, readNetworkFile } from "../../agent/network-file.ts";
import { formatMag, parseMag } from "../../chain/amounts.ts";
import { addressOf } from "../../chain/client/account.ts";
import { type Deployed, deployLedger } from "../../chain/client/deploy-ledger.ts";
import type { Grant } from "../../chain/client/deploy-plan.ts";
import { onChain } from "../../chain/client/errors.ts";
import { openRpc, type Rpc } from "../../chain/client/rpc.ts";
import {
  DEFAULT_EPOCH_SECONDS,
  DEFAULT_GOVERNANCE,
  defaultValues,
  readSettings,
} from "../../chain/default-values.ts";
import { systemClock } from "../../core/clock.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import { type Context, defineCommand, type FlagValues } from "../frame/command.ts";
import { usageError } from "../frame/strict.ts";
import { parseAccount, rpcUrl, walletOf } from "./session.ts";

const FLAGS = {
  rpc: { type: "string", value: "URL", summary: "RPC of the chain (setting chain.rpc)" },
  network: {
    type: "string",
    value: "FILE",
    required: true,
    summary: "network file: its members are funded, the ledger is written into it",
  },
  out: { type: "string", value: "FILE", summary: "write the network file here instead" },
  "epoch-seconds": {
    type: "integer",
    min: 2,
    max: 604_800,
    default: DEFAULT_EPOCH_SECONDS,
    summary: "length of an epoch; fixed for good, the windows' defaults follow it",
  },
  genesis: { type: "integer", min: 0, summary: "start of epoch 0, unix seconds; now unless given" },
  values: {
    type: "string",
    value: "FILE",
    summary: "JSON of governed values that differ (magnet chain params show --defaults --json)",
  },
  supply: { type: "string", value: "MAG", default: "1000000", summary: "minted at the start" },
  grant: { type: "string", value: "MAG", default: "1000", summary: "for each member" },
  coin: {
    type: "string",
    value: "AMOUNT",
    default: "0",
    summary: "of the chain's own coin for each member, for its fees",
  },
  fund: { type: "list", value: "KEY|ADDRESS=MAG", summary: "a grant for somebody besides" },
  "block-randomness": {
    type: "choice",
    options: ["auto", "on", "off"],
    default: "auto",
    summary: "whether draws use the chain's randomness; auto: not on the embedded chain",
  },
  anew: { type: "boolean", summary: "forget a deployment that was interrupted" },
} as const;
type DeployFlags = FlagValues<typeof FLAGS>;

/** Better before ten contracts are paid for than after. Throws NOT_FOUND, NO_PERMISSION and such. */
function requireWritable(file: string): void {
  try {
    fs.accessSync(path.dirname(path.resolve(file)), fs.constants.W_OK);
  } catch (error) {
    throw toMagnetError(error);
  }
}

function networkWithoutLedger(flags: DeployFlags): NetworkFile {
  const network = readNetworkFile(flags.network);
  requireWritable(flags.out ?? flags.network);
  const out = flags.out;
  if (out !== undefined && fs.existsSync(out))
    throw new MagnetError("FILE_EXISTS", `${out} exists already`, { hint: "choose another name" });
  if (network.ledger === undefined || out !== undefined) return network;
  throw new MagnetError("LEDGER_EXISTS", `${flags.network} names a ledger already`, {
    hint: "another ledger is another network: write it to a new file with --out FILE",
    exit: "config",
  });
}

/** Members in the network file's order, then whoever was named; one grant each. */
function grantsOf(network: NetworkFile, flags: DeployFlags): Grant[] {
  const coin = parseMag(flags.coin);
  const grants = new Map<Address, Grant>();
  const add = (to: Address, mag: bigint, own: bigint) => {
    const before = grants.get(to);
    grants.set(to, { to, mag: (before?.mag ?? 0n) + mag, coin: (before?.coin ?? 0n) + own });
  };
  for (const member of network.roster)
    add(addressOf(member).toLowerCase() as Address, parseMag(flags.grant), coin);
  for (const entry of flags.fund) {
    const at = entry.lastIndexOf("=");
    if (at < 0) throw usageError("BAD_VALUE", `--fund cannot be "${entry}"`, "KEY=100");
    add(parseAccount(entry.slice(0, at)), parseMag(entry.slice(at + 1)), 0n);
  }
  return [...grants.values()];
}

/** The host of the embedded chain chooses its block hashes: nothing may be drawn by them. */
async function blockRandomness(rpc: Rpc, choice: string): Promise<boolean> {
  if (choice !== "auto") return choice === "on";
  const version = await onChain("client version", () => rpc.request<string>("web3_clientVersion"));
  return !version.startsWith("magnet/");
}

/** Members without coin cannot send anything: better said now than in their first epoch. */
async function remindOfCoin({ out }: Context, rpc: Rpc, coin: string): Promise<void> {
  const price = await onChain("gas price", () => rpc.request<string>("eth_gasPrice"));
  if (BigInt(price) > 0n && parseMag(coin) === 0n)
    out.warn("this chain takes fees: members need some of its coin (--coin, or from elsewhere)");
}

async function deployTo(context: Context, network: NetworkFile, flags: DeployFlags) {
  const { values: config } = await context.config({ "chain.rpc": flags.rpc });
  const { signal, out } = context;
  const rpc = openRpc({ url: rpcUrl(config), clock: systemClock, signal });
  const base = { values: defaultValues(flags.epoch_seconds), governance: DEFAULT_GOVERNANCE };
  const settings = flags.values === undefined ? base : readSettings(flags.values, base);
  const block_randomness = await blockRandomness(rpc, flags.block_randomness);
  await remindOfCoin(context, rpc, flags.coin);
  let shown = "";
  return await deployLedger({
    ...settings,
    ...{ rpc, signal, block_randomness, epoch_seconds: flags.epoch_seconds, anew: flags.anew },
    ...(flags.genesis !== undefined && { genesis: flags.genesis }),
    signer: walletOf(config),
    clock: systemClock,
    folder: path.join(config.node.data_dir, "ledger"),
    genesis_supply: parseMag(flags.supply),
    grants: grantsOf(network, flags),
    poll_ms: 250,
    onProgress: (done, total, what) => out.note(`${done}/${total} ${what}`),
    onBlocked(reason) {
      if (reason?.code === "INSUFFICIENT_FUNDS")
        throw new MagnetError(reason.code, reason.message, {
          hint: `${reason.hint}; then run the same command again`,
          exit: "chain",
        });
      if (reason !== null && reason.message !== shown) out.note(`waiting: ${reason.message}`);
      shown = reason?.message ?? "";
    },
  });
}

function resultText(file: string, config_hash: string, { deployment }: Deployed): string {
  return [
    ...Object.entries(deployment.contracts).map(([name, at]) => `${name.padEnd(14)}${at}`),
    `chain         ${deployment.chain_id}, block ${deployment.block}`,
    `epochs        ${deployment.epoch_seconds} s from ${deployment.genesis}`,
    `configuration ${config_hash}`,
    `written to ${file}: give it to every member`,
  ].join("\n");
}

export const deploy = defineCommand({
  summary: "Puts the ledger on a chain and its addresses into the network file",
  details:
    "The wallet of the data folder pays and has no rights afterwards: values change by vote and timelock\nonly. Interrupted anywhere, the same command goes on at the same addresses. The code, the wiring and\nthe roles are read back before the network file is written. What grants leave goes to the treasury.",
  examples: [
    {
      command: "magnet chain deploy --network net.json --rpc http://127.0.0.1:8545",
      does: "epochs of ten minutes, 1000 MAG for each member",
    },
    {
      command: "magnet chain deploy --network net.json --epoch-seconds 20 --coin 1",
      does: "short epochs, and coin for the members' fees",
    },
  ],
  args: {},
  flags: FLAGS,
  async run(context, { flags }) {
    const network = networkWithoutLedger(flags);
    const file = flags.out ?? flags.network;
    const deployed = await deployTo(context, network, flags);
    const written = { ...network, ledger: deployed.deployment };
    replaceFileSync(file, `${JSON.stringify(written, null, 2)}\n`);
    const config_hash = networkConfigHash(written);
    const { deployment, transactions, gas_used, resumed } = deployed;
    const data = { file, config_hash, ...deployment, transactions, gas_used, resumed };
    context.out.result("chain_deploy", data, () => resultText(file, config_hash, deployed));
    const members = network.roster.length;
    context.out.note(`${members} members got ${formatMag(parseMag(flags.grant))} MAG each`);
    return undefined;
  },
});
