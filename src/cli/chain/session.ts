/**
 * What the commands of the ledger share: the network's deployment, the RPC, the wallet, and sending
 * through the same queue that the node uses.
 */
import path from "node:path";
import type { Address } from "viem";
import { joinedNetworkFile } from "../../agent/joined-network.ts";
import { keyStorageOf } from "../../agent/key-place.ts";
import { readNetworkFile } from "../../agent/network-file.ts";
import { addressOf } from "../../chain/client/account.ts";
import { type Deployment, queueFile } from "../../chain/client/deployment.ts";
import { type Call, type Ledger, openLedger } from "../../chain/client/ledger.ts";
import type { Entry, Reason } from "../../chain/client/queue-types.ts";
import { TransactionQueue } from "../../chain/client/transaction-queue.ts";
import { toHex } from "../../core/bytes.ts";
import { systemClock } from "../../core/clock.ts";
import type { ConfigValues } from "../../core/config-schema.ts";
import { MagnetError } from "../../core/errors.ts";
import { systemRandom } from "../../core/random.ts";
import type { PublicKey } from "../../core/types.ts";
import type { Identity } from "../../network/identity.ts";
import { loadIdentity } from "../../network/key-storage.ts";
import type { Context } from "../frame/command.ts";
import type { ChainFlags } from "./options.ts";

/** A transaction of a command that was interrupted takes effect no later than this. */
const DEADLINE_S = 600;

export interface Session {
  context: Context;
  values: ConfigValues;
  ledger: Ledger;
  deployment: Deployment;
}

/** The RPC's address in force. Throws NO_RPC. */
export function rpcUrl(values: ConfigValues): string {
  if (values.chain.rpc !== "") return values.chain.rpc;
  throw new MagnetError("NO_RPC", "no RPC of a chain is named", {
    hint: "give --rpc URL, or keep it: magnet config set chain.rpc URL",
    exit: "config",
  });
}

/** The ledger of the network in force. Throws NO_LEDGER, NO_RPC, WRONG_CHAIN, RPC_DOWN, NOT_DEPLOYED. */
export async function openSession(context: Context, flags: ChainFlags): Promise<Session> {
  const config = await context.config({ "chain.rpc": flags.rpc, "network.file": flags.network });
  const { values } = config;
  const file = joinedNetworkFile(values.node.data_dir, values.network.file);
  const deployment = file === undefined ? undefined : readNetworkFile(file).ledger;
  if (deployment === undefined)
    throw new MagnetError("NO_LEDGER", `${file ?? "this data folder"} names no ledger`, {
      hint: "give --network FILE; magnet chain deploy --network FILE writes a ledger into it",
      exit: "config",
    });
  const { signal } = context;
  const ledger = openLedger({ rpc_url: rpcUrl(values), deployment, clock: systemClock, signal });
  await ledger.check();
  return { context, values, ledger, deployment };
}

/** The wallet of the data folder. Throws NO_KEY and what opening it throws. */
export const walletOf = (values: ConfigValues): Identity =>
  loadIdentity(keyStorageOf(values, process.env));

/** An address, or a public key that has one. Throws BAD_ADDRESS. */
export function parseAccount(text: string): Address {
  if (/^0x[0-9a-fA-F]{40}$/.test(text)) return text.toLowerCase() as Address;
  if (/^0[23][0-9a-f]{64}$/.test(text))
    return addressOf(text as PublicKey).toLowerCase() as Address;
  throw new MagnetError("BAD_ADDRESS", `"${text}" is neither an address nor a public key`, {
    hint: "0x and 40 digits, or the 66 digits that magnet keys show prints",
    exit: "usage",
  });
}

/** A transaction as the commands report it. */
export interface SentTransaction {
  what: string;
  tx_hash: string | null;
  block: number | null;
  gas_used: number | null;
}

