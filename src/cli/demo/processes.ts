/**
 * The demo's other processes, all of this very executable: its agents (`magnet join`), each with its
 * own data folder and log file, the ledger's chain (`magnet chain host`), and at last the model's
 * server (`magnet serve`). Whatever ends the
 * demo, a kill -9 included, no process outlives it.
 */
import fs from "node:fs";
import path from "node:path";
import { MagnetError } from "../../core/errors.ts";
import type { PublicKey } from "../../core/types.ts";
import { selfCommand } from "../self-command.ts";

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
  public_key: PublicKey;
  process: Bun.Subprocess;
}

/** Waits for the ready file of a process; throws when the deadline passes or the process ended. */
async function awaitReady<T>(child: Bun.Subprocess, what: string, ready_file: string): Promise<T> {
  const deadline = performance.now() + READY_DEADLINE_MS;
  while (!fs.existsSync(ready_file)) {
    if (child.exitCode !== null || performance.now() > deadline)
      throw new MagnetError("AGENT_NOT_READY", `${what} did not become ready`, {
        hint: "its log file, named below its data folder, says why",
      });
    await Bun.sleep(POLL_MS);
  }
  return JSON.parse(fs.readFileSync(ready_file, "utf8")) as T;
}

/**
 * This program as another process. Nothing is written to its stdin, which closes with this process,
 * however that ends; with --attached it then leaves.
 */
function startSelf(args: readonly string[], log_file: string): Bun.Subprocess {
  const log = fs.openSync(log_file, "a", 0o600);
  try {
    const command = [...selfCommand(), ...args, "--attached"];
    return Bun.spawn(command, { stdin: "pipe", stdout: log, stderr: log });
  } finally {
    fs.closeSync(log);
  }
}

/** Starts one agent and waits for its ready file. `peer` is an address to knock at. */
export async function startAgent(options: {
  index: number;
  data_dir: string;
  network_file: string;
  peer?: string;
  threads: number;
  /** Flags by which it takes part in the ledger. */
  ledger: readonly string[];
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
    ["--ready-file", ready_file],
    ...(options.peer ? [["--peer", options.peer]] : []),
    options.ledger,
  ].flat();
  const child = startSelf(["join", ...flags], path.join(data_dir, "agent.log"));
  const what = `agent ${index} (${data_dir})`;
  type Ready = { address: string; node_id: string; public_key: PublicKey };
  const ready = await awaitReady<Ready>(child, what, ready_file);
  return { index, data_dir, ...ready, process: child };
}

export interface ChainHost {
  url: string;
  stop(): Promise<void>;
}

/** Hosts the embedded chain on any free loopback port; its time is this machine's. */
export async function startChain(folder: string): Promise<ChainHost> {
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  const ready_file = path.join(folder, "ready.json");
  const flags = ["--data-dir", folder, "--listen", "127.0.0.1:0", "--ready-file", ready_file];
  const log_file = path.join(folder, "chain.log");
  const child = startSelf(["chain", "host", ...flags], log_file);
  const stop = () => stopProcesses([child]);
  try {
    const { url } = await awaitReady<{ url: string }>(child, `the chain (${log_file})`, ready_file);
    return { url, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

export interface ModelServer {
  url: string;
  /** The model's name in requests. */
  model: string;
  stop(): Promise<void>;
}

/** Serves a model file on any free loopback port. */
export async function startServing(model: string, folder: string): Promise<ModelServer> {
  const ready_file = path.join(folder, "serve.json");
  const args = ["serve", model, "--port", "0", "--ready-file", ready_file];
  const child = startSelf(args, path.join(folder, "serve.log"));
  const stop = () => stopProcesses([child]);
  try {
    const what = `the server of ${model} (its log: ${path.join(folder, "serve.log")})`;
    const ready = await awaitReady<{ url: string; models: string[] }>(child, what, ready_file);
    return { url: ready.url, model: ready.models[0]!, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** SIGTERM, then SIGKILL for those that stay. */
async function stopProcesses(children: readonly Bun.Subprocess[]): Promise<void> {
  for (const child of children) child.kill("SIGTERM");
  const all = Promise.all(children.map((child) => child.exited));
  await Promise.race([all, Bun.sleep(STOP_DEADLINE_MS)]);
  for (const child of children) if (child.exitCode === null) child.kill("SIGKILL");
  await all;
}

export const stopAgents = (agents: readonly Agent[]): Promise<void> =>
  stopProcesses(agents.map((agent) => agent.process));
