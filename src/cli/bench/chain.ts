/**
 * `magnet bench chain`: the embedded chain as its clients meet it. A host is started in a process of
 * its own, transfers go to it in JSON-RPC batches over HTTP, each answered when it is on the disk;
 * then the host is started again on the chain that has grown.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { batchBody, benchKeys, signedTransfers } from "../../chain/embedded/bench-transfers.ts";
import { benchRoot } from "../../chain/ledger/bench-root.ts";
import { type BenchResult, benchResult, machineOf } from "../../core/bench-report.ts";
import { MagnetError } from "../../core/errors.ts";
import { defineCommand } from "../frame/command.ts";
import { selfCommand } from "../self-command.ts";
import { COMPARE_FLAGS, measure, resultsTable } from "./output.ts";

const CHAIN_ID = 31_337;
const SENDERS = 10;
/** Nodes of the epoch whose root is computed. */
const ROOT_NODES = 10_000;

interface Host {
  url: string;
  /** From the start of the process until its ready file was there. */
  started_ms: number;
  stop(): Promise<void>;
}

async function startHost(folder: string, args: readonly string[]): Promise<Host> {
  const ready = path.join(folder, "ready.json");
  fs.rmSync(ready, { force: true });
  const watcher = fs.watch(folder);
  const began = performance.now();
  const child = Bun.spawn(
    [
      ...[...selfCommand(), "chain", "host", "--listen", "127.0.0.1:0", "--data-dir", folder],
      ...["--ready-file", ready, "--attached", ...args],
    ],
    { stdin: "pipe", stdout: "ignore", stderr: "ignore" },
  );
  const there = new Promise<void>((resolve) => {
    watcher.on("change", () => fs.existsSync(ready) && resolve());
  });
  await Promise.race([there, child.exited]);
  watcher.close();
  const started_ms = performance.now() - began;
  if (!fs.existsSync(ready))
    throw new MagnetError("CHAIN_NOT_READY", "the chain's host ended before it answered", {
      hint: "magnet chain host --verbose says why",
    });
  const { url } = JSON.parse(fs.readFileSync(ready, "utf8")) as { url: string };
  return {
    ...{ url, started_ms },
    async stop() {
      child.kill("SIGTERM");
      await child.exited;
    },
  };
}

/** Sends one batch; transactions a second until the last is durable. */
async function sendBatch(url: string, raws: readonly string[]): Promise<number> {
  const body = batchBody(raws);
  const began = performance.now();
  const response = await fetch(url, { method: "POST", body });
  const answers = (await response.json()) as { error?: { message: string } }[];
  const seconds = (performance.now() - began) / 1000;
  const failed = answers.find(({ error }) => error !== undefined);
  if (failed !== undefined || answers.length !== raws.length)
    throw new MagnetError("BENCH_FAILED", `a transfer was refused: ${failed?.error?.message}`);
  return raws.length / seconds;
}

interface ChainReport {
  schema: "magnet.bench/1";
  suite: "chain";
  machine: Record<string, unknown>;
  transfers: number;
  results: BenchResult[];
}

async function benchChain(batch: number, repeat: number): Promise<ChainReport> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-bench-"));
  const machine = machineOf();
  try {
    const keys = benchKeys(SENDERS);
    const alloc = keys.flatMap(({ address }) => ["--alloc", `${address}=1000000000`]);
    let host = await startHost(folder, alloc);
    const rates: number[] = [];
    // One more than is counted: the first meets code that is not compiled yet.
    for (let i = 0; i <= repeat; i++) {
      const raws = signedTransfers({ keys, count: batch, chain_id: CHAIN_ID, first: i * batch });
      const rate = await sendBatch(host.url, raws);
      if (i > 0) rates.push(rate);
    }
    await host.stop();
    const starts: number[] = [];
    for (let i = 0; i < repeat; i++) {
      host = await startHost(folder, []);
      starts.push(host.started_ms);
      await host.stop();
    }
    const results = [
      benchResult("tx_per_s", "tx/s", rates),
      benchResult("start_ms", "ms", starts),
      benchResult("root_10k_s", "s", benchRoot(ROOT_NODES, repeat)),
    ];
    const transfers = batch * (repeat + 1);
    return { ...{ schema: "magnet.bench/1", suite: "chain", machine }, transfers, results };
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

export const chain = defineCommand({
  summary: "Transfers a second and start of the embedded chain; an epoch's root",
  details:
    "tx_per_s: signed transfers in one batch over HTTP, each answered when it is on the disk. start_ms: from\nthe start of the process until it answers, on the chain that these transfers have made. root_10k_s: one core's\ntime from the verified reports of 10,000 nodes to the root of their rewards.",
  examples: [{ command: "magnet bench chain --json", does: "figures for scripts" }],
  args: {},
  flags: {
    batch: { type: "integer", min: 10, max: 5000, default: 1000, summary: "transfers at once" },
    repeat: { type: "integer", min: 1, max: 100, default: 3, summary: "batches, and starts" },
    ...COMPARE_FLAGS,
  },
  async run({ out }, { flags }) {
    const suite = () => benchChain(flags.batch, flags.repeat);
    return measure(out, flags, suite, ({ transfers, results }) =>
      [resultsTable(results), `starts on a chain of ${transfers} transfers`].join("\n"),
    );
  },
});
