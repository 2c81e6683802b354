/**
 * `magnet chain jobs`, `chain data` and `chain sweep` as people run them, on the embedded chain in
 * this process whose time is moved; every refusal by its reason.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { formatChainTime } from "../../src/chain/chain-time.ts";
import type { Deployment } from "../../src/chain/client/deployment.ts";
import { openRpc } from "../../src/chain/client/rpc.ts";
import { EmbeddedChain } from "../../src/chain/embedded/chain.ts";
import { serveChain } from "../../src/chain/embedded/server.ts";
import { sha256Hex, toHex } from "../../src/core/bytes.ts";
import { systemClock } from "../../src/core/clock.ts";
import { seededRandom } from "../../src/core/random.ts";
import { identityOf, newPrivateKey } from "../../src/network/identity.ts";
import { richAlloc } from "../chain/chain-clients.ts";
import { deployForTest } from "../chain/deployed-ledger.ts";
import { errorDocument, MAIN, magnet, makeHome, type Outcome, oneDocument } from "./magnet.ts";

const MAG = 10n ** 18n;
const home = makeHome();
const at = (name: string) => path.join(home, name);
const random = seededRandom(8);
const people = { requester: newPrivateKey(random), worker: newPrivateKey(random) };
let rpc: string;
let deployment: Deployment;
const closers: (() => unknown)[] = [];

const run = (who: string, ...args: string[]): Promise<Outcome> =>
  magnet(MAIN, home, [
    ...["chain", ...args, "--rpc", rpc, "--network", at("net.json")],
    ...["--data-dir", at(who), "--json"],
  ]);
async function done(who: string, ...args: string[]): Promise<Record<string, unknown>> {
  const outcome = await run(who, ...args);
  if (outcome.code !== 0) throw new Error(JSON.stringify(outcome));
  return oneDocument(outcome);
}
async function refused(code: string, who: string, ...args: string[]): Promise<void> {
  expect(errorDocument(await run(who, ...args)).code).toBe(code);
}
/** Moves the chain's time on. */
async function wait(seconds: number): Promise<void> {
  const chain = openRpc({ url: rpc, clock: systemClock });
  await chain.request("evm_increaseTime", [seconds]);
  await chain.request("evm_mine", []);
}

beforeAll(async () => {
  const chain = await EmbeddedChain.open({
    ...{ alloc: richAlloc(), fees: "free", allow_time_travel: true },
  });
  const server = serveChain(chain);
  closers.push(() => server.stop());
  rpc = server.url;
  const keys = Object.values(people).map((key) => identityOf(key).public_key);
  deployment = await deployForTest({ url: rpc, members: keys, epoch_seconds: 600 });
  const file = { schema: "magnet.network/1", id: "jobs", roster: keys, ledger: deployment };
  fs.writeFileSync(at("net.json"), JSON.stringify(file));
  for (const [who, key] of Object.entries(people)) {
    fs.writeFileSync(at(`${who}.key`), toHex(key), { mode: 0o600 });
    const args = ["keys", "import", at(`${who}.key`), "--data-dir", at(who)];
    expect((await magnet(MAIN, home, args)).code).toBe(0);
  }
  fs.writeFileSync(at("spec.md"), "find the answer\n");
  fs.writeFileSync(at("result.txt"), "42\n");
  fs.writeFileSync(at("other.txt"), "43\n");
});
afterAll(async () => {
  for (const close of closers.reverse()) await close();
  fs.rmSync(home, { recursive: true, force: true });
});

const create = ["jobs", "create", "--spec", at("spec.md"), "--reward", "25", "--within", "2h"];
const submit = (id: string) => ["jobs", "submit", id, "--result", at("result.txt")];

