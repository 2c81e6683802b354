/** What is refused, with which code, and that a refused payment costs nothing. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { LocalAccount } from "viem";
import { magToken } from "../../../build/contracts.ts";
import { seededRandom } from "../../../src/core/random.ts";
import { fakeModel, saying } from "../serve-fixture.ts";
import {
  authorizationIn,
  CHAT,
  chatUrl,
  codeOf,
  customer,
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
let runs = 0;
beforeAll(async () => {
  chain = await startChain();
  [seller, buyer] = [await chain.account(0n), await chain.account()];
});
afterAll(() => chain.kill());
const servers: PaidServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function start(options: Partial<Parameters<typeof startPaid>[2]> = {}): Promise<PaidServer> {
  runs = 0;
  const answer: ReturnType<typeof saying> = (request) => {
    runs++;
    return saying("hello")(request);
  };
  const server = await startPaid(chain, await fakeModel(answer), { account: seller, ...options });
  servers.push(server);
  return server;
}

type Json = Record<string, never> & { accepted: Json; payload: { authorization: Json } };
/** A good payment header with something changed in it. */
async function changed(
  server: PaidServer,
  change: (payment: Json) => void,
): Promise<Record<string, string>> {
  const [[name, value]] = Object.entries(await paymentFor(chain, buyer, server)) as [
    [string, string],
  ];
  const payment = JSON.parse(Buffer.from(value, "base64").toString("utf8")) as Json;
  change(payment);
  return { [name]: Buffer.from(JSON.stringify(payment)).toString("base64") };
}
const set = (target: object, values: object) => void Object.assign(target, values);

describe("payments that do not fit", () => {
  const now = Math.floor(Date.now() / 1000);
  const OTHER = "0x00000000000000000000000000000000000000aa";
  const cases: [code: string, (payment: Json) => void][] = [
    ["wrong_scheme", ({ accepted }) => set(accepted, { scheme: "upto" })],
    ["wrong_network", ({ accepted }) => set(accepted, { network: "eip155:1" })],
    ["wrong_asset", ({ accepted }) => set(accepted, { asset: OTHER })],
    ["wrong_recipient", ({ payload }) => set(payload.authorization, { to: OTHER })],
    ["wrong_amount", ({ payload }) => set(payload.authorization, { value: "1" })],
    ["wrong_amount", ({ accepted }) => set(accepted, { amount: "1" })],
    ["authorization_expired", ({ payload }) => set(payload.authorization, { validBefore: "1" })],
    [
      "authorization_not_valid_yet",
      ({ payload }) => set(payload.authorization, { validAfter: `${now + 9000}` }),
    ],
    [
      "authorization_too_long",
      ({ payload }) => set(payload.authorization, { validBefore: `${now + 200_000}` }),
    ],
    [
      "bad_signature",
      ({ payload }) => set(payload.authorization, { nonce: `0x${"ab".repeat(32)}` }),
    ],
    ["bad_signature", ({ payload }) => set(payload.authorization, { from: OTHER })],
  ];
  for (const [code, change] of cases)
    test(`${code}: ${change.toString().slice(0, 60)}`, async () => {
      const server = await start();
      const response = await fetch(chatUrl(server), post(CHAT, await changed(server, change)));
      expect(response.status).toBe(402);
      expect(await codeOf(response)).toBe(code);
      expect(JSON.parse(atob(response.headers.get("payment-required")!)).accepts).toHaveLength(1);
      expect([runs, server.paid.totals().payments]).toEqual([0, 0]);
    });

  test("insufficient funds are named, and a payment that was filled up later is taken", async () => {
    const server = await start();
    const poor = await chain.account(PRICE - 1n);
    const headers = await paymentFor(chain, poor, server);
    const response = await fetch(chatUrl(server), post(CHAT, headers));
    expect([response.status, await codeOf(response)]).toEqual([402, "insufficient_funds"]);
    expect(runs).toBe(0);
    await chain.give(poor.address, 1n);
    expect((await fetch(chatUrl(server), post(CHAT, headers))).status).toBe(200);
    expect([runs, await chain.balance(poor.address)]).toEqual([1, 0n]);
  });

  test("an authorization that was used elsewhere, or cancelled", async () => {
    const server = await start();
    const headers = await paymentFor(chain, buyer, server);
    const { nonce } = authorizationIn(headers);
    const signature = await buyer.signTypedData({
      domain: {
        ...{ name: "Magnet", version: "1", chainId: 31_337, verifyingContract: chain.asset },
      },
      types: {
        CancelAuthorization: [
          { name: "authorizer", type: "address" },
          { name: "nonce", type: "bytes32" },
        ],
      },
      primaryType: "CancelAuthorization",
      message: { authorizer: buyer.address, nonce },
    });
    await chain.write(seller, {
      ...{ abi: magToken.abi, address: chain.asset, functionName: "cancelAuthorization" },
      args: [buyer.address, nonce, signature],
    });
    const response = await fetch(chatUrl(server), post(CHAT, headers));
    expect([response.status, await codeOf(response)]).toEqual([402, "payment_used"]);
    expect([runs, server.paid.totals().payments]).toEqual([0, 0]);
  });
});

