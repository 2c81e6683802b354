/** Payments whose answers failed: the credit is signed, redeemable by the payer alone, and once. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { LocalAccount } from "viem";
import { sha256Hex } from "../../../src/core/bytes.ts";
import { MagnetError } from "../../../src/core/errors.ts";
import { isSignedCredit, signRedemption } from "../../../src/http/paid/credits.ts";
import { headerValue } from "../../../src/http/paid/offer.ts";
import { outcomeOf } from "../../../src/http/paid/paid-guard.ts";
import type { ServedModel } from "../../../src/http/serve/served-model.ts";
import { fakeModel, piece, saying, until } from "../serve-fixture.ts";
import {
  authorizationIn,
  CHAIN_ID,
  CHAT,
  chatUrl,
  codeOf,
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
beforeAll(async () => {
  chain = await startChain("anvil");
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

const place = () => ({ chain_id: CHAIN_ID, asset: chain.asset, server: seller.address });
const valid_before = () => Math.floor(Date.now() / 1000) + 60;
/** A redemption's header for a body, as the buyer signs it. */
async function redemption(
  headers: Record<string, string>,
  body: object,
  changes: { account?: LocalAccount; valid_before?: number } = {},
): Promise<Record<string, string>> {
  const { from, nonce } = authorizationIn(headers);
  const signed = await signRedemption(
    place(),
    { payer: from.toLowerCase(), nonce, valid_before: changes.valid_before ?? valid_before() },
    `0x${sha256Hex("/v1/chat/completions", "\n", JSON.stringify(body))}`,
    (changes.account ?? buyer) as never,
  );
  return { "magnet-redeem": headerValue(signed) };
}
const stateOf = async (server: PaidServer, headers: Record<string, string>) => {
  const { from, nonce } = authorizationIn(headers);
  const response = await fetch(`${server.url}/x402/credits/${from.toLowerCase()}/${nonce}`);
  return ((await response.json()) as { state: string }).state;
};

/** Fails as long as `broken.yes`. */
function breaking(broken: { yes: boolean }): ServedModel["answer"] {
  return (request) => {
    if (broken.yes) throw new MagnetError("ENGINE_BUSY", "too much to do", { retryable: true });
    return saying("at last")(request);
  };
}
const OTHER = { ...CHAT, messages: [{ role: "user", content: "another question" }] };

