/** Selling and buying answers as people do it: `magnet serve --paid` and `magnet chat --pay`. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { magToken } from "../../build/contracts.ts";
import { addressOf } from "../../src/chain/client/account.ts";
import type { Deployment } from "../../src/chain/client/deployment.ts";
import { EmbeddedChain } from "../../src/chain/embedded/chain.ts";
import { serveChain } from "../../src/chain/embedded/server.ts";
import { toHex } from "../../src/core/bytes.ts";
import { seededRandom } from "../../src/core/random.ts";
import { PRESETS } from "../../src/model/config.ts";
import { randomModelFile } from "../../src/model/random-model.ts";
import { identityOf, newPrivateKey } from "../../src/network/identity.ts";
import { clientsFor, richAlloc } from "../chain/chain-clients.ts";
import { deployForTest } from "../chain/deployed-ledger.ts";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

const random = seededRandom(21);
const keys = [newPrivateKey(random), newPrivateKey(random)] as const;
const [seller, buyer] = keys.map(identityOf) as [
  ReturnType<typeof identityOf>,
  ReturnType<typeof identityOf>,
];
const homes = [makeHome(), makeHome()] as const;
const closers: (() => unknown)[] = [];
let deployment: Deployment;
let url: string;
let document: { paid: { pay_to: string; server: string; price: { request: string } } };
let network: string;
let rpc: string;

async function keep(home: string, key: Uint8Array): Promise<void> {
  const file = path.join(home, "key");
  fs.writeFileSync(file, toHex(key), { mode: 0o600 });
  expect((await magnet(MAIN, home, ["keys", "import", file])).code).toBe(0);
}

beforeAll(async () => {
  const chain = await EmbeddedChain.open({ alloc: richAlloc(), fees: "eip1559" });
  const running = serveChain(chain);
  closers.push(() => running.stop());
  rpc = running.url;
  deployment = await deployForTest({ url: rpc, members: [seller.public_key, buyer.public_key] });
  network = path.join(homes[0], "network.json");
  const file = { schema: "magnet.network/1", id: "paid-test", roster: [seller.public_key] };
  fs.writeFileSync(network, JSON.stringify({ ...file, ledger: deployment }));
  for (const [i, home] of homes.entries()) await keep(home, keys[i]!);
  const config = { ...PRESETS.demo!, vocab_size: 2000, context: 1000 };
  const model = await randomModelFile({ config, folder: homes[0] });
  const args = ["serve", model, "--name", "tiny", "--port", "0", "--json", "--paid"];
  const place = ["--network", network, "--rpc", rpc, "--price", "0.002"];
  const child = Bun.spawn([...MAIN.command, ...args, ...place], {
    env: { PATH: "/usr/bin:/bin", HOME: homes[0] },
    ...({ stdin: "pipe", stdout: "pipe", stderr: "ignore" } as const),
  });
  closers.push(async () => {
    child.kill("SIGKILL");
    await child.exited;
  });
  let shown = "";
  for await (const bytes of child.stdout) {
    shown += new TextDecoder().decode(bytes);
    if (shown.includes("\n")) break;
  }
  document = JSON.parse(shown);
  url = (document as unknown as { url: string }).url;
});
afterAll(async () => {
  for (const close of closers.reverse()) await close();
  for (const home of homes) fs.rmSync(home, { recursive: true, force: true });
});

const PRICE = 2_000_000_000_000_000n;
const chat = (...args: string[]) =>
  magnet(MAIN, homes[1], ["chat", "--url", url, "--max-tokens", "4", ...args]);
const pay = (...args: string[]) => chat("--pay", "--network", network, ...args);
const balance = (of: `0x${string}`) =>
  clientsFor(rpc, deployment.chain_id).client.readContract({
    ...{ abi: magToken.abi, address: deployment.contracts.mag_token },
    ...{ functionName: "balanceOf", args: [of] },
  } as const);

test("the server says what it sells, and to which till", () => {
  expect(document.paid).toMatchObject({
    price: { request: PRICE.toString(), output_token: "0", input_kib: "0" },
    server: addressOf(seller.public_key),
  });
  expect(document.paid.pay_to.toLowerCase()).not.toBe(addressOf(seller.public_key).toLowerCase());
});

test("an answer is paid, shown and entered; the money lies in the till", async () => {
  const buyer_address = addressOf(buyer.public_key);
  const before = await balance(buyer_address);
  const answer = oneDocument(await pay("--prompt", "hello", "--yes", "--json"));
  expect(answer.paid).toMatchObject({ amount: PRICE.toString(), redeemed: false });
  expect(before - (await balance(buyer_address))).toBe(PRICE);
  expect(await balance(document.paid.pay_to as `0x${string}`)).toBe(PRICE);
  const shown = await pay("--prompt", "hello", "--yes");
  expect(shown.stderr).toContain("(paid 0.002 MAG; 0.002 MAG in this chat, 0.004 today)");
});

test("nothing is paid without --pay, without consent, or beyond a limit", async () => {
  const before = await balance(addressOf(buyer.public_key));
  const refused = async (outcome: ReturnType<typeof chat>) => errorDocument(await outcome);
  const asked = ["--prompt", "hello", "--json"];
  expect((await refused(chat(...asked))).code).toBe("PAYMENT_NEEDED");
  expect((await refused(pay(...asked))).code).toBe("PAYMENT_UNASKED");
  const low = await refused(pay(...asked, "--yes", "--max-per-request", "0.001"));
  expect(low.code).toBe("SPENDING_CAP");
  const other = `${deployment.chain_id}:0x${"1".repeat(40)}`;
  expect((await refused(pay(...asked, "--yes", "--pay-token", other))).code).toBe("BAD_OFFER");
  expect((await refused(chat(...asked, "--max-per-day", "1"))).code).toBe("MISSING_FLAG");
  expect(await balance(addressOf(buyer.public_key))).toBe(before);
});

test("a chat ends its turns at the session's limit", async () => {
  const outcome = await magnet(
    MAIN,
    homes[1],
    [
      ...["chat", "--url", url, "--max-tokens", "4", "--pay", "--network", network, "--yes"],
      ...["--max-per-session", "0.004"],
    ],
    { stdin: "one\ntwo\nthree\n" },
  );
  expect(outcome.code).toBe(0);
  expect(outcome.stderr.match(/\(paid 0\.002 MAG/g)).toHaveLength(2);
  expect(outcome.stderr).toContain("in this session; the limit is 0.004");
});

test("prices without --paid, and a network file without a ledger, are named", async () => {
  const serve = (...args: string[]) =>
    magnet(MAIN, homes[0], ["serve", "x.gguf", "--json", ...args]);
  fs.writeFileSync(path.join(homes[0], "x.gguf"), "");
  expect(errorDocument(await serve("--price", "1")).code).toBe("MISSING_FLAG");
  expect(errorDocument(await serve("--paid")).code).toBe("NO_NETWORK_FILE");
  const bare = path.join(homes[0], "bare.json");
  fs.writeFileSync(bare, fs.readFileSync(network, "utf8").replace(/,"ledger".*/, "}"));
  expect(errorDocument(await serve("--paid", "--network", bare)).code).toBe("NO_LEDGER");
  expect(errorDocument(await serve("--paid", "--network", network)).code).toBe("NO_RPC");
  expect(errorDocument(await serve("--paid", "--price", "much")).code).toBe("BAD_AMOUNT");
});
