/** The customer's side: what is paid, what is refused to be paid, credits and receipts. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import path from "node:path";
import type { LocalAccount } from "viem";
import { receiptPayment } from "../../../src/chain/receipts/receipt-payment.ts";
import { ReceiptStore, receiptFile } from "../../../src/chain/receipts/receipt-store.ts";
import {
  checkedReceipt,
  receiptOfFact,
  servingFact,
  signReceipt,
} from "../../../src/chain/receipts/serving-receipt.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { MagnetError } from "../../../src/core/errors.ts";
import { streamCompletion } from "../../../src/http/completion-client.ts";
import { type BuyerOptions, PurchaseOfAnswer } from "../../../src/http/pay/buyer.ts";
import { readOffer } from "../../../src/http/pay/payment-offer.ts";
import { SpendingBook } from "../../../src/http/pay/spending-book.ts";
import type { ServedModel } from "../../../src/http/serve/served-model.ts";
import { rejection } from "../../native/rejection.ts";
import { fakeModel, saying } from "../serve-fixture.ts";
import {
  CHAIN_ID,
  CHAT,
  type PaidServer,
  PRICE,
  startChain,
  startPaid,
  type TestChain,
  temporaryFolder,
} from "./paid-fixture.ts";

let chain: TestChain;
let seller: LocalAccount;
let buyer: LocalAccount;
beforeAll(async () => {
  chain = await startChain();
  [seller, buyer] = [await chain.account(0n), await chain.account()];
});
afterAll(() => chain.kill());
const servers: PaidServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});
async function start(answer: ServedModel["answer"], options: object = {}): Promise<PaidServer> {
  const server = await startPaid(chain, await fakeModel(answer), { account: seller, ...options });
  servers.push(server);
  return server;
}

const caps = { per_request: 2n * PRICE, per_session: 10n * PRICE, per_day: 20n * PRICE };
function options(changes: Partial<BuyerOptions> = {}): BuyerOptions & { warnings: string[] } {
  const warnings: string[] = [];
  return {
    ...{ account: buyer, caps, session: "s", clock: systemClock, warnings },
    allowed: { chain_id: CHAIN_ID, asset: chain.asset.toLowerCase() },
    book: new SpendingBook(":memory:"),
    consent: async () => true,
    warn: (text) => void warnings.push(text),
    ...changes,
  };
}

/** One answer through the client that `magnet chat` uses. */
async function ask(server: { url: string }, how: BuyerOptions, body: object = CHAT) {
  const purchase = new PurchaseOfAnswer(how);
  const fetch = (url: string, init: RequestInit) => purchase.fetch(url, init);
  const signal = new AbortController().signal;
  const pieces = streamCompletion({ url: server.url, fetch }, body as never, signal);
  let text = "";
  for (;;) {
    const next = await pieces.next();
    if (next.done) return { text, end: next.value, purchase };
    text += next.value;
  }
}
const codeOf = async (work: Promise<unknown>) => ((await rejection(work)) as MagnetError).code;

