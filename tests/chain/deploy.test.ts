/**
 * Deploying the ledger on the embedded chain and on anvil: predicted addresses, resumed after an
 * interruption anywhere, verified; nobody administers it afterwards.
 */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { getAddress } from "viem";
import { MAG } from "../../src/chain/amounts.ts";
import { addressOf } from "../../src/chain/client/account.ts";
import { type DeployOptions, deployLedger } from "../../src/chain/client/deploy-ledger.ts";
import { deploymentSchema } from "../../src/chain/client/deployment.ts";
import { Ledger } from "../../src/chain/client/ledger.ts";
import { openRpc } from "../../src/chain/client/rpc.ts";
import { TransactionQueue } from "../../src/chain/client/transaction-queue.ts";
import { verifyDeployment } from "../../src/chain/client/verify-deployment.ts";
import { DEFAULT_GOVERNANCE, defaultValues } from "../../src/chain/default-values.ts";
import { EmbeddedChain } from "../../src/chain/embedded/chain.ts";
import { serveChain } from "../../src/chain/embedded/server.ts";
import { systemClock } from "../../src/core/clock.ts";
import { MagnetError } from "../../src/core/errors.ts";
import { identityOf } from "../../src/network/identity.ts";
import { hasAnvil, startAnvil } from "./anvil.ts";
import { KEYS, richAlloc } from "./chain-clients.ts";

const signer = identityOf(new Uint8Array(Buffer.from(KEYS[0]!.slice(2), "hex")));
const from = addressOf(signer.public_key);
const MEMBER = getAddress("0x00000000000000000000000000000000000000aa");
const folders: string[] = [];
const newFolder = () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-deploy-"));
  folders.push(folder);
  return folder;
};
const closers: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const close of closers) await close();
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true });
});

async function embedded(): Promise<string> {
  const chain = await EmbeddedChain.open({ alloc: richAlloc(), fees: "eip1559" });
  const server = serveChain(chain);
  closers.push(async () => {
    await server.stop();
    await chain.close();
  });
  return server.url;
}

async function anvil(): Promise<string> {
  const { url, stop } = await startAnvil();
  closers.push(stop);
  return url;
}

const optionsFor = (url: string): DeployOptions => ({
  rpc: openRpc({ url, clock: systemClock }),
  signer,
  clock: systemClock,
  folder: newFolder(),
  epoch_seconds: 20,
  block_randomness: false,
  values: defaultValues(20),
  governance: DEFAULT_GOVERNANCE,
  genesis_supply: 1000n * MAG,
  grants: [{ to: MEMBER, mag: 400n * MAG, coin: 5n }],
  poll_ms: 1,
});

async function failure(promise: Promise<unknown>): Promise<MagnetError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof MagnetError)) throw error ?? new Error("it did not fail");
  return error;
}

async function deploysAndVerifies(url: string) {
  const options = optionsFor(url);
  const { deployment, transactions, resumed } = await deployLedger(options);
  expect(deploymentSchema.parse(deployment)).toEqual(deployment);
  expect([transactions, resumed]).toEqual([13, false]);
  const ledger = new Ledger(options.rpc, deployment);
  expect(await ledger.read("magToken", "balanceOf", [MEMBER])).toBe(400n * MAG);
  expect(await ledger.read("magToken", "balanceOf", [from])).toBe(0n);
  expect(await ledger.read("magToken", "balanceOf", [ledger.address("timelock")])).toBe(600n * MAG);
  expect(BigInt(await options.rpc.request<string>("eth_getBalance", [MEMBER, "latest"]))).toBe(5n);
  const values = await ledger.read("params", "valuesAt", [0n]);
  expect(values.tierBonds).toEqual(options.values.tierBonds);
  // Nobody but the timelock may change values, and the deployer has no way into it.
  const schedule = ledger.call("params", "schedule", [values]);
  expect((await failure(ledger.simulate(schedule, from))).code).toBe("NOT_OWNER");
  const zero = `0x${"00".repeat(32)}` as const;
  const call = ledger.call("timelock", "schedule", [
    schedule.to,
    0n,
    schedule.data,
    zero,
    zero,
    86_400n,
  ]);
  expect((await failure(ledger.simulate(call, from))).code).toBe(
    "ACCESS_CONTROL_UNAUTHORIZED_ACCOUNT",
  );
  // A second one beside it does not mix with the first.
  const second = await deployLedger({ ...options, folder: newFolder(), grants: [] });
  const mixed = structuredClone(deployment);
  mixed.contracts.disputes = second.deployment.contracts.disputes;
  expect((await failure(verifyDeployment(new Ledger(options.rpc, mixed)))).code).toBe(
    "LEDGER_DIFFERS",
  );
  mixed.contracts.disputes = deployment.contracts.nodes;
  expect((await failure(verifyDeployment(new Ledger(options.rpc, mixed)))).message).toContain(
    "is not this program's disputes",
  );
}

