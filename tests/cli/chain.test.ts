/**
 * `magnet chain` as a user runs it, on the embedded chain in this process: deploy, register, bond,
 * seats, disputes, and every refusal with its reason and exit code 8.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { addressOf } from "../../src/chain/client/account.ts";
import { openRpc } from "../../src/chain/client/rpc.ts";
import { TransactionQueue } from "../../src/chain/client/transaction-queue.ts";
import { EmbeddedChain } from "../../src/chain/embedded/chain.ts";
import { type RunningChain, serveChain } from "../../src/chain/embedded/server.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { PublicKey } from "../../src/core/types.ts";
import { richAlloc } from "../chain/chain-clients.ts";
import { deployer } from "../chain/deployed-ledger.ts";
import { errorDocument, MAIN, magnet, makeHome, type Outcome, oneDocument } from "./magnet.ts";

let home: string;
let chain: EmbeddedChain;
let server: RunningChain;
let net: string;
/** Of the node in folder "a". */
let account: `0x${string}`;
const MAG = 10n ** 18n;
const mag = (amount: bigint | number) => String(BigInt(amount) * MAG);

const inFolder = (folder: string) => ["--data-dir", path.join(home, folder), "--json"];
/** Runs as the node of a folder, on the test's chain and network. */
const run = (folder: string, args: string[], rpc = server.url) =>
  magnet(MAIN, home, ["chain", ...args, "--rpc", rpc, "--network", net, ...inFolder(folder)]);
const data = (outcome: Outcome) => {
  expect(outcome.stderr + String(outcome.code)).toEndWith("0");
  return oneDocument(outcome) as Record<string, unknown>;
};
async function keyOf(folder: string): Promise<string> {
  const made = await magnet(MAIN, home, ["keys", "create", ...inFolder(folder)]);
  return (oneDocument(made) as { public_key: string }).public_key;
}
async function refused(promise: Promise<Outcome>, code: string): Promise<string> {
  const outcome = await promise;
  const error = errorDocument(outcome) as { code: string; message: string };
  expect([error.code, outcome.code]).toEqual([code, 8]);
  return error.message;
}

beforeAll(async () => {
  home = makeHome();
  chain = await EmbeddedChain.open({ alloc: richAlloc(), fees: "free", allow_time_travel: true });
  server = serveChain(chain);
  const [a, b] = [await keyOf("a"), await keyOf("b")];
  await keyOf("poor");
  account = addressOf(a as PublicKey);
  net = path.join(home, "net.json");
  const members = [a, b].flatMap((key) => ["--member", key]);
  await magnet(MAIN, home, ["network", "create", "--name", "lab", ...members, "--out", net]);
});
afterAll(async () => {
  await server.stop();
  await chain.close();
  fs.rmSync(home, { recursive: true, force: true });
});

test("without a ledger, without an RPC: said before anything else", async () => {
  const none = await run("a", ["register"]);
  expect([errorDocument(none).code, none.code]).toEqual(["NO_LEDGER", 3]);
  const rpc = await magnet(MAIN, home, ["chain", "deploy", "--network", net, ...inFolder("a")]);
  expect([errorDocument(rpc).code, rpc.code]).toEqual(["NO_RPC", 3]);
});

