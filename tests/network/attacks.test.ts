/**
 * Hostile peers, by name: each is dropped with a score or closed, and the server keeps serving
 * others.
 */
import { expect, test } from "bun:test";
import net from "node:net";
import tls from "node:tls";
import { systemRandom } from "../../src/core/random.ts";
import { createCertificate } from "../../src/network/certificate.ts";
import { encodeBody } from "../../src/network/codec.ts";
import { fetchCertificate, openSocket } from "../../src/network/dialer.ts";
import { type Frame, KIND } from "../../src/network/envelope.ts";
import { bootNonce, ClientHandshake, type ClientResult } from "../../src/network/handshake.ts";
import type { Wire } from "../../src/network/wire.ts";
import { codeOf, onEnd, startNode, until } from "./network-fixture.ts";

type Node = ReturnType<typeof startNode>;
const note = (text: string) => ({ type: "test.note", body: { text } });
const counter = () => ({ bytes_in: 0, bytes_out: 0 });

async function rawWire(target: Node): Promise<{ wire: Wire; received: Uint8Array[] }> {
  const seen = await fetchCertificate(target.transport.address, 5000);
  const wire = await openSocket(target.transport.address, seen.cert_pem, 5000, counter());
  const received: Uint8Array[] = [];
  wire.handler = { message: (bytes) => bytes && received.push(bytes), closed: () => undefined };
  return { wire, received };
}

/** A peer that finished the handshake honestly and then sends what it likes. */
async function rogue(target: Node, as: Node) {
  const seen = await fetchCertificate(target.transport.address, 5000);
  const wire = await openSocket(target.transport.address, seen.cert_pem, 5000, counter());
  const { identity, network, tier, certificate } = as.options;
  const self = {
    identity,
    network,
    tier,
    address: null,
    certificate: certificate.binding,
    boot_nonce: bootNonce(systemRandom.bytes),
    random_bytes: systemRandom.bytes,
  };
  const handshake = new ClientHandshake(self, seen.fingerprint);
  const result = await new Promise<ClientResult>((resolve, reject) => {
    wire.handler = {
      message: (bytes) => resolve(handshake.receive(bytes!) as ClientResult),
      closed: reject,
    };
    wire.send(handshake.hello);
  });
  wire.handler = { message: () => undefined, closed: () => undefined };
  wire.send(result.proof);
  await until(() => target.ups.includes(identity.public_key), "rogue accepted");
  const seal = (frame: Partial<Frame>) =>
    result.session.seal({
      kind: KIND.message,
      request_id: 0,
      type: "test.note",
      body: new Uint8Array(),
      ...frame,
    });
  return { wire, seal, send: (frame: Partial<Frame>) => wire.send(seal(frame)) };
}

async function stillServes(target: Node): Promise<void> {
  const friend = startNode(90);
  await friend.transport.connect(target.transport.address);
  friend.transport.send(target.key, note("alive"));
  await until(() => target.messages.some(({ from }) => from === friend.key), "still serves");
}

test("malformed bodies are dropped and scored one by one, and nothing is delivered", async () => {
  const target = startNode(1);
  const { send, wire } = await rogue(target, startNode(2));
  const bomb = new Uint8Array(1000).fill(0x91);
  bomb[999] = 0xc0;
  const hostile: [string, Partial<Frame>][] = [
    ["nested bomb", { body: bomb }],
    ["__proto__", { body: Buffer.from("81a95f5f70726f746f5f5f80", "hex") }],
    ["extra field", { body: encodeBody({ text: "x", more: 1 }) }],
    ["unknown type", { type: "test.unknown", body: encodeBody({}) }],
    ["trailing bytes", { body: Buffer.concat([encodeBody({ text: "x" }), Buffer.from([0])]) }],
    ["above the type's limit", { body: encodeBody({ text: "x".repeat(3000) }) }],
    ["wrong shape", { body: encodeBody({ text: 7 }) }],
    ["announces 4 GiB", { body: Buffer.from("ddffffffff", "hex") }],
    ["empty", {}],
  ];
  for (const [i, [name, frame]] of hostile.entries()) {
    send(frame);
    await until(() => target.transport.peers()[0]?.score === -10 * (i + 1), name);
  }
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  expect(target.messages).toEqual([]);
  send({ body: encodeBody({ text: "one offence too many", x: 1 }) });
  await until(() => target.downs.length === 1, "barred");
  await until(() => wire.closed);
  expect(target.downs[0]?.reason).toContain("barred");
  await stillServes(target);
});

