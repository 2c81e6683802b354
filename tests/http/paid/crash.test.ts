/** Paid servers that are killed at the worst moments: nothing is lost, and nothing is paid twice. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import path from "node:path";
import type { LocalAccount } from "viem";
import { generatePrivateKey } from "viem/accounts";
import { isSignedCredit } from "../../../src/http/paid/credits.ts";
import { until } from "../serve-fixture.ts";
import {
  authorizationIn,
  CHAIN_ID,
  CHAT,
  chatUrl,
  codeOf,
  PRICE,
  paymentFor,
  post,
  startChain,
  type TestChain,
  temporaryFolder,
} from "./paid-fixture.ts";

let chain: TestChain;
let seller: LocalAccount;
let buyer: LocalAccount;
const key = generatePrivateKey();
beforeAll(async () => {
  chain = await startChain("anvil");
  [seller, buyer] = [await chain.account(0n, "1", key), await chain.account()];
});
const children: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const kill of children.splice(0)) await kill(); // also where a test failed half-way
});
afterAll(() => chain.kill());

interface Child {
  url: string;
  /** How often the handler ran. */
  runs(): number;
  kill(): Promise<void>;
}

async function start(data_dir: string, hang: boolean): Promise<Child> {
  const facts = { rpc_url: chain.url, asset: chain.asset, key, data_dir, hang };
  const child = Bun.spawn([process.execPath, path.join(import.meta.dir, "paid-process.ts")], {
    env: { ...process.env, PAID_PROCESS: JSON.stringify(facts) },
    stdout: "pipe",
    stderr: "inherit",
  });
  let text = "";
  const decoder = new TextDecoder();
  void (async () => {
    for await (const bytes of child.stdout) text += decoder.decode(bytes, { stream: true });
  })();
  const kill = async () => {
    child.kill("SIGKILL");
    await child.exited;
  };
  children.push(kill);
  const url = () => /^ready (\S+)$/m.exec(text)?.[1];
  await until(() => url() !== undefined || child.exitCode !== null);
  return {
    url: url()!,
    runs: () => text.match(/^run$/gm)?.length ?? 0,
    kill,
  };
}

/** What the server says of a payment. */
async function creditOf(server: Child, headers: Record<string, string>) {
  const { from, nonce } = authorizationIn(headers);
  const response = await fetch(`${server.url}/x402/credits/${from.toLowerCase()}/${nonce}`);
  return (await response.json()) as { state: string; credit: object | null };
}

describe("kill -9", () => {
  test("between settling and answering: the answer is owed, signed, and given once", async () => {
    const data_dir = temporaryFolder();
    const first = await start(data_dir, true);
    const headers = await paymentFor(chain, buyer, first);
    const before = await chain.balance(seller.address);
    const lost = fetch(chatUrl(first), post(CHAT, headers)).catch(() => "lost");
    await until(() => first.runs() === 1); // the handler runs: the money has moved
    await first.kill();
    expect(await lost).toBe("lost");
    const second = await start(data_dir, false);
    const { state, credit } = await creditOf(second, headers);
    expect(state).toBe("credit");
    const place = { chain_id: CHAIN_ID, asset: chain.asset, server: seller.address };
    expect(await isSignedCredit(place, credit)).toBe(true);
    expect(await isSignedCredit({ ...place, server: buyer.address }, credit)).toBe(false);
    // Another request with the same payment gets nothing: authorizations are public on the chain.
    const other = { ...CHAT, messages: [{ role: "user", content: "something else" }] };
    const stolen = await fetch(chatUrl(second), post(other, headers));
    expect([stolen.status, await codeOf(stolen)]).toEqual([409, "payment_owed"]);
    expect(stolen.headers.get("magnet-credit")).not.toBeNull();
    // The same request again, as any client repeats it, five times at once.
    const five = await Promise.all(
      Array.from({ length: 5 }, () => fetch(chatUrl(second), post(CHAT, headers))),
    );
    expect(five.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409, 409]);
    expect(second.runs()).toBe(1);
    expect((await creditOf(second, headers)).state).toBe("answered");
    expect((await chain.balance(seller.address)) - before).toBe(PRICE);
    await second.kill();
  });

  test("between sending the payment and its confirmation: found on the chain, and owed", async () => {
    const data_dir = temporaryFolder();
    const first = await start(data_dir, false);
    const headers = await paymentFor(chain, buyer, first);
    const before = await chain.balance(seller.address);
    await chain.rpc("evm_setAutomine", [false]);
    try {
      const lost = fetch(chatUrl(first), post(CHAT, headers)).catch(() => "lost");
      const { address } = seller;
      const mined = await chain.client.getTransactionCount({ address });
      let sent = mined;
      while (sent === mined)
        sent = await chain.client.getTransactionCount({ address, blockTag: "pending" });
      await first.kill();
      expect(await lost).toBe("lost");
      expect(first.runs()).toBe(0);
      await chain.rpc("evm_mine");
    } finally {
      await chain.rpc("evm_setAutomine", [true]);
    }
    const second = await start(data_dir, false);
    expect((await creditOf(second, headers)).state).toBe("credit");
    const again = await fetch(chatUrl(second), post(CHAT, headers));
    expect(again.status).toBe(200);
    expect((await chain.balance(seller.address)) - before).toBe(PRICE);
    await second.kill();
  });
});
