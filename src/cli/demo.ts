/**
 * `magnet demo`: the whole main job on this machine with real processes, real text and real
 * sockets.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { formatMag } from "../chain/amounts.ts";
import { formatBytes } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import { type DemoReport, emptyReport } from "./demo/report.ts";
import { runDemo } from "./demo/run-demo.ts";
import { defineCommand } from "./frame/command.ts";

/** The folder for the results: a new one, or the named one if nothing is in it. */
function freshFolder(named: string | undefined): string {
  if (named === undefined) return fs.mkdtempSync(path.join(os.tmpdir(), "magnet-demo-"));
  const folder = path.resolve(named);
  fs.mkdirSync(folder, { recursive: true });
  if (fs.readdirSync(folder).length > 0)
    throw new MagnetError("FOLDER_NOT_EMPTY", `${folder} holds files already`, {
      hint: "name a new folder with --out, or leave it out for a temporary one",
    });
  return folder;
}

function ledgerLine({ ledger }: DemoReport): string {
  if (!ledger) return "-";
  const mag = (amount: string) => formatMag(BigInt(amount));
  return (
    `epochs settled by root: ${ledger.epochs.length}; ${mag(ledger.minted)} MAG earned, ` +
    `${mag(ledger.slashed)} MAG slashed`
  );
}

function summary(report: DemoReport, took_ms: number): string {
  const fixed = (value: number | null) => (value === null ? "-" : value.toFixed(3));
  const model = report.artifacts.gguf ?? "-";
  const order2 = fixed(report.bits_per_byte_order2);
  const { tokens_per_s, first_token_ms } = report;
  const answer = `${tokens_per_s ?? "-"} tokens/s, the first after ${first_token_ms ?? "-"} ms`;
  const rows: [string, string][] = [
    ["agents", `${report.nodes}, one killed on the way`],
    ["rounds", String(report.rounds)],
    ["loss", `${fixed(report.loss_before)} -> ${fixed(report.loss_after)} nats per token`],
    ["bits/byte", `${fixed(report.bits_per_byte_after)} (order-2 byte model: ${order2})`],
    ["wire", formatBytes(report.wire_bytes)],
    ["ledger", ledgerLine(report)],
    ["model", model],
    ["answer", answer],
    ["time", `${(took_ms / 1000).toFixed(0)} s`],
    ["next", `magnet chat ${model} --complete --prompt "The Congress"`],
    ["", `magnet serve ${model}`],
  ];
  return rows.map(([name, value]) => `${name.padEnd(10)} ${value}`).join("\n");
}

export const demo = defineCommand({
  summary: "Trains, merges, repairs, exports, serves and answers: the whole job on this machine",
  details:
    "A research run of some twenty seconds chooses how to train. Then four agents as separate processes\ntrain a small BitNet model on public-domain English (embedded), merge it round by round, survive the\nkill of one of them, and are paid on a ledger of their own (the one that was killed between commitment\nand reveal is slashed); the result, served over HTTP, answers a prompt.\nUnder 3 minutes.",
  examples: [
    { command: "magnet demo", does: "with the embedded text" },
    { command: "magnet demo --data my-texts/ --json", does: "on own text, for scripts" },
  ],
  args: {},
  graceful: true,
  flags: {
    data: { type: "list", value: "PATH", summary: "own text instead of the embedded one" },
    keep: { type: "boolean", summary: "keep the agents' data folders and logs" },
    out: { type: "string", value: "DIR", summary: "folder for the results (a new temporary one)" },
  },
  async run({ out, global, signal }, { flags }) {
    const started = performance.now();
    const folder = freshFolder(flags.out);
    const report = emptyReport();
    try {
      await runDemo(report, { out, signal, data: flags.data, folder, keep: flags.keep });
    } catch (error) {
      if (!global.json) throw error;
      out.result("demo", report, "");
      return "failed";
    }
    out.result("demo", report, () => summary(report, performance.now() - started));
    return undefined;
  },
});