test("a job: created, taken by an active node, handed in, accepted, paid", async () => {
  const job = await done("requester", ...create);
  expect(job).toMatchObject({
    ...{ id: 1, state: "open", reward: (25n * MAG).toString(), worker: null },
    spec_hash: sha256Hex(fs.readFileSync(at("spec.md"))),
  });
  await refused("NOT_ACTIVE", "worker", "jobs", "take", "1");
  await done("worker", "register", "--tier", "storage");
  expect(await done("worker", "jobs", "take", "1")).toMatchObject({ state: "taken" });
  await refused("WRONG_STATE", "worker", "jobs", "take", "1");
  await refused("NOT_WORKER", "requester", ...submit("1"));
  expect(await done("worker", ...submit("1"))).toMatchObject({
    ...{ state: "submitted", result_hash: sha256Hex("42\n") },
  });
  await refused("NOT_REQUESTER", "worker", "jobs", "accept", "1");
  await refused("RESULT_DIFFERS", "requester", "jobs", "accept", "1", "--result", at("other.txt"));
  const paid = await done("requester", "jobs", "accept", "1", "--result", at("result.txt"));
  expect(paid).toMatchObject({ state: "paid" });
  const { jobs, count } = await done("requester", "jobs", "list");
  expect([count, (jobs as { state: string }[])[0]!.state]).toEqual([1, "paid"]);
  await refused("UNKNOWN_JOB", "worker", "jobs", "take", "9");
  await refused("BAD_VALUE", "requester", ...create.slice(0, -1), "4000d");
});

test("any number that the chain holds as a time can be shown", () => {
  expect(formatChainTime(1_795_291_925n)).toBe("2026-11-21T20:12:05");
  // A job's requester chooses its deadline: listing jobs must survive it.
  expect(formatChainTime(2 ** 50)).toBe("1125899906842624");
  expect(formatChainTime(2n ** 64n - 1n)).toBe("18446744073709551615");
  expect(formatChainTime(8_640_000_000_000)).toBe("+275760-09-13T00:00:00");
});

test("a job that nobody takes is refunded; one that is contested and not brought on is paid", async () => {
  await done("requester", ...create);
  await refused("DEADLINE_AHEAD", "worker", "jobs", "settle", "2");
  await done("requester", ...create);
  await done("worker", "jobs", "take", "3");
  await done("worker", ...submit("3"));
  const reason = ["--reason", at("other.txt")];
  expect(await done("requester", "jobs", "contest", "3", ...reason)).toMatchObject({
    state: "contested",
  });
  await refused("WINDOW_OPEN", "worker", "jobs", "settle", "3");
  await wait(2 * 3600 + 5);
  expect(await done("worker", "jobs", "settle", "2")).toMatchObject({ state: "refunded" });
  expect(await done("worker", "jobs", "settle", "3")).toMatchObject({ state: "paid" });
});

test("a data set: registered once, confirmed after its window", async () => {
  fs.writeFileSync(at("set.txt"), "a text\n".repeat(1000));
  await refused("NOT_ACTIVE", "requester", "data", "register", at("set.txt"));
  const record = await done("worker", "data", "register", at("set.txt"), "--uri", "ipfs://x");
  expect(record).toMatchObject({
    ...{ id: 1, state: "pending", size_bytes: 7000, uri: "ipfs://x", fee: (5n * MAG).toString() },
    content_hash: sha256Hex(fs.readFileSync(at("set.txt"))),
  });
  await refused("ALREADY_REGISTERED", "worker", "data", "register", at("set.txt"));
  await refused("WINDOW_OPEN", "requester", "data", "confirm", at("set.txt"));
  await refused("UNKNOWN_RECORD", "requester", "data", "confirm", at("other.txt"));
  await wait(24 * 3600);
  expect(await done("requester", "data", "confirm", "1")).toMatchObject({ state: "confirmed" });
  const { records } = await done("worker", "data", "list", "--state", "confirmed");
  expect(records).toHaveLength(1);
});

test("an empty till is not swept", () => refused("NOTHING_TO_SWEEP", "worker", "sweep"));
