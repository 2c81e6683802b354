/**
 * `magnet chain claim` against a settled epoch, and a dispute from its accusation to its verdict, as
 * users run them; time passes by the chain's clock.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { addressOf, signDigest } from "../../src/chain/client/account.ts";
import { Ledger } from "../../src/chain/client/ledger.ts";
import { openRpc, type Rpc } from "../../src/chain/client/rpc.ts";
import { TransactionQueue } from "../../src/chain/client/transaction-queue.ts";
import { EmbeddedChain } from "../../src/chain/embedded/chain.ts";
import { type RunningChain, serveChain } from "../../src/chain/embedded/server.ts";
import { NO_ROOT } from "../../src/chain/ledger/digests.ts";
import { NO_RECORD, sealRecord } from "../../src/chain/ledger/epoch-record.ts";
import type { Address } from "../../src/chain/ledger/ledger-types.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { Hash } from "../../src/core/types.ts";
import { identityOf } from "../../src/network/identity.ts";
import { KEYS, richAlloc } from "../chain/chain-clients.ts";
import { deployForTest } from "../chain/deployed-ledger.ts";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

/** Long windows: commands take as long as they take, and time passes by evm_increaseTime only. */
const EPOCH_S = 6000;
const NAMES = ["notary", "accused", "challenger"] as const;
type Name = (typeof NAMES)[number];
const keys = Object.fromEntries(NAMES.map((name, i) => [name, KEYS[i + 1]!.slice(2)]));
const identities = Object.fromEntries(
  NAMES.map((name) => [name, identityOf(new Uint8Array(Buffer.from(keys[name]!, "hex")))]),
) as Record<Name, ReturnType<typeof identityOf>>;
const accountOf = (name: Name) => addressOf(identities[name].public_key).toLowerCase() as Address;

let home: string;
let chain: EmbeddedChain;
let server: RunningChain;
let rpc: Rpc;
let ledger: Ledger;

const run = (name: string, args: string[]) =>
  magnet(MAIN, home, [
    ...["chain", ...args, "--rpc", server.url, "--network", path.join(home, "net.json")],
    ...["--data-dir", path.join(home, name), "--json"],
  ]);
const done = async (name: string, args: string[]) => oneDocument(await run(name, args));
async function pass(seconds: number): Promise<void> {
  await rpc.request("evm_increaseTime", [seconds]);
  await rpc.request("evm_mine");
}

beforeAll(async () => {
  home = makeHome();
  chain = await EmbeddedChain.open({ alloc: richAlloc(), fees: "free", allow_time_travel: true });
  server = serveChain(chain);
  rpc = openRpc({ url: server.url, clock: systemClock });
  const roster = NAMES.map((name) => identities[name].public_key);
  const deployment = await deployForTest({
    url: server.url,
    members: roster,
    epoch_seconds: EPOCH_S,
  });
  ledger = new Ledger(rpc, deployment);
  const network = { schema: "magnet.network/1", id: "lab", roster, ledger: deployment };
  fs.writeFileSync(path.join(home, "net.json"), JSON.stringify(network));
  for (const name of NAMES)
    await magnet(MAIN, home, ["keys", "import", "-", "--data-dir", path.join(home, name)], {
      stdin: keys[name]!,
    });
  for (const name of ["notary", "accused"]) await done(name, ["register", "--tier", "cpu"]);
  await done("notary", ["seat", "take"]);
});
afterAll(async () => {
  await server.stop();
  await chain.close();
  fs.rmSync(home, { recursive: true, force: true });
});

/** The notary settles epoch 0 with everything for the accused; returns the record's bytes. */
async function settleEpoch0(): Promise<{ bytes: Uint8Array; total: bigint }> {
  const start = ledger.deployment.genesis + EPOCH_S;
  const { commitSeconds, revealSeconds } = await ledger.read("params", "current", []);
  await pass(start + commitSeconds + revealSeconds - (await ledger.time()) + 1);
  const total = await ledger.read("epochs", "poolOf", [0n]);
  const address = accountOf("accused");
  const points = [0n, 1n, 0n, 0n, 0n];
  const result_hash = "ab".repeat(32) as Hash;
  const { chain_id, contracts } = ledger.deployment;
  const { bytes, outcome } = sealRecord({
    ...{ version: 1, chain_id, contract: contracts.epochs as Address, epoch: 0 },
    ...{ previous: NO_RECORD, parent: NO_ROOT, evaluated_round: -1 },
    entries: [{ address, tier: "cpu_only", result_hash, points, score: 1n, reward: total }],
    accounts: [{ address, cumulative: total, last_round: -1 }],
  });
  const { root, count, data_hash } = outcome;
  const args = [0n, root, total, BigInt(count), `0x${data_hash}`] as const;
  const digest = await ledger.read("epochs", "settlementDigest", [...args]);
  const signer = identities.notary;
  const queue = new TransactionQueue({
    ...{ rpc, chain_id, signer, file: ":memory:", clock: systemClock },
  });
  const settle = ledger.call("epochs", "settle", [...args, [signDigest(signer, digest)]]);
  queue.submit({ key: "settle", ...settle });
  const { state, reason } = await queue.wait("settle", { poll_ms: 1 });
  expect([state, reason]).toEqual(["mined", null]);
  await queue.close();
  return { bytes, total };
}