describe("requests that can never be answered", () => {
  test("are refused before anything is paid", async () => {
    const server = await start();
    const before = await chain.balance(buyer.address);
    for (const [body, status] of [
      [{ ...CHAT, model: "unknown" }, 404],
      [{ ...CHAT, messages: [] }, 400],
      [{ ...CHAT, temperature: 9 }, 400],
      [{ ...CHAT, tools: [{}] }, 400],
    ] as const) {
      const response = await customer(chain, buyer)(chatUrl(server), post(body));
      expect([body, response.status]).toEqual([body, status]);
    }
    expect(await chain.balance(buyer.address)).toBe(before);
    expect(runs).toBe(0);
  });
});

describe("garbage in the header", () => {
  test("is refused with 400 or 402, and never reaches the model or the books", async () => {
    const server = await start();
    const seed = 11;
    const random = seededRandom(seed);
    const good = Object.values(await paymentFor(chain, buyer, server))[0]!;
    const bytes = Buffer.from(good, "base64");
    const below = (limit: number) => Buffer.from(random.bytes(2)).readUInt16LE() % limit;
    const mutated = (): string => {
      const copy = Buffer.from(bytes);
      for (let i = 0; i < 1 + random.bytes(1)[0]! / 64; i++)
        copy[below(copy.length)] = random.bytes(1)[0]!;
      return copy.toString("base64");
    };
    const fixed = [
      ...["x", "====", "e30=", "bnVsbA==", "W10=", "A".repeat(10_000)],
      Buffer.from('{"x402Version":2}').toString("base64"),
      Buffer.from('{"__proto__":{"x":1}}').toString("base64"),
      Buffer.from(`{"x402Version":2,"accepted":${"[".repeat(500)}${"]".repeat(500)}}`).toString(
        "base64",
      ),
    ];
    const random_texts = Array.from({ length: 60 }, () =>
      Buffer.from(random.bytes(1 + (random.bytes(1)[0]! % 120))).toString("base64"),
    );
    for (const value of [...fixed, ...random_texts, ...Array.from({ length: 150 }, mutated)]) {
      if (value === good) continue;
      const response = await fetch(chatUrl(server), post(CHAT, { "payment-signature": value }));
      const body = await response.text();
      // A change of the resource or an extra alone leaves a payment that is good.
      if (response.status === 200) continue;
      const shown = JSON.stringify({ seed, value: value.slice(0, 200), body });
      if (![400, 402, 409].includes(response.status)) throw new Error(shown);
      expect(JSON.parse(body).error.code).toMatch(/^[a-z_]+$/);
    }
    expect(server.paid.totals().payments).toBe(runs);
    for (const value of fixed) {
      const response = await fetch(chatUrl(server), post(CHAT, { "magnet-redeem": value }));
      expect([400, 402]).toContain(response.status);
    }
    const log = server.log.lines.filter(({ level }) => level === "error");
    expect(log).toEqual([]);
  });
});

describe("a chain in trouble", () => {
  test("is answered with 503 and a time to wait; what is free stays", async () => {
    const own = await startChain();
    const server = await startPaid(own, await fakeModel(saying("hello")), {
      account: await own.account(0n),
    });
    servers.push(server);
    const headers = await paymentFor(own, await own.account(), server);
    await own.kill();
    const paid = await fetch(chatUrl(server), post(CHAT, headers));
    expect([paid.status, await codeOf(paid)]).toEqual([503, "chain_unreachable"]);
    expect(Number(paid.headers.get("retry-after"))).toBeGreaterThan(0);
    await server.paid.look();
    const unpaid = await fetch(chatUrl(server), post(CHAT));
    expect([unpaid.status, await codeOf(unpaid)]).toEqual([503, "chain_unreachable"]);
    expect((await fetch(`${server.url}/v1/models`)).status).toBe(200);
    const offer = (await (await fetch(`${server.url}/x402`)).json()) as { available: boolean };
    expect(offer.available).toBe(false);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toContain("magnet_paid_chain_up 0");
  });

  test("a facilitator without gas says so, and takes nothing", async () => {
    const broke = await chain.account(0n, "0");
    const server = await start({ account: broke });
    const headers = await paymentFor(chain, buyer, server);
    const response = await fetch(chatUrl(server), post(CHAT, headers));
    expect([response.status, await codeOf(response)]).toEqual([503, "facilitator_out_of_gas"]);
    expect([runs, await chain.balance(broke.address)]).toEqual([0, 0n]);
    // Once it has some, the very same payment goes through.
    await chain.fund(broke.address);
    expect((await fetch(chatUrl(server), post(CHAT, headers))).status).toBe(200);
    expect(await chain.balance(broke.address)).toBe(PRICE);
  });

  test("the wrong chain, and a token that is none, are refused at the start", async () => {
    const model = await fakeModel(saying("x"));
    const open = (options: object) =>
      startPaid(chain, model, { account: seller, ...options }).then(
        () => "opened",
        (error: { code: string }) => error.code,
      );
    expect(await open({ chain_id: 5 })).toBe("WRONG_CHAIN");
    expect(await open({ asset: seller.address })).toBe("BAD_TOKEN");
    expect(await open({ revenue: chain.asset })).toBe("NO_REVENUE");
    expect(await open({ rpc_url: "http://127.0.0.1:1" })).toBe("CHAIN_UNREACHABLE");
  });
});