test("deploy: out of bounds by name; then contracts, grants, and the network file", async () => {
  const values = path.join(home, "values.json");
  fs.writeFileSync(values, JSON.stringify({ panel_size: 5 }));
  const shown = await refused(run("a", ["deploy", "--values", values]), "OUT_OF_BOUNDS");
  expect(shown).toContain("field panelSize");
  fs.writeFileSync(values, JSON.stringify({ panel_size: "4", data_fee: "1 MAG" }));
  const bad = await run("a", ["deploy", "--values", values]);
  expect([errorDocument(bad).code, bad.code]).toEqual(["VALUES_INVALID", 3]);
  fs.writeFileSync(values, JSON.stringify({ data_fee: "1 MAG", notary_bond: mag(40) }));

  // Nothing is paid for where the result could not be written.
  const nowhere = path.join(home, "none", "net.json");
  const { number } = chain.head.header;
  const lost = await run("a", ["deploy", "--out", nowhere]);
  expect([errorDocument(lost).code, chain.head.header.number]).toEqual(["NOT_FOUND", number]);

  const flags = ["--values", values, "--epoch-seconds", "20", "--grant", "200"];
  // The earlier try with other values left a plan behind.
  await refused(run("a", ["deploy", ...flags]), "DEPLOYMENT_UNFINISHED");
  const before = JSON.parse(fs.readFileSync(net, "utf8")) as object;
  const made = oneDocument(await run("a", ["deploy", ...flags, "--anew"]));
  expect(made).toMatchObject({ schema: "magnet.chain_deploy/1", transactions: 13, resumed: false });
  const written = JSON.parse(fs.readFileSync(net, "utf8")) as { ledger: { contracts: object } };
  expect(written).toMatchObject(before);
  expect(written.ledger.contracts).toEqual(made.contracts as object);
  const shownNetwork = await magnet(MAIN, home, ["network", "show", net, "--json"]);
  expect(oneDocument(shownNetwork).config_hash).toBe(made.config_hash);
  const again = await run("a", ["deploy"]);
  expect([errorDocument(again).code, again.code]).toEqual(["LEDGER_EXISTS", 3]);

  const params = data(await run("a", ["params", "show"]));
  expect(params).toMatchObject({ epoch_seconds: 20, version: 1, block_randomness: false });
  expect(params.values).toMatchObject({
    data_fee: mag(1),
    notary_bond: mag(40),
    commit_seconds: 3,
  });
  // What is shown can be given to --values.
  const file = path.join(home, "shown.json");
  fs.writeFileSync(file, JSON.stringify(params));
  const out = path.join(home, "second.json");
  const second = await run("b", [
    "deploy",
    "--values",
    file,
    "--epoch-seconds",
    "20",
    "--out",
    out,
  ]);
  expect(oneDocument(second).file).toBe(out);
});

describe("a node's stake", () => {
  test("register, bond, seat, unbond, withdraw", async () => {
    const registered = oneDocument(await run("a", ["register", "--tier", "cpu"]));
    expect(registered).toMatchObject({
      schema: "magnet.chain_register/1",
      registered: true,
      active: true,
      tier: "cpu_only",
      bond: mag(30),
      balance: mag(170),
    });
    expect((registered.transactions as unknown[]).length).toBe(2);
    expect(await refused(run("a", ["register"]), "ALREADY_REGISTERED")).toContain("a node already");
    expect(data(await run("a", ["bond", "20"]))).toMatchObject({
      bond: mag(50),
      balance: mag(150),
    });
    expect(data(await run("a", ["seat", "take"]))).toMatchObject({ notary_bond: mag(40) });
    expect(data(await run("a", ["seat", "leave"]))).toMatchObject({ notary_bond: "0" });
    const leaving = data(await run("a", ["unbond", "10"]));
    expect(leaving).toMatchObject({ bond: mag(40), unbonding: mag(50) });
    const early = await refused(run("a", ["withdraw"]), "STILL_UNBONDING");
    expect(early).toContain("nodes.withdraw reverted: StillUnbonding");
    const rpc = openRpc({ url: server.url, clock: systemClock });
    await rpc.request("evm_increaseTime", [300]);
    await rpc.request("evm_mine");
    expect(data(await run("a", ["withdraw"]))).toMatchObject({ unbonding: "0", balance: mag(160) });
  });

  test("too little: the tier's least, the account's balance, no wallet", async () => {
    const small = await refused(
      run("b", ["register", "--tier", "cpu", "--bond", "1"]),
      "BOND_TOO_SMALL",
    );
    expect(small).toContain("bond 1 MAG, least 30 MAG");
    await refused(run("b", ["register", "--bond", "5000"]), "INSUFFICIENT_MAG");
    expect(await refused(run("poor", ["register"]), "INSUFFICIENT_MAG")).toContain("holds 0 MAG");
    const amount = await run("a", ["bond", "1e3"]);
    expect([errorDocument(amount).code, amount.code]).toEqual(["BAD_AMOUNT", 2]);
    const none = await run("nobody", ["bond", "1"]);
    expect([errorDocument(none).code, none.code]).toEqual(["NO_KEY", 5]);
  });
});