test("claim: by the record of the newest final epoch, named or kept, once", async () => {
  const { bytes, total } = await settleEpoch0();
  const file = path.join(home, "record.json");
  fs.writeFileSync(file, bytes);
  expect(errorDocument(await run("accused", ["claim"])).code).toBe("NOTHING_FINAL");
  const { challengeSeconds } = await ledger.read("params", "current", []);
  await pass(challengeSeconds + 1);

  expect(errorDocument(await run("accused", ["claim"])).code).toBe("NO_RECORD");
  const other = path.join(home, "other.json");
  fs.writeFileSync(other, "{}");
  const wrong = await run("accused", ["claim", "--record", other]);
  expect([errorDocument(wrong).code, wrong.code]).toEqual(["RECORD_DIFFERS", 6]);

  // Anyone may claim for an account; an account that earned nothing is told so.
  const account = ["--account", identities.accused.public_key];
  const paid = await done("challenger", ["claim", ...account, "--record", file]);
  const cumulative = String(total);
  expect(paid).toMatchObject({
    account: accountOf("accused"),
    epoch: 0,
    paid: cumulative,
    cumulative,
  });
  expect((paid.transactions as unknown[]).length).toBe(1);
  const again = await done("accused", ["claim", "--record", file]);
  expect(again).toMatchObject({ paid: "0", cumulative, transactions: [] });
  expect(await done("notary", ["claim", "--record", file])).toMatchObject({
    paid: "0",
    cumulative: "0",
  });

  // A node's store holds it under its hash.
  const hash = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
  const kept = path.join(home, "notary/store/blobs", hash.slice(0, 2), hash);
  fs.mkdirSync(path.dirname(kept), { recursive: true });
  fs.writeFileSync(kept, bytes);
  expect(await done("notary", ["claim"])).toMatchObject({ epoch: 0, paid: "0" });
});

test("a dispute: opened, its panel drawn, voted, opened, counted; the accused is slashed", async () => {
  const evidence = path.join(home, "evidence");
  fs.writeFileSync(evidence, "proof");
  const epoch = await ledger.read("params", "currentEpoch", [], "pending");
  const opened = await done("challenger", [
    ...["dispute", "open", "--offence", "false_tier", "--accused", accountOf("accused")],
    ...["--subject", String(epoch), "--evidence", evidence],
  ]);
  expect(opened).toMatchObject({ id: 1, phase: "drawing" });
  const vote = (name: string, verdict = "guilty") =>
    run(name, ["dispute", "vote", "1", "--verdict", verdict]);
  expect(errorDocument(await vote("notary")).code).toBe("WRONG_PHASE");
  await pass(1);
  expect(await done("challenger", ["dispute", "advance", "1"])).toMatchObject({
    phase: "vote_commit",
  });
  const shown = await done("notary", ["dispute", "show", "1"]);
  expect((shown.panel as string[]).map((one) => one.toLowerCase())).toEqual([accountOf("notary")]);

  expect(errorDocument(await vote("challenger")).code).toBe("NOT_ON_PANEL");
  expect(oneDocument(await vote("notary"))).toMatchObject({ vote: "committed" });
  // All of the panel have voted: votes are opened at once.
  expect(errorDocument(await vote("notary", "innocent")).code).toBe("VOTE_DOES_NOT_MATCH");
  expect(oneDocument(await vote("notary"))).toMatchObject({ vote: "revealed", verdict: "guilty" });
  const bond = (await ledger.read("nodes", "nodeOf", [accountOf("accused")])).bond;
  const ended = await done("challenger", ["dispute", "advance", "1"]);
  expect(ended).toMatchObject({ phase: "guilty", guilty_votes: 1 });
  const left = (await ledger.read("nodes", "nodeOf", [accountOf("accused")])).bond;
  expect(left).toBe((bond * 7n) / 10n);
  expect(errorDocument(await run("challenger", ["dispute", "advance", "1"])).code).toBe(
    "WRONG_PHASE",
  );
});