describe("a purchase", () => {
  test("pays, signs a receipt that the server keeps, and enters both", async () => {
    const server = await start(saying("a", "b", "c"));
    const how = options();
    const { text, end, purchase } = await ask(server, how);
    expect(text).toBe("abc");
    await purchase.answered(6);
    expect(how.warnings).toEqual([]);
    expect(end.completion_tokens).toBe(3);
    expect(purchase.paid).toMatchObject({ amount: PRICE, redeemed: false });
    const [kept] = how.book.list(10);
    expect(kept).toMatchObject({ state: "paid", amount: PRICE.toString(), receipt_sent: 1 });
    const store = new ReceiptStore(receiptFile(server.data_dir));
    const { receipt } = (await store.after(0, seller.address))[0]!;
    store.close();
    expect(receipt).toEqual(JSON.parse(kept!.receipt!));
    expect(receipt).toMatchObject({
      ...{ server: seller.address.toLowerCase(), payer: buyer.address.toLowerCase() },
      ...{ tokens: 6, nonce: purchase.paid!.nonce },
    });
    const { chain_id, asset, server: by } = receipt;
    const again = receiptOfFact({ chain_id, asset, server: by }, servingFact(receipt));
    expect(await checkedReceipt(again)).toEqual(receipt);
    const place = { pay_to: seller.address, from_block: 0n };
    const { transaction } = purchase.paid!;
    expect(await receiptPayment(chain.client, receipt, place)).toEqual({
      paid: expect.objectContaining({ amount: PRICE, transaction }),
    });
    expect(
      await receiptPayment(chain.client, receipt, { ...place, pay_to: buyer.address }),
    ).toEqual({
      unpaid: "its authorization paid somebody else",
    });
  });

  test("ends at each limit before anything is signed, also across processes and sessions", async () => {
    const server = await start(saying("x"));
    const before = await chain.balance(buyer.address);
    const file = path.join(temporaryFolder(), "book.sqlite");
    const two = { per_request: PRICE, per_session: 2n * PRICE, per_day: 3n * PRICE };
    const in_session = (session: string) =>
      options({ book: new SpendingBook(file), caps: two, session });
    await ask(server, in_session("a"));
    await ask(server, in_session("a"));
    expect(await codeOf(ask(server, in_session("a")))).toBe("SPENDING_CAP");
    await ask(server, in_session("b"));
    const today = (await rejection(ask(server, in_session("b")))) as MagnetError;
    expect([today.code, today.message]).toEqual(["SPENDING_CAP", expect.stringContaining("today")]);
    const tomorrow = { now_ms: () => Date.now() + 86_400_000 };
    const book = new SpendingBook(file);
    expect(() => book.check(PRICE, two, "c", tomorrow.now_ms())).not.toThrow();
    const dear = options({ caps: { ...caps, per_request: PRICE - 1n } });
    expect(await codeOf(ask(server, dear))).toBe("SPENDING_CAP");
    expect(before - (await chain.balance(buyer.address))).toBe(3n * PRICE);
  });

  test("is declined, or asked for in another token, and then nothing is signed", async () => {
    const server = await start(saying("x"));
    const before = await chain.balance(buyer.address);
    expect(await codeOf(ask(server, options({ consent: async () => false })))).toBe(
      "PAYMENT_DECLINED",
    );
    for (const allowed of [
      { chain_id: CHAIN_ID, asset: seller.address.toLowerCase() },
      { chain_id: 1, asset: chain.asset.toLowerCase() },
    ])
      expect(await codeOf(ask(server, options({ allowed })))).toBe("BAD_OFFER");
    expect(await chain.balance(buyer.address)).toBe(before);
  });

  test("is made once where the connection breaks after the payment", async () => {
    const server = await start(saying("after all"));
    let sent = 0;
    const flaky: typeof fetch = Object.assign(
      async (input: string | URL | Request, init?: RequestInit) => {
        const paying = new Headers(init?.headers).has("payment-signature");
        if (paying && ++sent === 1) throw new Error("the network went away");
        return fetch(input, init);
      },
      { preconnect: fetch.preconnect },
    );
    const before = await chain.balance(buyer.address);
    const { text } = await ask(server, options({ fetch: flaky }));
    expect([text, sent]).toEqual(["after all", 2]);
    expect(before - (await chain.balance(buyer.address))).toBe(PRICE);
  });

  test("uses what the server owes before it pays again", async () => {
    let broken = true;
    const server = await start((request) => {
      if (broken) throw new MagnetError("BROKEN", "no answer");
      return saying("owed")(request);
    });
    const how = options();
    const before = await chain.balance(buyer.address);
    expect(await codeOf(ask(server, how))).toBe("SERVER_REFUSED");
    expect(how.book.list(1)[0]!.credit).not.toBeNull();
    broken = false;
    const { text, purchase } = await ask(server, how, { ...CHAT, max_tokens: 9 });
    expect([text, purchase.paid?.redeemed]).toEqual(["owed", true]);
    expect(how.book.list(1)[0]!.credit).toBeNull();
    expect(before - (await chain.balance(buyer.address))).toBe(PRICE);
    const next = await ask(server, how);
    expect(next.purchase.paid?.redeemed).toBe(false);
  });

  test("claims the credit of a stream that broke", async () => {
    let broken = true;
    const server = await start(async function* (request) {
      yield* saying("begun")(request);
      if (broken) throw new Error("the engine broke");
      return (await saying("x")(request).next()).value as never;
    });
    const how = options();
    const purchase = new PurchaseOfAnswer(how);
    const body = JSON.stringify({ ...CHAT, stream: true });
    const response = await purchase.fetch(`${server.url}/v1/chat/completions`, {
      method: "POST",
      body,
    });
    await response.text();
    expect(await purchase.failed()).toBe(true);
    expect(how.book.list(1)[0]!.credit).not.toBeNull();
    broken = false;
  });
});

