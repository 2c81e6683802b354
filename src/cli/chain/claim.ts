/** `magnet chain claim`: pays out what an account has earned, by a record that this node keeps. */
import fs from "node:fs";
import path from "node:path";
import { formatMag } from "../../chain/amounts.ts";
import type { Ledger } from "../../chain/client/ledger.ts";
import {
  claimOf,
  parseRecord,
  RECORD_BYTES_MAX,
  type SealedRecord,
} from "../../chain/ledger/epoch-record.ts";
import { sha256Hex } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import { readSmallFile } from "../../core/read-file.ts";
import { defineCommand } from "../frame/command.ts";
import { CHAIN_FLAGS } from "./options.ts";
import { parseAccount, withSending } from "./session.ts";

/** Where a node keeps what has this SHA-256. */
const blobFile = (data_dir: string, hash: string) =>
  path.join(data_dir, "store", "blobs", hash.slice(0, 2), hash);

/** The record of the newest final epoch: named, or kept by this node. Throws NO_RECORD, RECORD_DIFFERS. */
async function finalRecord(
  ledger: Ledger,
  data_dir: string,
  named: string | undefined,
): Promise<SealedRecord> {
  const [root, epoch] = await ledger.read("epochs", "finalRoot", []);
  if (BigInt(root) === 0n)
    throw new MagnetError("NOTHING_FINAL", "no epoch is final yet", {
      hint: "magnet chain epoch shows when the newest settlement is",
      exit: "chain",
    });
  const from = BigInt(ledger.deployment.block);
  // An epoch without contributions keeps the root: the record is that of the epoch that made it.
  const settled = await ledger.events("epochs", "Settled", { from });
  const event = settled.find(({ args }) => args.root === root);
  if (event === undefined)
    throw new MagnetError("LOGS_MISSING", `${ledger.rpc.name} has no log of the settlement`, {
      hint: "the RPC must keep the logs since the ledger was deployed; name another with --rpc",
      exit: "chain",
    });
  const { dataHash } = event.args;
  const file = named ?? blobFile(data_dir, dataHash.slice(2));
  if (named === undefined && !fs.existsSync(file))
    throw new MagnetError("NO_RECORD", `this node has no record of epoch ${epoch}`, {
      hint: "run magnet join until it has, or give the record with --record FILE",
      exit: "chain",
    });
  const bytes = readSmallFile(file, RECORD_BYTES_MAX);
  const record = parseRecord(bytes);
  if (record !== undefined && record.outcome.root === root) return record;
  const what = record === undefined ? "is no epoch record" : `is of epoch ${record.record.epoch}`;
  throw new MagnetError(
    "RECORD_DIFFERS",
    `${file} ${what} (SHA-256 ${sha256Hex(bytes)}); the newest final epoch is ${epoch}`,
    {
      hint: `the record that is asked for has the SHA-256 ${dataHash.slice(2)}`,
      exit: "verification",
    },
  );
}

export const claim = defineCommand({
  summary: "Claims what this node, or another account, has earned and not been paid",
  details:
    "A node that runs claims by itself. Anyone may claim for an account: it is paid to that account.",
  examples: [
    { command: "magnet chain claim", does: "for this machine's key" },
    { command: "magnet chain claim --account 0xab... --record epoch.json", does: "for another" },
  ],
  args: {},
  flags: {
    ...CHAIN_FLAGS,
    account: {
      type: "string",
      value: "KEY|ADDRESS",
      summary: "who is paid; this key unless given",
    },
    record: { type: "string", value: "FILE", summary: "record of the newest final epoch" },
  },
  async run(context, { flags }) {
    return await withSending(context, flags, async (sending, { ledger, values }) => {
      const account = flags.account === undefined ? sending.address : parseAccount(flags.account);
      const record = await finalRecord(ledger, values.node.data_dir, flags.record);
      const claimed = await ledger.read("epochs", "claimed", [account]);
      const due = claimOf(record, account);
      const cumulative = due?.cumulative ?? 0n;
      const { epoch } = record.record;
      if (due !== null && cumulative > claimed)
        await sending.send(ledger.call("epochs", "claim", [account, cumulative, due.proof]));
      const paid = cumulative > claimed ? cumulative - claimed : 0n;
      const balance = await ledger.read("magToken", "balanceOf", [account]);
      const data = { account, epoch, paid, cumulative, balance, transactions: sending.sent };
      const what = paid > 0n ? `paid ${formatMag(paid)} MAG` : "nothing is due";
      const text = `${what} to ${account}: ${formatMag(cumulative)} MAG earned up to epoch ${epoch}`;
      context.out.result("chain_claim", data, text);
      return undefined;
    });
  },
});