test("a repeated and a tampered frame close the connection undelivered", async () => {
  const target = startNode(1);
  const first = await rogue(target, startNode(2));
  const frame = first.seal({ body: encodeBody({ text: "once" }) });
  first.wire.send(frame);
  await until(() => target.messages.length === 1);
  first.wire.send(frame);
  await until(() => target.downs.length === 1, "replay closes");
  const second = await rogue(target, startNode(3));
  const changed = second.seal({ body: encodeBody({ text: "pay 1" }) });
  changed[changed.length - 17]! ^= 1;
  second.wire.send(changed);
  await until(() => target.downs.length === 2, "tampering closes");
  expect(target.messages.length).toBe(1);
  await stillServes(target);
});

test("an oversized frame closes the connection before it is buffered", async () => {
  const target = startNode(1);
  const { wire } = await rogue(target, startNode(2));
  wire.send(new Uint8Array(16 << 20));
  await until(() => target.downs.length === 1);
  expect(target.transport.stats().bytes_in).toBeLessThan(1 << 20);
  await stillServes(target);
});

test("garbage instead of a handshake, text, HTTP and raw bytes", async () => {
  const target = startNode(1);
  for (const bytes of [systemRandom.bytes(100), new Uint8Array(), systemRandom.bytes(8192)]) {
    const { wire } = await rawWire(target);
    wire.send(bytes);
    await until(() => wire.closed, `garbage of ${bytes.length} bytes closed`);
  }
  const port = Number(target.transport.address.split(":")[1]);
  const socket = net.connect(port, "127.0.0.1");
  let isClosed = false;
  socket
    .on("error", () => undefined)
    .on("close", () => {
      isClosed = true;
    });
  socket.resume();
  socket.write(systemRandom.bytes(4096));
  await until(() => isClosed, "raw bytes closed");
  await stillServes(target);
});

test("slow-loris: a silent handshake is closed at its deadline, and slots are limited per host", async () => {
  const target = startNode(1, { limits: { handshake_ms: 300, handshakes_per_host: 3 } });
  const wires: Wire[] = [];
  for (let i = 0; i < 3; i++) wires.push((await rawWire(target)).wire);
  expect(await codeOf(rawWire(target))).toBe("PEER_UNREACHABLE");
  await until(() => wires.every((wire) => wire.closed), "deadline");
  await stillServes(target);
});

test("a flood is cut off, with bounded memory, while another peer is served", async () => {
  const limits = {
    frames_per_s: 200,
    frames_burst: 500,
    bytes_per_s: 1 << 20,
    bytes_burst: 1 << 20,
  };
  const target = startNode(1, { limits });
  const { wire, seal } = await rogue(target, startNode(2));
  const before = process.memoryUsage().rss;
  for (let i = 0; i < 20_000 && !wire.closed; i++) {
    wire.send(seal({ body: encodeBody({ text: "flood".repeat(100) }) }));
    if (i % 500 === 0) await Bun.sleep(0);
  }
  await until(() => target.downs.length === 1, "flood cut off");
  expect(target.messages.length).toBeLessThanOrEqual(600);
  expect(process.memoryUsage().rss - before).toBeLessThan(256 << 20);
  await stillServes(target);
});

test("identity theft: claiming a key without holding it is refused", async () => {
  const target = startNode(1);
  const victim = startNode(2);
  const thief = startNode(3);
  const identity = { ...victim.identity, sign: thief.identity.sign };
  const impostor = startNode(4, { identity, certificate: victim.options.certificate });
  expect(await codeOf(impostor.transport.connect(target.transport.address))).toBe("PEER_IDENTITY");
  expect(await codeOf(target.transport.connect(impostor.transport.address))).toBe("PEER_IDENTITY");
  expect(target.ups).toEqual([]);
});