/** One wallet's way to the chain; `close` it. */
export class Sending {
  readonly address: Address;
  readonly identity: Identity;
  readonly sent: SentTransaction[] = [];
  private readonly session: Session;
  private readonly queue: TransactionQueue;

  constructor(session: Session) {
    const { values, ledger, deployment } = session;
    this.session = session;
    this.identity = walletOf(values);
    this.queue = new TransactionQueue({
      rpc: ledger.rpc,
      chain_id: deployment.chain_id,
      signer: this.identity,
      file: queueFile(path.resolve(values.node.data_dir), deployment),
      clock: systemClock,
    });
    this.address = this.queue.address.toLowerCase() as Address;
  }

  /** Lets `spender` take `amount`, unless it may already. */
  async approve(spender: Address, amount: bigint): Promise<void> {
    const { ledger } = this.session;
    const allowed = await ledger.read("magToken", "allowance", [this.address, spender]);
    if (allowed < amount) await this.send(ledger.call("magToken", "approve", [spender, amount]));
  }

  /**
   * Sends and waits until it is in a block. The same call that is on its way already, from a
   * command that was interrupted, is waited for and not sent twice. Throws the decoded revert.
   */
  async send(call: Call): Promise<Entry> {
    const { context, ledger } = this.session;
    const same = this.queue.live().find((entry) => {
      const on_its_way = entry.state === "queued" || entry.state === "sent";
      return on_its_way && entry.to === call.to && entry.data === call.data;
    });
    if (same !== undefined) context.out.note(`${call.what}: waiting for the one on its way`);
    const key = same?.key ?? `command:${call.what}:${toHex(systemRandom.bytes(8))}`;
    if (same === undefined) {
      await ledger.simulate(call, this.address);
      const deadline_s = (await ledger.time()) + DEADLINE_S;
      this.queue.submit({ key, ...call, deadline_s });
    }
    const entry = await this.finished(key);
    this.sent.push({
      what: entry.what,
      tx_hash: entry.tx_hash,
      block: entry.block_number,
      gas_used: entry.gas_used,
    });
    return entry;
  }

  private async finished(key: string): Promise<Entry> {
    const { signal, out } = this.session.context;
    let shown = "";
    const onBlocked = (reason: Reason | null) => {
      // A person waits for this command: what does not pass by itself is said at once.
      if (reason?.code === "INSUFFICIENT_FUNDS" || reason?.code === "WRONG_CHAIN") {
        if (this.queue.cancel(key)) throw errorOf(reason);
      }
      const text = reason?.message ?? "";
      if (text !== "" && text !== shown) out.note(`waiting: ${text}`);
      shown = text;
    };
    const entry = await this.queue.wait(key, { signal, onBlocked, poll_ms: 250 });
    if (entry.state !== "mined") throw errorOf(entry.reason);
    return entry;
  }

  async close(): Promise<void> {
    await this.queue.close();
  }
}

const errorOf = (reason: Reason | null): MagnetError =>
  new MagnetError(reason?.code ?? "NOT_SENT", reason?.message ?? "the transaction was given up", {
    ...(reason?.hint !== undefined && { hint: reason.hint }),
    exit: "chain",
  });

/** Opens ledger and wallet, runs `body`, closes. */
export async function withSending<T>(
  context: Context,
  flags: ChainFlags,
  body: (sending: Sending, session: Session) => Promise<T>,
): Promise<T> {
  const session = await openSession(context, flags);
  const sending = new Sending(session);
  try {
    return await body(sending, session);
  } finally {
    await sending.close();
  }
}

/** The newest `limit` of numbered things, which count from 1; of these, those in `state` if given. */
export async function newest<T extends { state: string }>(
  count: bigint,
  { limit, state }: { limit: number; state: string | undefined },
  read: (id: bigint) => Promise<T>,
): Promise<T[]> {
  const seen: T[] = [];
  for (let id = count; id > 0n && count - id < BigInt(limit); id--) seen.push(await read(id));
  return seen.filter((one) => state === undefined || one.state === state);
}