test("disputes: opened with evidence, listed, shown, refused to vote on from outside", async () => {
  const evidence = path.join(home, "evidence.json");
  fs.writeFileSync(evidence, "{}");
  const accused = account.toLowerCase();
  const epoch = String((data(await run("a", ["params", "show"])) as { epoch: number }).epoch);
  const flags = ["--accused", accused, "--subject", epoch, "--evidence", evidence];
  const opened = data(await run("b", ["dispute", "open", "--offence", "false_tier", ...flags]));
  expect(opened).toMatchObject({
    id: 1,
    offence: "false_tier",
    accused,
    evidence_hash: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    challenger_bond: mag(20),
  });
  const listed = data(await run("b", ["dispute", "list"]));
  expect(listed).toMatchObject({ count: 1, disputes: [{ id: 1, offence: "false_tier" }] });
  expect(data(await run("b", ["dispute", "show", "1"]))).toMatchObject({ id: 1, panel: [] });
  await refused(run("b", ["dispute", "show", "9"]), "UNKNOWN_DISPUTE");
  await refused(run("b", ["dispute", "vote", "1", "--verdict", "guilty"]), "WRONG_PHASE");
});

test("nothing to claim before anything is final", async () => {
  await refused(run("a", ["claim"]), "NOTHING_FINAL");
});

describe("the chain is not what it should be", () => {
  test("no RPC there: down, with the reason; nothing waits", async () => {
    const gone = serveChain(chain);
    const { url } = gone;
    await gone.stop();
    const message = await refused(run("a", ["bond", "1"], url), "RPC_DOWN");
    expect(message).toContain("connection refused");
  });

  test("another chain, and a chain without the ledger", async () => {
    for (const [chain_id, code] of [
      [chain.chain_id + 1, "WRONG_CHAIN"],
      [chain.chain_id, "NOT_DEPLOYED"],
    ] as const) {
      const other = await EmbeddedChain.open({ chain_id });
      const running = serveChain(other);
      await refused(run("a", ["bond", "1"], running.url), code);
      await running.stop();
      await other.close();
    }
  });

  test("no coin for the fee: said, given up, and the same command works once there is some", async () => {
    const costly = await EmbeddedChain.open({ alloc: richAlloc(), fees: "eip1559" });
    const running = serveChain(costly);
    const deploy = (out: string) =>
      magnet(MAIN, home, [
        ...["chain", "deploy", "--network", net, "--out", path.join(home, out)],
        ...["--rpc", running.url, ...inFolder("a")],
      ]);
    const outcome = await deploy("costly.json");
    expect([errorDocument(outcome).code, outcome.code]).toEqual(["INSUFFICIENT_FUNDS", 8]);
    expect(outcome.stderr).toContain("members need some of its coin");
    expect(fs.existsSync(path.join(home, "costly.json"))).toBe(false);
    const queue = new TransactionQueue({
      ...{ rpc: openRpc({ url: running.url, clock: systemClock }), chain_id: costly.chain_id },
      ...{ signer: deployer, file: ":memory:", clock: systemClock },
    });
    queue.submit({ key: "coin", what: "coin", to: account, data: "0x", value: MAG });
    await queue.wait("coin", { poll_ms: 1 });
    await queue.close();
    expect(data(await deploy("costly.json"))).toMatchObject({ resumed: true, transactions: 13 });
    await running.stop();
    await costly.close();
  });
});