describe("an offer", () => {
  const accepts = (changes: object = {}, extra: object = {}) => ({
    ...{
      scheme: "exact",
      network: `eip155:${CHAIN_ID}`,
      amount: "1",
      payTo: `0x${"1".repeat(40)}`,
    },
    ...{ asset: `0x${"2".repeat(40)}`, maxTimeoutSeconds: 60 },
    extra: { name: "Magnet", version: "1", ...extra },
    ...changes,
  });
  const allowed = { chain_id: CHAIN_ID, asset: `0x${"2".repeat(40)}` };
  const header = (...offers: object[]) =>
    btoa(JSON.stringify({ x402Version: 2, accepts: offers, resource: { url: "x" } }));

  test("is taken where it is the allowed token's, among others too", () => {
    const other = accepts({ network: "solana:x", asset: "y" });
    expect(readOffer(header(other, accepts()), allowed)).toMatchObject({ amount: 1n });
  });

  test("of any other kind is refused", () => {
    for (const bad of [
      accepts({ scheme: "upto" }),
      accepts({ amount: "0" }),
      accepts({ amount: "-1" }),
      accepts({ amount: "1e3" }),
      accepts({ payTo: "0x1" }),
      accepts({ maxTimeoutSeconds: 100_000 }),
      accepts({}, { name: "USD Coin" }),
      accepts({}, { assetTransferMethod: "permit2" }),
    ])
      expect(() => readOffer(header(bad), allowed)).toThrow(MagnetError);
    for (const text of ["", "x", btoa("{}"), "A".repeat(100_000)])
      expect(() => readOffer(text, allowed)).toThrow("in no form of x402");
  });
});

describe("a serving receipt", () => {
  const unsigned = () => ({
    ...{ chain_id: CHAIN_ID, asset: chain.asset.toLowerCase(), tokens: 3 },
    server: seller.address.toLowerCase(),
    payer: buyer.address.toLowerCase(),
    nonce: `0x${"1".repeat(64)}`,
  });

  test("is the payer's for exactly these facts", async () => {
    const receipt = await signReceipt(unsigned(), buyer as never);
    expect(await checkedReceipt(receipt)).toEqual(receipt);
    for (const change of [
      { tokens: 4 },
      { nonce: `0x${"2".repeat(64)}` },
      { chain_id: 5 },
      { server: buyer.address.toLowerCase() },
      { payer: seller.address.toLowerCase() },
      { extra: 1 },
      { signature: `${receipt.signature.slice(0, -2)}00` },
    ])
      expect(await codeOf(checkedReceipt({ ...receipt, ...change }))).toBe("BAD_RECEIPT");
    const r = receipt.signature.slice(2, 66);
    const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
    const s = (order - BigInt(`0x${receipt.signature.slice(66, 130)}`)).toString(16);
    const v = receipt.signature.endsWith("1b") ? "1c" : "1b";
    const twin = { ...receipt, signature: `0x${r}${s.padStart(64, "0")}${v}` };
    expect(await codeOf(checkedReceipt(twin))).toBe("BAD_RECEIPT");
  });

  test("without its payment on the chain is unpaid, and no server keeps it", async () => {
    const server = await start(saying("x"));
    const receipt = await signReceipt(unsigned(), buyer as never);
    const place = { pay_to: seller.address, from_block: 0n };
    expect(await receiptPayment(chain.client, receipt, place)).toEqual({
      unpaid: "its authorization was not used",
    });
    const hand = (body: object) =>
      fetch(`${server.url}/x402/receipts`, { method: "POST", body: JSON.stringify(body) });
    expect((await hand(receipt)).status).toBe(404);
    expect((await hand({ ...receipt, tokens: "x" })).status).toBe(400);
    const how = options();
    const { purchase } = await ask(server, how);
    await purchase.answered(2);
    const real = JSON.parse(how.book.list(1)[0]!.receipt!);
    expect(await (await hand(real)).json()).toEqual({ kept: true, new: false });
    expect(await (await hand({ ...real, tokens: 99 })).json()).toHaveProperty("error");
  });
});
