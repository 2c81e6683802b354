/** Nodes on loopback with real sockets, for the tests of the network room. */
import { afterEach } from "bun:test";
import { z } from "zod";
import { sha256Hex } from "../../src/core/bytes.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { Log } from "../../src/core/log.ts";
import { seededRandom, systemRandom } from "../../src/core/random.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";
import { createCertificate } from "../../src/network/certificate.ts";
import { identityOf } from "../../src/network/identity.ts";
import { openPeerDatabase } from "../../src/network/peer-database.ts";
import { defineMessage, type Message } from "../../src/network/protocol.ts";
import { PinStore } from "../../src/network/tls-pins.ts";
import { createTransport, type TransportOptions } from "../../src/network/transport.ts";

export const noteMessage = defineMessage({
  type: "test.note",
  schema: z.strictObject({ text: z.string().max(1000), list: z.array(z.int()).optional() }),
  limit_bytes: 2048,
  why: "a short text",
});
export const echoRequest = {
  request: defineMessage({
    type: "test.echo",
    schema: z.strictObject({ text: z.string() }),
    limit_bytes: 1024,
    why: "a short text",
  }),
  response: defineMessage({
    type: "test.echo_reply",
    schema: z.strictObject({ text: z.string() }),
    limit_bytes: 1024,
    why: "the same text",
  }),
};

const quiet = () => undefined;
export const silentLog: Log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
export const CONFIG_HASH = sha256Hex("config") as Hash;

/** Waits until the condition holds; the test's own timeout ends it otherwise. */
export async function until(condition: () => boolean, what = "condition"): Promise<void> {
  const end = performance.now() + 8000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await Bun.sleep(5);
  }
}

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});
export const onEnd = (close: () => Promise<void> | void) =>
  closing.push(async () => {
    await close();
  });

/** A node with its events recorded. The seed is its identity. */
export function startNode(seed: number, overrides: Partial<TransportOptions> = {}) {
  const identity = identityOf(seededRandom(seed).bytes(32));
  const database = openPeerDatabase(":memory:");
  const pins = new PinStore(database);
  const options: TransportOptions = {
    identity,
    network: { id: "testnet", config_hash: CONFIG_HASH },
    listen: { host: "127.0.0.1", port: 0 },
    tier: "cpu_only",
    specs: [noteMessage],
    requests: [echoRequest],
    certificate: createCertificate(identity, systemRandom, Date.now()),
    pins,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    ...overrides,
  };
  const transport = createTransport(options);
  const messages: { from: PublicKey; message: Message }[] = [];
  const ups: PublicKey[] = [];
  const downs: { key: PublicKey; reason: string }[] = [];
  transport.on({
    peer_up: ({ public_key }) => ups.push(public_key),
    peer_down: (key, reason) => downs.push({ key, reason }),
    message: (from, message) => messages.push({ from, message }),
  });
  closing.push(() => transport.close());
  return { identity, transport, pins, options, messages, ups, downs, key: identity.public_key };
}

/** The code of the error that the promise rejects with. */
export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "no error",
    (error: { code?: string; message: string }) => error.code ?? error.message,
  );
