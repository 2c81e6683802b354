/** The RPC's health with its reasons, and what contracts refuse as errors of this house. */
import { afterAll, describe, expect, test } from "bun:test";
import { encodeErrorResult, type Hex, toHex } from "viem";
import { CONTRACTS } from "../../src/chain/client/abis.ts";
import {
  chainError,
  decodeRevert,
  RevertError,
  revertData,
} from "../../src/chain/client/errors.ts";
import { openRpc, RpcFailure, rpcName } from "../../src/chain/client/rpc.ts";
import { MagnetError } from "../../src/core/errors.ts";

/** Answers each request with what the test has set. */
let answer: (request: Request) => Response | Promise<Response>;
const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: (request) => answer(request) });
afterAll(() => server.stop(true));
let now_ms = Date.UTC(2026, 0, 2, 3, 4, 5);
const clock = { now_ms: () => now_ms };
const url = `http://127.0.0.1:${server.port}`;

async function failure(promise: Promise<unknown>): Promise<MagnetError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof MagnetError) return error;
  throw error ?? new Error("it did not fail");
}

describe("health", () => {
  test("what is no answer is down, with the reason and since when", async () => {
    const rpc = openRpc({ url: `${url}/v3/SECRET-KEY`, clock, timeout_ms: 1000 });
    expect(rpc.health().state).toBe("unknown");
    const faults: [() => Response | Promise<Response>, string][] = [
      [() => new Response("<html>", { status: 502 }), "HTTP 502 without JSON"],
      [() => Response.json([1], { status: 200 }), "HTTP 200 without result or error"],
      [() => Response.json({ error: { code: 429, message: "slow down" } }), "slow down"],
      [() => new Promise<Response>(() => undefined), "no answer within 1 s"],
    ];
    for (const [fault, reason] of faults) {
      answer = fault;
      const error = await failure(rpc.request("eth_chainId"));
      expect([error.code, error.retryable, error.exit]).toEqual(["RPC_DOWN", true, "chain"]);
      expect(error.message).toContain(`down since 2026-01-02T03:04:05Z: ${reason}`);
      expect(error.message + error.hint).not.toContain("SECRET-KEY");
      now_ms += 60_000;
    }
    // Down since the first failure, not the last.
    expect(rpc.health()).toMatchObject({ state: "down", since_ms: Date.UTC(2026, 0, 2, 3, 4, 5) });
    answer = () => Response.json({ jsonrpc: "2.0", id: 1, result: "0x1" });
    expect(await rpc.request<string>("eth_chainId")).toBe("0x1");
    expect(rpc.health()).toEqual({ state: "up", since_ms: now_ms, reason: "" });
  });

  test("answers of another shape than the method's are down, not a wrong number further in", async () => {
    const rpc = openRpc({ url, clock });
    const word = `0x${"00".repeat(32)}`;
    const block = { number: "0x1", timestamp: "0x2", hash: word };
    const good: [string, unknown[], unknown][] = [
      ["eth_chainId", [], "0x7a69"],
      ["eth_call", [{}, "latest"], "0x"],
      ["eth_getBlockByNumber", ["latest", false], block],
      ["eth_getBlockByNumber", ["pending", false], { ...block, number: null, hash: null }],
      ["eth_getBlockByNumber", ["0x5", false], null],
      ["eth_getTransactionReceipt", [word], null],
      ["eth_getLogs", [{}], []],
      ["web3_clientVersion", [], "anvil/v1"],
    ];
    for (const [method, params, result] of good) {
      answer = () => Response.json({ result });
      expect(await rpc.request<unknown>(method, params)).toEqual(result);
    }
    const bad: [string, unknown[], unknown][] = [
      ...["garbage", null, {}, "0x", 5].map(
        (result) => ["eth_chainId", [], result] as [string, unknown[], unknown],
      ),
      ["eth_call", [{}, "latest"], null],
      ["eth_call", [{}, "latest"], "0x123"],
      ["eth_getBlockByNumber", ["latest", false], null],
      ["eth_getBlockByNumber", ["latest", false], { ...block, hash: null }],
      ["eth_getTransactionReceipt", [word], { status: "0x1" }],
      ["eth_getLogs", [{}], {}],
      ["eth_getLogs", [{}], [{ topics: [] }]],
      ["web3_clientVersion", [], {}],
    ];
    for (const [method, params, result] of bad) {
      answer = () => Response.json({ result });
      const error = await failure(rpc.request(method, params));
      expect(error.code).toBe("RPC_DOWN");
      expect(error.message).toContain(`${method} was answered with something else`);
    }
    answer = () => Response.json({ error: "nope" });
    expect((await failure(rpc.request("eth_chainId"))).message).toContain("without a code");
  });

  test("an answer without end is left at a size, not read until the time is over", async () => {
    const rpc = openRpc({ url, clock });
    const part = new Uint8Array(8 << 20).fill(0x20);
    answer = () =>
      new Response(new ReadableStream({ pull: (controller) => controller.enqueue(part) }));
    const error = await failure(rpc.request("eth_chainId"));
    expect(error.message).toContain("an answer above 64 MiB");
  });

  test("an error in the answer is the call's, not the RPC's", async () => {
    const rpc = openRpc({ url, clock });
    answer = () =>
      Response.json({ error: { code: 3, message: "reverted", data: "0x12" } }, { status: 400 });
    const error = await rpc.request("eth_call").catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(RpcFailure);
    expect(error).toMatchObject({ code: 3, message: "reverted", data: "0x12" });
    expect(rpc.health().state).toBe("up");
  });

  test("a token before the host goes into the header, never into a message", async () => {
    const rpc = openRpc({ url: url.replace("://", "://tok%2Fen@"), clock });
    answer = (request) => Response.json({ result: request.headers.get("authorization") });
    expect(await rpc.request<string>("x")).toBe("Bearer tok/en");
    expect(rpc.name).toBe(url);
    expect(() => rpcName("ftp://host")).toThrow("must be http or https");
    expect(() => rpcName("localhost")).toThrow("is no address");
  });
});