describe("on the embedded chain", () => {
  test("deploys, verifies, and leaves nobody with rights", async () => {
    await deploysAndVerifies(await embedded());
  });

  test("interrupted after any step, the next run goes on at the same addresses", async () => {
    const url = await embedded();
    for (const stop_at of [1, 9, 12]) {
      const options = optionsFor(url);
      const abort = new AbortController();
      let wanted: string[] = [];
      const interrupted = deployLedger({
        ...options,
        signal: abort.signal,
        onProgress(done) {
          if (done === stop_at) abort.abort(new MagnetError("STOPPED", "stopped"));
          abort.signal.throwIfAborted();
        },
      });
      expect((await failure(interrupted)).code).toBe("STOPPED");
      const plan = JSON.parse(
        fs.readFileSync(path.join(options.folder, "deploy-plan.json"), "utf8"),
      );
      wanted = [plan.first_nonce, plan.genesis];
      // Other options are not mixed into it; and losing the queue's file loses nothing.
      const other = { ...options, genesis_supply: 999n * MAG };
      expect((await failure(deployLedger(other))).code).toBe("DEPLOYMENT_UNFINISHED");
      if (stop_at === 9)
        for (const file of fs.readdirSync(options.folder))
          if (file.includes("sqlite")) fs.rmSync(path.join(options.folder, file));
      const { deployment, resumed } = await deployLedger(options);
      expect(resumed).toBe(true);
      expect(deployment.genesis).toBe(Number(wanted[1]));
      const ledger = new Ledger(options.rpc, deployment);
      expect(await ledger.read("magToken", "balanceOf", [MEMBER])).toBe(400n * MAG);
      expect(fs.existsSync(path.join(options.folder, "deploy-plan.json"))).toBe(false);
    }
  });

  test("a value out of bounds is named before anything is sent; too large grants are refused", async () => {
    const options = optionsFor(await embedded());
    const values = { ...options.values, challengeSeconds: 4000 };
    const error = await failure(deployLedger({ ...options, values }));
    expect([error.code, error.exit]).toEqual(["OUT_OF_BOUNDS", "chain"]);
    expect(error.message).toContain("field challengeSeconds");
    const nonce = await options.rpc.request<string>("eth_getTransactionCount", [from, "latest"]);
    expect(Number(nonce)).toBe(0);
    const grants = [{ to: MEMBER, mag: 1001n * MAG, coin: 0n }];
    expect((await failure(deployLedger({ ...options, grants, anew: true }))).code).toBe(
      "GRANTS_TOO_LARGE",
    );
  });

  test("another transaction of the account in between: said, and --anew begins again", async () => {
    const url = await embedded();
    const options = optionsFor(url);
    const queue = new TransactionQueue({
      ...options,
      chain_id: Number(await options.rpc.request("eth_chainId")),
      file: ":memory:",
    });
    queue.submit({ key: "other", what: "other", to: MEMBER, data: "0x" });
    const abort = new AbortController();
    abort.abort(new MagnetError("STOPPED", "stopped"));
    // The plan is made, nothing is mined; then another program uses its first nonce.
    const stopped = deployLedger({
      ...options,
      onProgress: () => abort.signal.throwIfAborted(),
      rpc: {
        ...options.rpc,
        async request<T>(method: string, params?: readonly unknown[]): Promise<T> {
          if (method === "eth_call") abort.signal.throwIfAborted();
          return await options.rpc.request<T>(method, params);
        },
      },
    });
    expect((await failure(stopped)).code).toBe("STOPPED");
    await queue.wait("other", { poll_ms: 1 });
    await queue.close();
    expect((await failure(deployLedger(options))).code).toBe("NONCE_TAKEN");
    const { resumed } = await deployLedger({ ...options, anew: true });
    expect(resumed).toBe(false);
  });
});

describe.if(hasAnvil)("on anvil", () => {
  test("deploys, verifies, and leaves nobody with rights", async () => {
    await deploysAndVerifies(await anvil());
  });
});
