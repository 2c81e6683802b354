/**
 * Peers that speak valid TLS and then send what they like, before and after an honest handshake.
 */

import { networkConfigHash } from "../../src/agent/network-file.ts";
import { systemClock } from "../../src/core/clock.ts";
import { seededRandom, systemRandom } from "../../src/core/random.ts";
import { createCertificate } from "../../src/network/certificate.ts";
import { fetchCertificate, openSocket } from "../../src/network/dialer.ts";
import { type Frame, KIND } from "../../src/network/envelope.ts";
import { bootNonce, ClientHandshake, type ClientResult } from "../../src/network/handshake.ts";
import { type Identity, identityOf } from "../../src/network/identity.ts";
import type { Wire } from "../../src/network/wire.ts";
import { type Member, until } from "./real-nodes.ts";

const counter = () => ({ bytes_in: 0, bytes_out: 0 });

/** A WebSocket over TLS to the node, without a handshake of ours. */
export async function rawWire(target: Member): Promise<Wire> {
  const { address } = target.running.transport;
  const seen = await fetchCertificate(address, 5000);
  const wire = await openSocket(address, seen.cert_pem, 5000, counter());
  wire.handler = { message: () => undefined, closed: () => undefined };
  return wire;
}

export interface Rogue {
  identity: Identity;
  /** Seals and sends any frame on the authenticated connection. */
  send(frame: Partial<Frame>): void;
  close(): void;
}

/** The key of nobody's. */
export const strangerKey = (seed: number): Identity => identityOf(seededRandom(seed).bytes(32));

/** A peer with this key that finished the handshake honestly. */
export async function rogue(target: Member, identity: Identity): Promise<Rogue> {
  const { address } = target.running.transport;
  const seen = await fetchCertificate(address, 5000);
  const wire = await openSocket(address, seen.cert_pem, 5000, counter());
  const certificate = createCertificate(identity, systemRandom, systemClock.now_ms());
  const { network } = target;
  const self = {
    identity,
    network: { id: network.id, config_hash: networkConfigHash(network) },
    tier: "cpu_only" as const,
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
  await until("the rogue to be let in", () =>
    target.running.transport.peers().some((peer) => peer.public_key === identity.public_key),
  );
  const empty = { kind: KIND.message, request_id: 0, type: "x", body: new Uint8Array() };
  return {
    identity,
    send: (frame) => wire.send(result.session.seal({ ...empty, ...frame })),
    close: () => wire.close("over"),
  };
}
