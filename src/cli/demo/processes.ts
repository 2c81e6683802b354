/**
 * The demo's agents: `magnet join` as separate processes of this very executable, each with its own
 * data folder and log file. Whatever ends the demo, a kill -9 included, no process outlives it.
 */
import fs from "node:fs";
import path from "node:path";
import { MagnetError } from "../../core/errors.ts";

const READY_DEADLINE_MS = 30_000;
const POLL_MS = 50;
/** How long an agent may take to leave after SIGTERM before it is killed. */
const STOP_DEADLINE_MS = 5000;

export interface Agent {
  index: number;
  data_dir: string;
  /** wss address that other agents dial. */
  address: string;
  node_id: string;
  process: Bun.Subprocess;
}

/** This program again: the compiled binary, or Bun with the entry point in a source checkout. */
function selfCommand(): string[] {
  const compiled = import.meta.url.includes("/$bunfs/");
  return compiled ? [process.execPath] : [process.execPath, Bun.main];
}

/** Waits until `read` gives a value; throws when the deadline passes or the process ended. */
async function awaitValue<T>(agent: Bun.Subprocess, what: string, read: () => T | undefined) {
  const deadline = performance.now() + READY_DEADLINE_MS;
  for (;;) {
    const value = read();
    if (value !== undefined) return value;
    if (agent.exitCode !== null || performance.now() > deadline)
      throw new MagnetError("AGENT_NOT_READY", `${what} did not become ready`, {
        hint: "its log file, named below its data folder, says why",
      });
    await Bun.sleep(POLL_MS);
  }
}

/** Starts one agent and waits for its ready file. `peer` is an address to knock at. */
export async function startAgent(options: {
  index: number;
  data_dir: string;
  network_file: string;
  peer?: string;
  threads: number;
}): Promise<Agent> {
  const { index, data_dir } = options;
  const ready_file = path.join(data_dir, "ready.json");
  fs.rmSync(ready_file, { force: true });
  const flags = [
    ["--data-dir", data_dir],
    ["--network", options.network_file],
    ["--listen", "127.0.0.1:0"],
    ["--tier", "cpu"],
    ["--threads", String(options.threads)],
    ["--attached"],
    ["--ready-file", ready_file],
    ...(options.peer ? [["--peer", options.peer]] : []),
  ].flat();
  const log = fs.openSync(path.join(data_dir, "agent.log"), "a", 0o600);
  const child = Bun.spawn([...selfCommand(), "join", ...flags], {
    stdin: "pipe", // never written: it closes with this process, and the agent leaves
    stdout: log,
    stderr: log,
  });
  fs.closeSync(log);
  const ready = await awaitValue(child, `agent ${index} (${data_dir})`, () =>
    fs.existsSync(ready_file)
      ? (JSON.parse(fs.readFileSync(ready_file, "utf8")) as { address: string; node_id: string })
      : undefined,
  );
  return { index, data_dir, ...ready, process: child };
}

/** SIGTERM, then SIGKILL for those that stay. */
export async function stopAgents(agents: readonly Agent[]): Promise<void> {
  for (const agent of agents) agent.process.kill("SIGTERM");
  const all = Promise.all(agents.map((agent) => agent.process.exited));
  await Promise.race([all, Bun.sleep(STOP_DEADLINE_MS)]);
  for (const agent of agents) if (agent.process.exitCode === null) agent.process.kill("SIGKILL");
  await all;
}
