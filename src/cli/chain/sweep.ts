/** `magnet chain sweep`: splits the income that lies in a server's till. Anyone may call it. */
import { formatMag } from "../../chain/amounts.ts";
import { MagnetError } from "../../core/errors.ts";
import { defineCommand } from "../frame/command.ts";
import { CHAIN_FLAGS } from "./options.ts";
import { parseAccount, withSending } from "./session.ts";

export const sweep = defineCommand({
  summary: "Splits the income of a paid server: its share, the treasury's, and what is burned",
  details: "A server that runs does it by itself (magnet serve --paid --sweep-every).",
  examples: [{ command: "magnet chain sweep", does: "this machine's own till" }],
  args: { server: { value: "KEY|ADDRESS", summary: "whose till; this node's", optional: true } },
  flags: CHAIN_FLAGS,
  async run(context, { args, flags }) {
    return await withSending(context, flags, async (sending, { ledger }) => {
      const server = args.server === undefined ? sending.address : parseAccount(args.server);
      const till = await ledger.read("revenue", "tillOf", [server]);
      if ((await ledger.read("magToken", "balanceOf", [till])) === 0n)
        throw new MagnetError("NOTHING_TO_SWEEP", `the till of ${server} is empty`, {
          hint: "customers pay into it: magnet serve --paid",
          exit: "chain",
        });
      const entry = await sending.send(ledger.call("revenue", "sweep", [server]));
      const block = BigInt(entry.block_number!);
      const swept = await ledger.events("revenue", "IncomeSwept", { from: block, to: block });
      const own = swept.find((event) => event.transactionHash === entry.tx_hash)!;
      const { provider, treasury, burned } = own.args;
      const data = { server, till: till.toLowerCase(), provider, treasury, burned };
      context.out.result("chain_sweep", { ...data, transactions: sending.sent }, () =>
        [
          `server    ${formatMag(provider)} MAG to ${server}`,
          `treasury  ${formatMag(treasury)} MAG`,
          `burned    ${formatMag(burned)} MAG`,
        ].join("\n"),
      );
      return undefined;
    });
  },
});
