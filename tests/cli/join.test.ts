/**
 * `magnet join` as a process: how it starts, what it refuses with which exit code, and how it ends.
 */
import { afterAll, afterEach, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { errorDocument, MAIN, magnet, makeHome } from "./magnet.ts";

const home = makeHome();
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));
let count = 0;
const newFolder = (): string => path.join(home, `node-${count++}`);

const children: Bun.Subprocess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
});

const flagsOf = (data_dir: string) => ["--data-dir", data_dir, "--listen", "127.0.0.1:0"];

/** Starts a node and waits for its ready file. */
async function startJoin(data_dir: string, more: string[] = []) {
  const ready_file = path.join(home, `ready-${count++}.json`);
  const child = Bun.spawn(
    [...MAIN.command, "join", ...flagsOf(data_dir), "--ready-file", ready_file, ...more],
    { cwd: home, env: { PATH: process.env.PATH!, HOME: home }, stdout: "pipe", stderr: "pipe" },
  );
  children.push(child);
  const end = performance.now() + 10_000;
  while (!fs.existsSync(ready_file)) {
    if (child.exitCode !== null || performance.now() > end)
      throw new Error(`not ready: ${await new Response(child.stderr).text()}`);
    await Bun.sleep(20);
  }
  const ready = JSON.parse(fs.readFileSync(ready_file, "utf8")) as Record<string, string>;
  return { child, ready };
}

const refusal = async (args: string[]) => {
  const outcome = await magnet(MAIN, home, ["join", "--json", ...args]);
  return { code: outcome.code, error: errorDocument(outcome) };
};

test("a node says when it is ready, keeps its identity, and SIGTERM ends it with 0", async () => {
  const data_dir = newFolder();
  const first = await startJoin(data_dir);
  expect(first.ready.schema).toBe("magnet.ready/1");
  expect(first.ready.address).toMatch(/^wss:\/\/127\.0\.0\.1:\d+$/);
  expect(first.ready.pid as unknown).toBe(first.child.pid);
  expect(fs.statSync(path.join(data_dir, "control.json")).mode & 0o777).toBe(0o600);
  first.child.kill("SIGTERM");
  expect(await first.child.exited).toBe(0);
  expect(fs.existsSync(path.join(data_dir, "control.json"))).toBe(false);
  expect(fs.existsSync(path.join(data_dir, "node.pid"))).toBe(false);
  const second = await startJoin(data_dir);
  expect(second.ready.node_id).toBe(first.ready.node_id!);
  second.child.kill("SIGINT");
  expect(await second.child.exited).toBe(0);
}, 20_000);

test("magnet node status and stop reach the node; afterwards there is none", async () => {
  const data_dir = newFolder();
  const { child, ready } = await startJoin(data_dir);
  const node = (command: string) =>
    magnet(MAIN, home, ["node", command, "--data-dir", data_dir, "--json"]);
  const status = JSON.parse((await node("status")).stdout) as Record<string, unknown>;
  expect(status).toMatchObject({ schema: "magnet.node_status/1", node_id: ready.node_id });
  expect((await node("stop")).code).toBe(0);
  expect(await child.exited).toBe(0);
  const gone = await node("status");
  expect(gone.code).toBe(4);
  expect(errorDocument(gone).code).toBe("NODE_NOT_RUNNING");
}, 20_000);

test("a second node on the same folder is refused; a killed one leaves no lock behind", async () => {
  const data_dir = newFolder();
  const { child } = await startJoin(data_dir);
  const second = await refusal(flagsOf(data_dir));
  expect(second.error.code).toBe("NODE_RUNNING");
  expect(second.error.message).toContain(String(child.pid));
  child.kill("SIGKILL");
  await child.exited;
  expect(fs.existsSync(path.join(data_dir, "node.pid"))).toBe(true);
  const after = await startJoin(data_dir);
  expect(after.ready.pid as unknown).toBe(after.child.pid);
}, 20_000);

