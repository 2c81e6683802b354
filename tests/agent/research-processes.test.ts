/**
 * A research run whose trials are on two nodes, all of them processes as an operator runs them. One
 * node is killed in the middle; the result is that of a run on this machine alone.
 */
import { afterAll, afterEach, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { seededRandom, systemRandom } from "../../src/core/random.ts";
import { connectControl } from "../../src/http/control-client.ts";
import { openIdentity } from "../../src/network/key-storage.ts";
import { RunReader } from "../../src/research/trials/run-reader.ts";
import { MAIN, makeHome } from "../cli/magnet.ts";
import { TestNetwork } from "./real-nodes.ts";

const home = makeHome();
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));
const children = new Set<Bun.Subprocess>();
afterEach(async () => {
  for (const child of children) {
    child.kill("SIGKILL");
    await child.exited;
  }
  children.clear();
});

async function eventually<T>(what: string, read: () => Promise<T | undefined | false>): Promise<T> {
  const end = performance.now() + 80_000;
  for (;;) {
    const value = await read();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await Bun.sleep(20);
  }
}

function start(args: string[], log: string): Bun.Subprocess {
  const child = Bun.spawn([...MAIN.command, ...args], {
    cwd: home,
    env: { PATH: process.env.PATH!, HOME: home },
    stdout: Bun.file(path.join(home, `${log}.out`)),
    stderr: Bun.file(path.join(home, `${log}.log`)),
  });
  children.add(child);
  return child;
}

async function join(data_dir: string, network: string, more: string[]) {
  const ready_file = `${data_dir}.ready`;
  const flags = ["--data-dir", data_dir, "--network", network, "--ready-file", ready_file];
  const child = start(
    ["join", ...flags, "--listen", "127.0.0.1:0", ...more],
    path.basename(data_dir),
  );
  const ready = await eventually("a ready file", async () => {
    if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode}`);
    return fs.existsSync(ready_file) && JSON.parse(fs.readFileSync(ready_file, "utf8"));
  });
  return { child, ...(ready as { address: string; node_id: string }) };
}

function makeTask(): string {
  const random = seededRandom(5);
  const rows = Array.from({ length: 200 }, () => {
    const [a, b] = [random.next(), random.next()];
    return `${a.toFixed(3)},${b.toFixed(3)},${a + b + 0.4 * random.next() > 1.2 ? "yes" : "no"}`;
  });
  fs.writeFileSync(path.join(home, "table.csv"), `a,b,label\n${rows.join("\n")}\n`);
  const file = path.join(home, "task.json");
  const task = { schema: "magnet.research_task/1", name: "nodes", domain: "tabular" };
  const budget = { trials: 14 };
  fs.writeFileSync(file, JSON.stringify({ ...task, data: "table.csv", label: "label", budget }));
  return file;
}

const research = (task: string, out: string, more: string[]) =>
  start(
    ["research", "run", task, "--out", out, "--no-knowledge", "--batch", "4", ...more],
    path.basename(out),
  );

function trialsOf(folder: string) {
  if (!fs.existsSync(path.join(folder, "run.db"))) return [];
  const reader = RunReader.open(folder);
  try {
    return reader.trials();
  } finally {
    reader.close();
  }
}

test("a run on two nodes, one killed in the middle, has the local run's result", async () => {
  const folders = [0, 1, 2].map((i) => path.join(home, `node-${i}`));
  const roster = folders.map((dir) => {
    fs.mkdirSync(dir, { mode: 0o700 });
    return openIdentity({ dir }, systemRandom).identity.public_key;
  });
  const network = path.join(home, "net.json");
  fs.writeFileSync(network, JSON.stringify({ ...new TestNetwork(1).network, roster }));
  const first = await join(folders[0]!, network, []);
  const takes = ["--peer", first.address, "--research", "1"];
  const a = await join(folders[1]!, network, takes);
  const b = await join(folders[2]!, network, takes);
  const control = connectControl(folders[0]!);
  await eventually("two nodes that take trials", async () => {
    const { nodes } = (await control.get("/v1/research/nodes")) as { nodes: unknown[] };
    return nodes.length === 2;
  });

  const task = makeTask();
  const [out, alone] = [path.join(home, "dispatched"), path.join(home, "alone")];
  const run = research(task, out, ["--data-dir", folders[0]!, "--nodes", "2", "--workers", "0"]);
  await eventually("a trial done on each node, one running on the first", async () => {
    if (run.exitCode !== null)
      throw new Error(fs.readFileSync(path.join(home, "dispatched.log"), "utf8"));
    const trials = trialsOf(out);
    const done = new Set(trials.filter((t) => t.state === "done").map((t) => t.worker));
    const running = trials.some((t) => t.state === "running" && t.worker === a.node_id);
    return done.has(a.node_id) && done.has(b.node_id) && running;
  });
  a.child.kill("SIGKILL");
  await a.child.exited;
  expect(await run.exited).toBe(0);
  expect(await research(task, alone, ["--workers", "1"]).exited).toBe(0);

  const addresses = (folder: string) => trialsOf(folder).map((t) => [t.state, t.outcome_address]);
  expect(addresses(out)).toEqual(addresses(alone));
  expect(addresses(out).length).toBeGreaterThan(8);
  const killed_at = trialsOf(out).findLastIndex((t) => t.worker === a.node_id);
  expect(killed_at).toBeLessThan(trialsOf(out).length - 1);
  const model = (folder: string) => Bun.file(path.join(folder, "model.bin")).bytes();
  expect(await model(out)).toEqual(await model(alone));
});
