/**
 * SIGKILL in the middle of a round, on nodes that are processes of their own, as an operator runs
 * them.
 */
import { afterAll, afterEach, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { systemRandom } from "../../src/core/random.ts";
import { type ControlClient, connectControl } from "../../src/http/control-client.ts";
import { openIdentity } from "../../src/network/key-storage.ts";
import { MAIN, makeHome } from "../cli/magnet.ts";
import { makeJob, TestNetwork } from "./real-nodes.ts";

const home = makeHome();
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

interface Child {
  data_dir: string;
  process: Bun.Subprocess;
  address: string;
  public_key: string;
  control: ControlClient;
}
const children = new Set<Bun.Subprocess>();
afterEach(async () => {
  for (const child of children) {
    child.kill("SIGKILL");
    await child.exited;
  }
  children.clear();
});

/** Waits for a value that a process gives. */
async function eventually<T>(what: string, read: () => Promise<T | undefined | false>): Promise<T> {
  const end = performance.now() + 25_000;
  for (;;) {
    const value = await read();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await Bun.sleep(25);
  }
}

let starts = 0;
async function join(data_dir: string, network_file: string, peer?: Child): Promise<Child> {
  const ready_file = path.join(home, `ready-${starts++}.json`);
  const flags = ["--data-dir", data_dir, "--network", network_file, "--ready-file", ready_file];
  const peers = peer ? ["--peer", peer.address] : [];
  const more = ["--listen", "127.0.0.1:0", "--threads", "1", ...peers];
  const child = Bun.spawn([...MAIN.command, "join", ...flags, ...more], {
    cwd: home,
    env: { PATH: process.env.PATH!, HOME: home },
    stdout: "ignore",
    stderr: Bun.file(path.join(home, "log")),
  });
  children.add(child);
  const ready = await eventually("a ready file", async () => {
    if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode}`);
    return fs.existsSync(ready_file) && JSON.parse(fs.readFileSync(ready_file, "utf8"));
  });
  const { address, public_key } = ready as { address: string; public_key: string };
  return { data_dir, process: child, address, public_key, control: connectControl(data_dir) };
}

interface Round {
  round: number;
  state_hash: string;
  contributors: string[];
}
const roundsOf = async ({ control }: Child): Promise<Round[]> =>
  ((await control.get("/v1/rounds")) as { rounds: Round[] }).rounds;

test("killed nodes come back on their disks: no promise broken, the same states, rounds go on", async () => {
  const folders = [0, 1, 2].map((i) => path.join(home, `node-${i}`));
  const roster = folders.map((dir) => {
    fs.mkdirSync(dir, { mode: 0o700 });
    return openIdentity({ dir }, systemRandom).identity.public_key;
  });
  const network_file = path.join(home, "net.json");
  fs.writeFileSync(network_file, JSON.stringify({ ...new TestNetwork(1).network, roster }));
  const first = await join(folders[0]!, network_file);
  let second = await join(folders[1]!, network_file, first);
  let third = await join(folders[2]!, network_file, first);
  const { job, files } = await makeJob({ rounds: 1000, inner_steps: 3 });
  await first.control.post("/v1/jobs", { job, files });
  const afterRounds = (count: number) =>
    eventually(`${count} rounds`, async () => {
      const rounds = await roundsOf(first);
      return rounds.length >= count && rounds;
    });
  const kill = async (child: Child) => {
    child.process.kill("SIGKILL");
    await child.process.exited;
    children.delete(child.process);
  };
  // One of three dies: a quorum of two goes on without it.
  let seen = (await afterRounds(2)).length;
  await kill(third);
  seen = (await afterRounds(seen + 2)).length;
  third = await join(folders[2]!, network_file, first);
  // Two of three die at once: nothing may be promoted until one is back.
  await eventually("the third to contribute", async () =>
    (await roundsOf(first)).at(-1)!.contributors.includes(third.public_key),
  );
  await Promise.all([kill(second), kill(third)]);
  const halted = (await roundsOf(first)).length;
  second = await join(folders[1]!, network_file, first);
  third = await join(folders[2]!, network_file, first);
  const rounds = await eventually("everyone to contribute again", async () => {
    const all = await roundsOf(first);
    const since = new Set(all.slice(halted).flatMap(({ contributors }) => contributors));
    return since.size === roster.length && all;
  });
  const numbers = rounds.map(({ round }) => round);
  expect(numbers).toEqual(numbers.map((_, i) => numbers[0]! + i));
  const byRound = new Map(rounds.map(({ round, state_hash }) => [round, state_hash]));
  for (const child of [second, third]) {
    const shared = await eventually("rounds in common", async () => {
      const own = (await roundsOf(child)).filter(({ round }) => byRound.has(round));
      return own.length >= 2 && own;
    });
    for (const { round, state_hash } of shared) expect(state_hash).toBe(byRound.get(round)!);
  }
}, 60_000);