describe("a credit", () => {
  test("is signed, pays for one other request, and for no second one", async () => {
    const broken = { yes: true };
    const server = await start(breaking(broken));
    const headers = await paymentFor(chain, buyer, server);
    const before = await chain.balance(buyer.address);
    const failed = await fetch(chatUrl(server), post(CHAT, headers));
    expect(failed.status).toBe(503);
    const credit = JSON.parse(atob(failed.headers.get("magnet-credit")!));
    expect(await isSignedCredit(place(), credit)).toBe(true);
    expect(await isSignedCredit(place(), { ...credit, amount: "9999999999999999" })).toBe(false);
    expect(credit.amount).toBe(PRICE.toString());
    broken.yes = false;
    const redeem = await redemption(headers, OTHER);
    const both = await Promise.all(
      Array.from({ length: 5 }, () => fetch(chatUrl(server), post(OTHER, redeem))),
    );
    expect(both.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409, 409]);
    const twice = await fetch(chatUrl(server), post(CHAT, await redemption(headers, CHAT)));
    expect([twice.status, await codeOf(twice)]).toEqual([409, "payment_answered"]);
    expect(before - (await chain.balance(buyer.address))).toBe(PRICE);
  });

  test("is redeemed by the payer's signature alone, for the request it names, in its time", async () => {
    const broken = { yes: true };
    const server = await start(breaking(broken));
    const headers = await paymentFor(chain, buyer, server);
    await fetch(chatUrl(server), post(CHAT, headers));
    broken.yes = false;
    const attempts = [
      await redemption(headers, OTHER, { account: seller }),
      await redemption(headers, CHAT),
      await redemption(headers, OTHER, { valid_before: 1000 }),
      await redemption(headers, OTHER, { valid_before: valid_before() + 9000 }),
    ];
    for (const attempt of attempts) {
      const response = await fetch(chatUrl(server), post(OTHER, attempt));
      expect([response.status, await codeOf(response)]).toEqual([402, "bad_redemption"]);
    }
    expect(await stateOf(server, headers)).toBe("credit");
    const right = await redemption(headers, OTHER);
    expect((await fetch(chatUrl(server), post(OTHER, right))).status).toBe(200);
  });

  test("stays where the answer fails again, and pays for no dearer request", async () => {
    const broken = { yes: true };
    const prices = {
      all: { request: 0n, output_token: 10n ** 13n, input_kib: 0n },
      models: new Map(),
    };
    const server = await start(breaking(broken), { prices });
    const small = { ...CHAT, max_tokens: 10 };
    const headers = await paymentFor(chain, buyer, server, small);
    expect((await fetch(chatUrl(server), post(small, headers))).status).toBe(503);
    expect((await fetch(chatUrl(server), post(small, headers))).status).toBe(503);
    expect(await stateOf(server, headers)).toBe("credit");
    const dear = { ...CHAT, max_tokens: 11 };
    const refused = await fetch(chatUrl(server), post(dear, await redemption(headers, dear)));
    expect([refused.status, await codeOf(refused)]).toEqual([402, "credit_too_small"]);
    broken.yes = false;
    expect((await fetch(chatUrl(server), post(small, headers))).status).toBe(200);
  });

  test("is left by a stream that breaks, and by a customer who goes before the answer", async () => {
    const server = await start(async function* () {
      yield piece("begun");
      throw new Error("the engine broke");
    });
    const headers = await paymentFor(chain, buyer, server);
    const streamed = { ...CHAT, stream: true };
    const response = await fetch(chatUrl(server), post(streamed, headers));
    expect(response.status).toBe(200);
    expect(await response.text()).toContain("error");
    expect(await stateOf(server, headers)).toBe("credit");

    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    let begun = false;
    const slow = await start(async function* (request) {
      begun = true;
      await Promise.race([
        gate,
        new Promise((end) => request.signal.addEventListener("abort", end)),
      ]);
      if (request.signal.aborted) throw new MagnetError("CANCELLED", "gone");
      yield* saying("late")(request);
      return { ...(await saying("x")(request).next()).value } as never;
    });
    const second = await paymentFor(chain, buyer, slow);
    const leave = new AbortController();
    const left = fetch(chatUrl(slow), { ...post(CHAT, second), signal: leave.signal });
    left.catch(() => undefined);
    await until(() => begun);
    leave.abort();
    while ((await stateOf(slow, second)) !== "credit") await Bun.sleep(1);
    open();
  });

  test("of whoever leaves it again is spent", () => {
    const gone = { cancelled: "closed", streaming: false } as const;
    expect(outcomeOf(499, gone, false)).toBe("owed");
    expect(outcomeOf(499, gone, true)).toBe("spent");
    expect(outcomeOf(499, { cancelled: "stalled", streaming: true }, false)).toBe("spent");
    expect(outcomeOf(200, { cancelled: undefined, streaming: true }, false)).toBe("spent");
    expect(outcomeOf(500, { cancelled: undefined, streaming: true }, true)).toBe("owed");
    expect(outcomeOf(503, { cancelled: "stopping", streaming: true }, false)).toBe("owed");
  });
});

describe("someone else who sends the authorization first", () => {
  test("pays for the customer: the answer comes all the same", async () => {
    const server = await start(saying("thanks"));
    const headers = await paymentFor(chain, buyer, server);
    const rival = await chain.account(0n);
    const before = await chain.balance(seller.address);
    await chain.rpc("evm_setAutomine", [false]);
    try {
      const answer = fetch(chatUrl(server), post(CHAT, headers));
      type Pending = { transactions: { input: `0x${string}` }[] };
      let ours: Pending["transactions"][number] | undefined;
      while (ours === undefined) {
        const block = (await chain.rpc("eth_getBlockByNumber", ["pending", true])) as Pending;
        [ours] = block.transactions;
      }
      // The same call from somebody else, with a higher fee: it is mined before ours.
      await chain.send(rival, { to: chain.asset, data: ours.input, gas: 200_000n, fee_gwei: 50n });
      await chain.rpc("evm_mine");
      expect((await answer).status).toBe(200);
    } finally {
      await chain.rpc("evm_setAutomine", [true]);
    }
    expect((await chain.balance(seller.address)) - before).toBe(PRICE);
    const block = await chain.client.getBlock({ includeTransactions: true });
    expect(block.transactions.map(({ from }) => from)).toEqual(
      [rival.address, seller.address].map((address) => address.toLowerCase()) as never,
    );
  });
});