test("an occupied port is named, and nothing stays behind", async () => {
  const holder = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  try {
    const data_dir = newFolder();
    const listen = `127.0.0.1:${holder.port}`;
    const { code, error } = await refusal(["--data-dir", data_dir, "--listen", listen]);
    expect(code).toBe(1);
    expect(error.code).toBe("PORT_IN_USE");
    expect(error.hint).toContain("port 0");
    expect(fs.existsSync(path.join(data_dir, "node.pid"))).toBe(false);
  } finally {
    holder.stop(true);
  }
}, 20_000);

test("a tier that this machine does not meet exits 7 before a key is made", async () => {
  const data_dir = newFolder();
  const { code, error } = await refusal([...flagsOf(data_dir), "--tier", "gpu"]);
  expect(code).toBe(7);
  expect(error.code).toBe("TIER_NOT_MET");
  expect(fs.existsSync(path.join(data_dir, "wallet.json"))).toBe(false);
}, 20_000);

test("damaged files of the data folder are named, each with its own error", async () => {
  const data_dir = newFolder();
  const { child } = await startJoin(data_dir);
  child.kill("SIGTERM");
  await child.exited;
  const damage = async (name: string, text: string) => {
    const file = path.join(data_dir, name);
    const before = fs.existsSync(file) ? fs.readFileSync(file) : null;
    fs.writeFileSync(file, text, { mode: 0o600 });
    const { code, error } = await refusal(flagsOf(data_dir));
    if (before) fs.writeFileSync(file, before);
    else fs.rmSync(file);
    return `${error.code} ${code}`;
  };
  expect(await damage("wallet.json", "{")).toStartWith("KEY_FILE_CORRUPT");
  expect(await damage("state/election.json", '{"round": 3')).toBe("STATE_CORRUPT 6");
  expect(await damage("state/election.json", '{"round": "x"}')).toStartWith("STATE_CORRUPT");
  expect(await damage("state/jobs.json", "[]")).toStartWith("STATE_CORRUPT");
  expect(await damage("network.json", "{}")).toBe("NETWORK_FILE_INVALID 3");
  expect(
    await damage("peers.sqlite", "this is not a database, but long enough to be read"),
  ).toStartWith("PEER_DATABASE");
  const healed = await startJoin(data_dir);
  expect(healed.child.exitCode).toBeNull();
}, 30_000);

test("a folder that cannot be one, and network files that are none, are refused", async () => {
  const file = path.join(home, "a-file");
  fs.writeFileSync(file, "x");
  const under = await refusal(flagsOf(path.join(file, "below")));
  expect(under.error.code).toBe("NOT_A_FOLDER");
  const join = (network: string) => refusal([...flagsOf(newFolder()), "--network", network]);
  expect((await join(path.join(home, "absent.json"))).error.code).toBe("NOT_FOUND");
  const bad = path.join(home, "bad.json");
  fs.writeFileSync(bad, '{"schema":"magnet.network/1","id":"Lab","roster":[]}');
  const { code, error } = await join(bad);
  expect(`${error.code} ${code}`).toBe("NETWORK_FILE_INVALID 3");
  expect(error.message).toContain("id: lower-case");
}, 20_000);

test("a ready file that cannot be written ends the node with the reason", async () => {
  const data_dir = newFolder();
  const ready = path.join(home, "no-such-folder", "ready.json");
  const outcome = await magnet(MAIN, home, ["join", ...flagsOf(data_dir), "--ready-file", ready]);
  expect(outcome.code).toBe(1);
  expect(outcome.stderr).toContain("NOT_FOUND");
  expect(fs.existsSync(path.join(data_dir, "control.json"))).toBe(false);
}, 20_000);

test("a data folder that is a file is named as such", async () => {
  const file = newFolder();
  fs.writeFileSync(file, "not a folder");
  expect((await refusal(flagsOf(file))).error.code).toBe("NOT_A_FOLDER");
  expect(fs.readFileSync(file, "utf8")).toBe("not a folder");
});
