/** The paid API on a real chain, asked by x402's own client. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { decodePaymentResponseHeader } from "@x402/fetch";
import type { LocalAccount } from "viem";
import { hasAnvil } from "../../chain/anvil.ts";
import { fakeModel, piece, RESULT, saying } from "../serve-fixture.ts";
import {
  CHAT,
  type ChainKind,
  chatUrl,
  codeOf,
  customer,
  network,
  type PaidServer,
  PRICE,
  paymentFor,
  post,
  startChain,
  startPaid,
  type TestChain,
} from "./paid-fixture.ts";

let chain: TestChain;
let seller: LocalAccount;
let buyer: LocalAccount;
const servers: PaidServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function start(
  answer = saying("hello", " world"),
  options: Partial<Parameters<typeof startPaid>[2]> = {},
): Promise<PaidServer> {
  const server = await startPaid(chain, await fakeModel(answer), { account: seller, ...options });
  servers.push(server);
  return server;
}

const CHAINS: ChainKind[] = hasAnvil ? ["embedded", "anvil"] : ["embedded"];

describe.each(CHAINS)("a paid request on the chain %s", (kind) => {
  beforeAll(async () => {
    chain = await startChain(kind);
    [seller, buyer] = [await chain.account(0n), await chain.account()];
  });
  afterAll(() => chain.kill());

  test("of x402's own client is answered, and the money has moved", async () => {
    const server = await start();
    const before = await chain.balance(seller.address);
    const response = await customer(chain, buyer)(chatUrl(server), post(CHAT));
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      choices: [{ message: { content: "hello world" } }],
    });
    expect((await chain.balance(seller.address)) - before).toBe(PRICE);
    const settled = decodePaymentResponseHeader(response.headers.get("payment-response")!);
    expect(settled).toMatchObject({ success: true, network, payer: buyer.address.toLowerCase() });
    const receipt = await chain.client.getTransactionReceipt({
      hash: settled.transaction as never,
    });
    expect(receipt.status).toBe("success");
    expect(server.paid.totals()).toEqual({ payments: 1, amount: PRICE, credits: 0 });
  });

  test("without a payment is offered a price, in the API's own form", async () => {
    const server = await start();
    const response = await fetch(chatUrl(server), post(CHAT));
    expect(response.status).toBe(402);
    expect(await codeOf(response)).toBe("payment_required");
    const required = JSON.parse(atob(response.headers.get("payment-required")!));
    expect(required.accepts).toEqual([
      expect.objectContaining({
        ...{ scheme: "exact", network, asset: chain.asset, amount: PRICE.toString() },
        payTo: seller.address,
      }),
    ]);
    const ollama = await fetch(`${server.url}/api/generate`, post({ model: "fake", prompt: "x" }));
    expect(ollama.status).toBe(402);
    expect(await ollama.json()).toEqual({ error: expect.stringContaining("pay") });
  });

  test("a stream's first byte comes before the answer ends", async () => {
    const { promise: gate, resolve: release } = Promise.withResolvers<void>();
    const server = await start(async function* () {
      yield piece("first");
      await gate;
      yield piece("last");
      return RESULT;
    });
    const response = await customer(chain, buyer)(chatUrl(server), post({ ...CHAT, stream: true }));
    const reader = response.body!.getReader();
    const decoder = new TextDecoder();
    let text = "";
    while (!text.includes("first")) text += decoder.decode((await reader.read()).value);
    expect(text).not.toContain("last");
    release();
    for (let next = await reader.read(); !next.done; next = await reader.read())
      text += decoder.decode(next.value);
    expect(text).toContain("last");
    expect(text).toEndWith("data: [DONE]\n\n");
  });

  test("five copies at once run the handler once and pay once", async () => {
    let runs = 0;
    const server = await start(async function* () {
      runs++;
      yield piece("once");
      return RESULT;
    });
    const headers = await paymentFor(chain, buyer, server);
    const before = await chain.balance(seller.address);
    const five = await Promise.all(
      Array.from({ length: 5 }, () => fetch(chatUrl(server), post(CHAT, headers))),
    );
    expect(five.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409, 409]);
    for (const response of five)
      if (response.status === 409)
        expect(["payment_in_use", "payment_answered"]).toContain(await codeOf(response));
    expect(runs).toBe(1);
    expect((await chain.balance(seller.address)) - before).toBe(PRICE);
    const late = await fetch(chatUrl(server), post(CHAT, headers));
    expect([late.status, await codeOf(late)]).toEqual([409, "payment_answered"]);
    expect(runs).toBe(1);
  });

  test("a key of the operator pays nothing; strangers see no metrics of a server with keys", async () => {
    const key = "a-key-of-the-operator";
    const server = await start(saying("free"), { api_keys: [key] });
    const headers = { authorization: `Bearer ${key}` };
    expect((await fetch(chatUrl(server), post(CHAT, headers))).status).toBe(200);
    expect((await fetch(chatUrl(server), post(CHAT))).status).toBe(402);
    const wrong = { authorization: `Bearer ${key}x` };
    expect((await fetch(chatUrl(server), post(CHAT, wrong))).status).toBe(401);
    expect((await fetch(`${server.url}/metrics`)).status).toBe(401);
    expect((await fetch(`${server.url}/metrics`, { headers })).status).toBe(200);
    expect((await fetch(`${server.url}/v1/models`)).status).toBe(200);
    expect(server.paid.totals().payments).toBe(0);
  });
});
