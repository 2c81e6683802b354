/** `magnet chain verify`: whether the embedded chain is what its log makes it. */
import fs from "node:fs";
import path from "node:path";
import { EmbeddedChain } from "../../chain/embedded/chain.ts";
import { type VerifyReport, verifyChain } from "../../chain/embedded/verify.ts";
import { MagnetError } from "../../core/errors.ts";
import { defineCommand } from "../frame/command.ts";
import { chainFolder } from "./folder.ts";

function verifyText({ blocks, transactions, gas_used, head_hash, state_root }: VerifyReport) {
  return [
    `${blocks} blocks, ${transactions} transactions, ${gas_used} gas: every block is what the log makes it`,
    `head ${head_hash}`,
    `state ${state_root}`,
  ].join("\n");
}

export const verify = defineCommand({
  summary: "Re-executes the embedded chain's log from its genesis and compares every block",
  details:
    "Roots, hashes, gas and receipts of every block are computed anew from (timestamp, raw transactions).\nA difference means that the kept chain was changed, or that another version of magnet wrote it.",
  examples: [{ command: "magnet chain verify", does: "exit code 6 where a block differs" }],
  args: {},
  flags: {},
  async run(context) {
    const { out, signal } = context;
    const folder = await chainFolder(context);
    if (!fs.existsSync(path.join(folder, "chain.sqlite")))
      throw new MagnetError("NOT_FOUND", `${folder} holds no chain`, {
        hint: "name the folder of magnet chain host with --data-dir",
        exit: "config",
      });
    const chain = await EmbeddedChain.open({ folder, read_only: true });
    try {
      let progress: ReturnType<typeof out.progress> | undefined;
      const report = await verifyChain(chain, {
        signal,
        onBlock(done, total) {
          progress ??= out.progress({ label: "verify", total, unit: "blocks" });
          progress.update(done);
        },
      });
      progress?.end();
      const { difference } = report;
      const data = {
        ...report,
        gas_used: report.gas_used.toString(),
        difference: difference ?? null,
      };
      if (difference !== undefined) {
        const { number, field, kept, computed } = difference;
        throw new MagnetError(
          "CHAIN_DIFFERS",
          `block ${number}: ${field} is kept as ${kept}, computed as ${computed}`,
          { hint: "the kept chain was changed, or another version wrote it", exit: "verification" },
        );
      }
      out.result("chain_verify", data, verifyText(report));
    } finally {
      await chain.close();
    }
    return undefined;
  },
});
