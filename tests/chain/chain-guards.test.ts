/** What hostile or careless clients meet: refusals that say why, bounds, and a host that lives on. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { privateKeyToAccount } from "viem/accounts";
import { EmbeddedChain } from "../../src/chain/embedded/chain.ts";
import type { Hex } from "../../src/chain/embedded/hex.ts";
import { CHAIN_LIMITS, HTTP_LIMITS } from "../../src/chain/embedded/limits.ts";
import { type RunningChain, serveChain } from "../../src/chain/embedded/server.ts";
import { seededRandom } from "../../src/core/random.ts";
import { KEYS, richAlloc } from "./chain-clients.ts";

const accounts = KEYS.map((key) => privateKeyToAccount(key));
const account = accounts[0]!;
let chain: EmbeddedChain;
let server: RunningChain;

beforeAll(async () => {
  chain = await EmbeddedChain.open({ alloc: richAlloc(), fees: "eip1559" });
  server = serveChain(chain);
});
afterAll(async () => {
  await server.stop();
  await chain.close();
});

interface Answer {
  id: unknown;
  result?: unknown;
  error?: { code: number; message: string };
}
const post = (body: string, headers: Record<string, string> = {}, url = server.url) =>
  fetch(url, { method: "POST", body, headers });
async function rpc(method: string, params: unknown[]): Promise<Answer> {
  const response = await post(JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }));
  return (await response.json()) as Answer;
}
const refusal = async (method: string, params: unknown[]) => (await rpc(method, params)).error;

const transfer = {
  ...{ chainId: 31_337, to: account.address, value: 1n, gas: 21_000n, type: "eip1559" },
  ...{ maxFeePerGas: 10n ** 10n, maxPriorityFeePerGas: 1n },
} as const;
const sign = (from: typeof account, fields: object): Promise<Hex> =>
  from.signTransaction({ ...transfer, ...fields } as never);
const send = async (fields: object, from = account) =>
  refusal("eth_sendRawTransaction", [await sign(from, { nonce: 0, ...fields })]);

describe("transactions that are refused", () => {
  const [poor, sender] = [accounts[8]!, accounts[9]!];
  const cases: [string, object, RegExp][] = [
    ["of another chain", { chainId: 1 }, /invalid chain id/],
    [
      "with too little gas",
      { gas: 20_999n },
      /intrinsic gas too low: gas 20999, minimum needed 21000/,
    ],
    ["with more gas than a block", { gas: 30_000_001n }, /exceeds block gas limit/],
    ["that cost more than there is", { value: 10n ** 23n }, /insufficient funds/],
    ["whose nonce is far off", { nonce: 5000 }, /nonce too high: next nonce 0, tx nonce 5000/],
    ["that pay less than the base fee", { maxFeePerGas: 1n }, /less than block base fee/],
    [
      "without a chain id",
      {
        type: "legacy",
        chainId: undefined,
        gasPrice: 10n ** 10n,
        maxFeePerGas: undefined,
        maxPriorityFeePerGas: undefined,
      },
      /replay-protected/,
    ],
  ];
  for (const [name, fields, reason] of cases)
    test(name, async () => {
      const raw = (await send(fields, poor))!;
      expect(raw.code).toBe(-32000);
      expect(raw.message).toMatch(reason);
      expect(chain.pool.size).toBe(0);
    });

  test("sent twice, spent, of a type that is not kept, or no transaction at all", async () => {
    const raw = await sign(sender, { nonce: 0 });
    expect((await rpc("eth_sendRawTransaction", [raw])).error).toBeUndefined();
    expect((await refusal("eth_sendRawTransaction", [raw]))?.message).toBe("already known");
    expect((await send({ value: 2n }, sender))?.message).toBe(
      "nonce too low: next nonce 1, tx nonce 0",
    );
    expect((await refusal("eth_sendRawTransaction", ["0x03c0"]))?.message).toMatch(/not supported/);
    for (const junk of ["0x", "0x02", "0x02c0", "0xc0", "zz", 7, null, `0x${"f8".repeat(500)}`])
      expect((await refusal("eth_sendRawTransaction", [junk]))?.code).toBeLessThan(0);
    const large = `0x02${"00".repeat(CHAIN_LIMITS.transaction_bytes)}`;
    expect((await refusal("eth_sendRawTransaction", [large]))?.message).toMatch(/oversized/);
    const flipped = `${raw.slice(0, -66)}${"f".repeat(64)}${raw.slice(-2)}` as Hex;
    expect((await refusal("eth_sendRawTransaction", [flipped]))?.code).toBeLessThan(0);
  });

  test("a sender cannot fill the queue with what cannot be mined", async () => {
    const signed = (nonce: number) => sign(accounts[7]!, { nonce });
    const answers = await Promise.all(
      [1, 2, 3, 1025].map(async (nonce) => rpc("eth_sendRawTransaction", [await signed(nonce)])),
    );
    expect(answers.map(({ error }) => error?.message.slice(0, 14))).toEqual([
      ...[undefined, undefined, undefined, "nonce too high"],
    ]);
    expect(await rpc("txpool_status", [])).toMatchObject({
      result: { pending: "0x0", queued: "0x3" },
    });
    expect((await rpc("eth_sendRawTransaction", [await signed(0)])).error).toBeUndefined();
    expect(chain.pool.size).toBe(0); // the gap is closed: all four are mined, in order
    const count = await rpc("eth_getTransactionCount", [accounts[7]!.address, "latest"]);
    expect(count.result).toBe("0x4");
  });
});

describe("requests", () => {
  test("of other names, other origins and other methods than POST are turned away", async () => {
    const ask = '{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}';
    const port = new URL(server.url).port;
    expect((await post(ask, { host: `evil.example:${port}` })).status).toBe(403);
    expect((await post(ask, { origin: "https://evil.example" })).status).toBe(403);
    expect((await post(ask, { host: `localhost:${port}` })).status).toBe(200);
    expect((await fetch(server.url)).status).toBe(405);
  });

  test("an allowed page may ask, and its preflight is answered; a token is asked for", async () => {
    const page = "https://page.example";
    const token = "a-token-of-this-test";
    const guarded = serveChain(chain, { tokens: [token], origins: [page] });
    const ask = '{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}';
    const headers = { origin: page, authorization: `Bearer ${token}` };
    try {
      const preflight = await fetch(guarded.url, { method: "OPTIONS", headers: { origin: page } });
      expect(preflight.headers.get("access-control-allow-origin")).toBe(page);
      expect((await post(ask, headers, guarded.url)).status).toBe(200);
      expect((await post(ask, { authorization: "Bearer no" }, guarded.url)).status).toBe(401);
      expect((await post(ask, {}, guarded.url)).status).toBe(401);
    } finally {
      await guarded.stop();
    }
    expect(() => serveChain(chain, { host: "0.0.0.0" })).toThrow("can be reached");
    expect(() => serveChain(chain, { host: "0.0.0.0", tokens: ["short"] })).toThrow("too short");
  });

  test("batches, bodies and nonsense have bounds and answers", async () => {
    const call = { jsonrpc: "2.0", id: 1, method: "eth_chainId" };
    const parsed = async (body: string) => (await (await post(body)).json()) as Answer;
    expect((await parsed("{")).error?.code).toBe(-32700);
    expect((await parsed("[]")).error?.code).toBe(-32600);
    expect((await parsed("7")).error?.code).toBe(-32600);
    expect((await parsed('{"id":1}')).error?.code).toBe(-32600);
    expect((await parsed('{"id":1,"method":"constructor"}')).error?.code).toBe(-32601);
    expect((await parsed('{"id":1,"method":"evm_mine"}')).error?.message).toMatch(/time-travel/);
    const many = JSON.stringify(new Array(HTTP_LIMITS.batch + 1).fill(call));
    expect((await parsed(many)).error?.code).toBe(-32005);
    const mixed = (await parsed(
      JSON.stringify([call, 5, { ...call, id: "x" }]),
    )) as never as Answer[];
    expect(mixed.map(({ id }) => id)).toEqual([1, null, "x"]);
    expect((await post(JSON.stringify({ method: "eth_chainId" }))).status).toBe(204);
    const body = `"${"x".repeat(HTTP_LIMITS.body_bytes + 1)}"`;
    expect((await post(body)).status).toBe(413);
  });

  test("calls and filters have bounds", async () => {
    const gasLeft = "0x5a60005260206000f3";
    const { result } = await rpc("eth_call", [{ data: gasLeft, gas: "0xffffffffffff" }, "latest"]);
    expect(BigInt(result as Hex)).toBeLessThan(CHAIN_LIMITS.call_gas);
    const loop = { data: "0x5b600056", gas: "0x30000" }; // for ever
    expect((await refusal("eth_call", [loop, "latest"]))?.message).toBe("out of gas");
    expect((await refusal("eth_estimateGas", [loop]))?.message).toBe("out of gas");
    const wide = new Array(CHAIN_LIMITS.filter_values + 1).fill(account.address);
    expect((await refusal("eth_getLogs", [{ address: wide }]))?.code).toBe(-32602);
    expect((await refusal("eth_getLogs", [{ topics: [1] }]))?.code).toBe(-32602);
    expect((await refusal("eth_getLogs", [5]))?.code).toBe(-32602);
    expect((await refusal("eth_getFilterChanges", ["0x99"]))?.message).toBe("filter not found");
    expect((await refusal("eth_getBalance", ["0x12", "latest"]))?.code).toBe(-32602);
    expect((await refusal("eth_getBalance", [account.address, "0xffff"]))?.message).toMatch(
      /no such/,
    );
    expect((await refusal("eth_feeHistory", ["0x1", "latest", [50, 10]]))?.code).toBe(-32602);
  });

  test("random requests never get an internal error, and the chain lives on", async () => {
    const seed = Date.now() % 1_000_000;
    const random = seededRandom(seed);
    const junk: unknown[] = [
      ...[null, true, -1, 2 ** 60, 0.5, "", "0x", "0x0", "latest", "pending", "earliest", {}, []],
      ...[account.address, `0x${"ff".repeat(32)}`, `0x${"f".repeat(65)}`, { blockHash: "0x" }],
      ...[
        { fromBlock: "0x0", toBlock: "0xff", topics: [null, []] },
        { to: null, data: "0xfe" },
      ],
      ...[{ from: account.address, value: "0xff", gasPrice: "0x1" }, "x".repeat(1000), [[[]]]],
    ];
    const { rpcMethods } = await import("../../src/chain/embedded/rpc.ts");
    const methods = Object.keys(rpcMethods(chain));
    for (let i = 0; i < 400; i++) {
      const method = methods[random.below(methods.length)]!;
      const params = Array.from({ length: random.below(4) }, () => junk[random.below(junk.length)]);
      const { error } = await rpc(method, params);
      if (error?.code === -32603)
        throw new Error(`seed ${seed}: ${method} ${JSON.stringify(params)}: ${error.message}`);
    }
    expect((await rpc("eth_chainId", [])).result).toBe("0x7a69");
  });
});
