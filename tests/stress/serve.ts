/**
 * The full form of the load test: 64 streaming clients for a minute against a server in a process
 * of its own, half of them hanging up midway.
 *   sh setup.sh bun tests/stress/serve.ts [--seconds 60] [--clients 64] [--url URL --model NAME]
 * With --url it loads a server that is running already.
 */
import path from "node:path";
import { parseArgs } from "node:util";
import { writeToDescriptor } from "../../src/core/stdio.ts";
import { problems, runLoad } from "./load.ts";

/** The goal of issue "Inference at memory speed": /health under load. */
const HEALTH_P99_MAX_MS = 50;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    clients: { type: "string", default: "64" },
    url: { type: "string" },
    model: { type: "string", default: "small" },
  },
});
const say = (text: string) => void writeToDescriptor(1, `${text}\n`);

/** A server with a small model of random weights, in a process of its own. */
async function startChild(): Promise<{ url: string; stop(): Promise<void> }> {
  const child = Bun.spawn([process.execPath, path.join(import.meta.dir, "serve-child.ts")], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const first = await child.stdout.getReader().read();
  const url = new TextDecoder().decode(first.value).trim();
  const stop = async () => {
    child.stdin.end();
    await child.exited;
  };
  return { url, stop };
}

const server = values.url === undefined ? await startChild() : { url: values.url, stop: undefined };
const report = await runLoad({
  ...{ url: server.url, model: values.model, clients: Number(values.clients) },
  duration_ms: Number(values.seconds) * 1000,
});
await server.stop?.();
const shown = { ...report, wrong: report.wrong.length, failures: report.failures.length };
say(JSON.stringify(shown, null, 2));
const found = problems(report, HEALTH_P99_MAX_MS);
for (const problem of found) say(`problem: ${problem}`);
say(
  `${report.whole} whole and ${report.cut_off} cut-off answers, ${report.tokens_per_s} tokens/s, /health p99 ${report.health_p99_ms.toFixed(1)} ms: ${found.length === 0 ? "all well" : "NOT WELL"}`,
);
process.exitCode = found.length === 0 ? 0 : 1;
