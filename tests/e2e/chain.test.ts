/**
 * `magnet chain host` with nothing but the binary, the repository hidden and HOME empty: a contract
 * deployed and called, the chain killed and opened again, its log verified, and clear refusals.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import { privateKeyToAccount } from "viem/accounts";
import { clientsFor, KEYS } from "../chain/chain-clients.ts";
import { Place } from "./binary.ts";

const account = privateKeyToAccount(KEYS[0]!);
/** Returns 42 to whoever calls. */
const FORTY_TWO = "0x600a600c600039600a6000f3602a60005260206000f3";
let place: Place;
let host: ReturnType<Place["start"]>;
let contract: `0x${string}` | null | undefined;

async function start(args: string[] = []): Promise<string> {
  host = place.start(["chain", "host", "--listen", "127.0.0.1:0", "--json", ...args]);
  const reader = host.stdout.getReader();
  const { value } = await reader.read();
  if (value === undefined) throw new Error(await new Response(host.stderr).text());
  reader.releaseLock();
  return (JSON.parse(new TextDecoder().decode(value)) as { url: string }).url;
}

beforeAll(() => {
  place = new Place();
});
afterAll(() => {
  host.kill("SIGKILL");
  place.remove();
});

test("a contract deployed and called, there again after kill -9, and verified", async () => {
  const first = clientsFor(await start(["--alloc", `${account.address}=5`]), 31_337);
  const hash = await first.wallet.deployContract({ abi: [], bytecode: FORTY_TWO, account });
  ({ contractAddress: contract } = await first.client.getTransactionReceipt({ hash }));
  host.kill("SIGKILL");
  await host.exited;
  const { client } = clientsFor(await start(), 31_337);
  const { data } = await client.call({ to: contract! });
  expect(BigInt(data!)).toBe(42n);
  expect(await client.getBalance({ address: account.address })).toBe(5n);
  expect(await place.failure(["chain", "verify"])).toMatchObject({ code: "CHAIN_IN_USE" });
  host.kill("SIGTERM");
  expect(await host.exited).toBe(0);
  expect(await place.json(["chain", "verify"])).toMatchObject({ blocks: 2, transactions: 1 });
}, 60_000);

test("one clear error for what cannot be", async () => {
  const chain = (...args: string[]) => place.failure(["chain", "host", ...args]);
  const free = ["--listen", "127.0.0.1:0"];
  expect(await chain(...free, "--chain-id", "7")).toMatchObject({ code: "CHAIN_DIFFERS" });
  expect(await chain(...free, "--alloc", "0x12=1")).toMatchObject({ code: "NOT_FOUND" });
  fs.writeFileSync(place.at("alloc.json"), '{"0x12": "1"}');
  expect(await chain(...free, "--alloc", "alloc.json")).toMatchObject({ code: "BAD_GENESIS" });
  expect(await chain(...free, "--alloc", "/dev/zero")).toMatchObject({ code: "NOT_A_FILE" });
  expect(await chain("--listen", "somewhere")).toEqual({ code: "BAD_VALUE", exit: 2 });
  expect(await chain("--listen", "0.0.0.0:0")).toEqual({ code: "KEY_NEEDED", exit: 3 });
  const elsewhere = ["--data-dir", place.at("nowhere")];
  expect(await place.failure(["chain", "verify", ...elsewhere])).toMatchObject({
    code: "NOT_FOUND",
  });
}, 60_000);