/** Terminates TLS with its own certificate and pipes to the real node. */
async function manInTheMiddle(victim: Node): Promise<string> {
  const own = createCertificate(startNode(77).identity, systemRandom, Date.now());
  const port = Number(victim.transport.address.split(":")[1]);
  const server = tls.createServer({ cert: own.cert_pem, key: own.key_pem }, (client) => {
    const upstream = tls.connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
    for (const socket of [client, upstream]) socket.on("error", () => undefined);
    client.pipe(upstream).pipe(client);
    onEnd(() => {
      client.destroy();
      upstream.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onEnd(() => {
    server.close();
  });
  return `127.0.0.1:${(server.address() as net.AddressInfo).port}`;
}

test("a man in the middle is refused on first contact, with and without a known key", async () => {
  const a = startNode(1);
  const b = startNode(2);
  const address = await manInTheMiddle(b);
  // The signatures do not fit the certificate that the client saw.
  expect(await codeOf(a.transport.connect(address, b.key))).toBe("PEER_IDENTITY");
  expect(await codeOf(a.transport.connect(address))).toBe("PEER_IDENTITY");
  expect(a.pins.all()).toEqual([]);
  expect(b.ups).toEqual([]);
});

test("a changed certificate: higher serial accepted, lower refused until reset; another key refused", async () => {
  const a = startNode(1);
  const b = startNode(2);
  const { address } = b.transport;
  const port = Number(address.split(":")[1]);
  await a.transport.connect(address, b.key);
  const { serial } = b.options.certificate.binding;
  const restart = async (seed: number, serial_ms: number) => {
    await until(() => a.transport.peers().length === 0);
    const { identity } = startNode(seed);
    const certificate = createCertificate(identity, systemRandom, serial_ms);
    return startNode(seed, { listen: { host: "127.0.0.1", port }, certificate });
  };
  await b.transport.close();
  const older = await restart(2, serial - 1000);
  expect(await codeOf(a.transport.connect(address, b.key))).toBe("CERTIFICATE_CHANGED");
  await older.transport.close();
  const newer = await restart(2, serial + 1000);
  expect(await a.transport.connect(address, b.key)).toBe(b.key);
  expect(a.pins.get(b.key)?.serial).toBe(serial + 1000);
  await newer.transport.close();
  const stranger = await restart(3, serial + 2000);
  expect(await codeOf(a.transport.connect(address))).toBe("PEER_CHANGED");
  await stranger.transport.close();
  const back = await restart(2, serial - 1000);
  a.pins.reset(b.key);
  expect(await a.transport.connect(address, b.key)).toBe(b.key);
  await back.transport.close();
});

test("a peer that answers no ping is dropped as silent; one that does stays", async () => {
  const target = startNode(1, { limits: { idle_ms: 400, ping_ms: 50 } });
  const friend = startNode(3);
  await friend.transport.connect(target.transport.address);
  await rogue(target, startNode(2));
  await until(() => target.downs.length === 1, "silent peer dropped");
  expect(target.downs[0]?.reason).toContain("silent");
  expect(target.transport.peers().map(({ public_key }) => public_key)).toEqual([friend.key]);
});

test("a dead connection does not lock its owner out: the probe ends it, the new process gets in", async () => {
  const target = startNode(1, { limits: { probe_ms: 100 } });
  const ghost = startNode(2);
  await rogue(target, ghost); // the old process: its connection stands and nobody answers on it
  expect(await codeOf(ghost.transport.connect(target.transport.address))).toBe("IDENTITY_IN_USE");
  await until(() => target.downs.length === 1, "probe");
  expect(await ghost.transport.connect(target.transport.address)).toBe(target.key);
});

test("the socket trusts exactly the given certificate, whatever else is valid", async () => {
  const [target, other] = [startNode(1), startNode(2)];
  const { cert_pem } = other.options.certificate;
  const wrong = openSocket(target.transport.address, cert_pem, 5000, counter());
  expect(await codeOf(wrong)).toBe("PEER_UNREACHABLE");
  const { wire } = await rawWire(target);
  wire.close("test");
});