describe("refusals", () => {
  const own = (errorName: string, args: unknown[]): Hex =>
    encodeErrorResult({ abi: CONTRACTS.nodes.abi, errorName, args } as never);

  test("a contract's error by its name, arguments in words, hint", () => {
    const error = decodeRevert(
      own("BondTooSmall", [10n ** 18n, 30n * 10n ** 18n]),
      "nodes.register",
    );
    expect(error.code).toBe("BOND_TOO_SMALL");
    expect(error.message).toBe("nodes.register reverted: BondTooSmall (bond 1 MAG, least 30 MAG)");
    expect([error.exit, error.hint]).toEqual([
      "chain",
      "not more than the bond can be taken; params show lists each tier's least",
    ]);
    expect(error.reverted).toEqual({
      name: "BondTooSmall",
      args: { bond: 10n ** 18n, least: 30n * 10n ** 18n },
    });
    const field = encodeErrorResult({
      abi: CONTRACTS.params.abi,
      errorName: "OutOfBounds",
      args: [toHex("panelSize", { size: 32 })],
    });
    expect(decodeRevert(field, "params").message).toEndWith("OutOfBounds (field panelSize)");
  });

  test("times as times; a hint by what the error is about", () => {
    const registry = (errorName: string, args: unknown[]): Hex =>
      encodeErrorResult({ abi: CONTRACTS.dataRegistry.abi, errorName, args } as never);
    const open = decodeRevert(registry("WindowOpen", [1_795_291_925n]), "dataRegistry.confirm");
    expect(open.message).toEndWith("WindowOpen (until 2026-11-21T20:12:05)");
    expect(open.hint).toStartWith("wait until then");
    const never = registry("WindowOpen", [2n ** 64n - 1n]);
    expect(decodeRevert(never, "x").message).toEndWith("(until 18446744073709551615)");
    const twice = decodeRevert(registry("AlreadyRegistered", [toHex(7, { size: 32 })]), "x");
    expect(twice.hint).toContain("chain data list");
    const node = decodeRevert(own("AlreadyRegistered", [`0x${"11".repeat(20)}`]), "x");
    expect(node.hint).toContain("this key is a node already");
  });

  test("require texts, panics, nothing, strangers' errors", () => {
    const text = `0x08c379a0${[32n, 5n].map((n) => n.toString(16).padStart(64, "0")).join("")}${"68656c6c6f".padEnd(64, "0")}`;
    expect(decodeRevert(text as Hex, "x")).toMatchObject({
      code: "REVERTED",
      message: "x reverted: hello",
    });
    const panic = `0x4e487b71${"11".padStart(64, "0")}` as Hex;
    expect(decodeRevert(panic, "x").message).toContain("Panic");
    expect(decodeRevert("0x", "x").message).toBe("x reverted without a reason");
    expect(decodeRevert("0xdeadbeef", "x").message).toContain("unknown error 0xdeadbeef");
  });

  test("every error of the contracts has a name of its own as code, in the house's form", () => {
    const names = Object.values(CONTRACTS).flatMap(({ abi }) =>
      abi.flatMap((entry) => (entry.type === "error" ? [entry.name] : [])),
    );
    expect(names.length).toBeGreaterThan(60);
    for (const { abi } of Object.values(CONTRACTS))
      for (const entry of abi) {
        if (entry.type !== "error") continue;
        const args = entry.inputs.map(({ type }) => {
          if (type === "address") return `0x${"11".repeat(20)}`;
          if (type.startsWith("bytes")) return `0x${"00".repeat(Number(type.slice(5)) || 0)}`;
          return type === "string" ? "s" : 1;
        });
        const data = encodeErrorResult({ abi: [entry], errorName: entry.name, args } as never);
        const error = decodeRevert(data, "call");
        expect(error.code).toMatch(/^[A-Z][A-Z0-9_]*$/);
        expect(error.reverted.name).toBe(entry.name);
      }
  });

  test("revert bytes wherever nodes put them; other refusals of an RPC", () => {
    const data = own("NothingToWithdraw", []);
    for (const placed of [data, { data }, { data: { data } }, { result: data }])
      expect(revertData({ data: placed })).toBe(data);
    const refusal = (message: string, code = -32000) =>
      chainError(new RpcFailure("eth_sendRawTransaction", code, message, undefined), "bond");
    expect(refusal("insufficient funds for gas * price + value")).toMatchObject({
      code: "INSUFFICIENT_FUNDS",
      retryable: true,
    });
    expect(refusal("execution reverted", 3)).toBeInstanceOf(RevertError);
    expect(refusal("method not found", -32601)).toMatchObject({ code: "RPC_ERROR", exit: "chain" });
    const known = new MagnetError("X", "y");
    expect(chainError(known, "z")).toBe(known);
  });
});
