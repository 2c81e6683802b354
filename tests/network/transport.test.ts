/** Two and more honest nodes: handshake, messages, requests, refusals, one connection per pair. */
import { expect, test } from "bun:test";
import { sha256Hex } from "../../src/core/bytes.ts";
import { MagnetError } from "../../src/core/errors.ts";
import type { Hash } from "../../src/core/types.ts";
import { CONFIG_HASH, codeOf, startNode, until } from "./network-fixture.ts";

const note = (text: string) => ({ type: "test.note", body: { text } });

test("two nodes connect, pin each other, exchange messages and requests, and count bytes", async () => {
  const a = startNode(1);
  const b = startNode(2, { tier: "gpu_compute" });
  expect(await a.transport.connect(b.transport.address)).toBe(b.key);
  await until(() => b.ups.length === 1);
  expect(a.transport.peers()[0]).toMatchObject({
    public_key: b.key,
    tier: "gpu_compute",
    address: b.transport.address,
    score: 0,
  });
  expect(a.pins.get(b.key)?.fingerprint).toBe(b.options.certificate.binding.fingerprint);
  expect(a.transport.send(b.key, note("hello"))).toBe(true);
  expect(b.transport.broadcast(note("back"))).toBe(1);
  await until(() => a.messages.length === 1 && b.messages.length === 1);
  expect(b.messages[0]).toEqual({ from: a.key, message: note("hello") });
  b.transport.handle("test.echo", async (from, body) => {
    expect(from).toBe(a.key);
    return { text: `${(body as { text: string }).text}!` };
  });
  const answer = a.transport.request(b.key, "test.echo", { text: "x" }, { timeout_ms: 5000 });
  expect(await answer).toEqual({ text: "x!" });
  const [sent, got] = [a.transport.stats(), b.transport.stats()];
  expect(sent.bytes_out).toBeGreaterThan(500);
  await until(() => b.transport.stats().bytes_in === a.transport.stats().bytes_out);
  expect(got.bytes_out).toBeGreaterThan(500);
  await b.transport.close();
  await until(() => a.downs.length === 1);
  expect(a.downs[0]?.reason).toContain("the node stops");
  expect(a.transport.send(b.key, note("gone"))).toBe(false);
});

test("requests: peer's error code, timeout, abort, lost peer, unserved type", async () => {
  const a = startNode(1);
  const b = startNode(2);
  await a.transport.connect(b.transport.address, b.key);
  const ask = (options = {}) =>
    a.transport.request(b.key, "test.echo", { text: "x" }, { timeout_ms: 5000, ...options });
  expect(await codeOf(ask())).toBe("NOT_SERVED");
  b.transport.handle("test.echo", async () => {
    throw new MagnetError("NO_SUCH_THING", "not here");
  });
  expect(await codeOf(ask())).toBe("NO_SUCH_THING");
  b.transport.handle("test.echo", () => new Promise(() => undefined));
  expect(await codeOf(ask({ timeout_ms: 100 }))).toBe("REQUEST_TIMEOUT");
  const cancel = new AbortController();
  const cancelled = codeOf(ask({ signal: cancel.signal }));
  cancel.abort();
  expect(await cancelled).toBe("REQUEST_ABORTED");
  const lost = codeOf(ask());
  b.transport.disconnect(a.key, "test");
  expect(await lost).toBe("PEER_LOST");
  expect(await codeOf(ask())).toBe("PEER_NOT_CONNECTED");
});

test("another network, configuration or expected key is refused with a reason", async () => {
  const a = startNode(1);
  const config_hash = sha256Hex("other") as Hash;
  const other = startNode(2, { network: { id: "othernet", config_hash: CONFIG_HASH } });
  const changed = startNode(3, { network: { id: "testnet", config_hash } });
  const b = startNode(4);
  expect(await codeOf(a.transport.connect(other.transport.address))).toBe("WRONG_NETWORK");
  expect(await codeOf(a.transport.connect(changed.transport.address))).toBe("NETWORK_CONFIG");
  expect(await codeOf(a.transport.connect(b.transport.address, other.key))).toBe("PEER_IDENTITY");
  expect(await codeOf(a.transport.connect(a.transport.address))).toBe("SAME_IDENTITY");
  expect(await codeOf(a.transport.connect("nonsense"))).toBe("BAD_ADDRESS");
  const free = startNode(5);
  const { address } = free.transport;
  await free.transport.close();
  expect(await codeOf(a.transport.connect(address))).toBe("PEER_UNREACHABLE");
  expect(a.ups.length + b.ups.length).toBe(0);
});

test("a port in use is named", () => {
  const a = startNode(1);
  const port = Number(a.transport.address.split(":")[1]);
  expect(() => startNode(2, { listen: { host: "127.0.0.1", port } })).toThrow(
    expect.objectContaining({ code: "PORT_IN_USE" }),
  );
});

test("the same wallet in a second process is refused while the first lives", async () => {
  const server = startNode(1);
  const first = startNode(2);
  const second = startNode(2);
  await first.transport.connect(server.transport.address);
  expect(await codeOf(second.transport.connect(server.transport.address))).toBe("IDENTITY_IN_USE");
  first.transport.send(server.key, note("still here"));
  await until(() => server.messages.length === 1);
  await first.transport.close();
  await until(() => server.downs.length === 1);
  expect(await second.transport.connect(server.transport.address)).toBe(server.key);
});

test("simultaneous dials end with one connection on both sides, and one peer_up", async () => {
  for (let i = 0; i < 8; i++) {
    const a = startNode(10 + 2 * i);
    const b = startNode(11 + 2 * i);
    const [left, right] = await Promise.all([
      a.transport.connect(b.transport.address, b.key),
      b.transport.connect(a.transport.address),
    ]);
    expect([left, right]).toEqual([b.key, a.key]);
    let count = 0;
    await until(() => {
      const now = a.messages.length;
      if (now === count && b.transport.send(a.key, note(`${count}`))) count++;
      return a.messages.length >= 5;
    });
    expect(a.transport.peers().length).toBe(1);
    expect(b.transport.peers().length).toBe(1);
    expect([a.ups.length, b.ups.length]).toEqual([1, 1]);
    expect([a.downs.length, b.downs.length]).toEqual([0, 0]);
    await Promise.all([a.transport.close(), b.transport.close()]);
  }
}, 20_000);
