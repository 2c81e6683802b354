/**
 * Outgoing connections: pin, TLS, the client's side of the handshake, and the wait until the other
 * side accepts. A dial that meets a standing connection to the same peer resolves with that one.
 */
import type { MagnetError } from "../core/errors.ts";
import type { PublicKey } from "../core/types.ts";
import { Connection, type ConnectionContext } from "./connection.ts";
import { closedError, dialError } from "./dial-error.ts";
import { fetchCertificate, openSocket, parseAddress, type SeenCertificate } from "./dialer.ts";
import {
  ClientHandshake,
  type ClientResult,
  type HandshakeRefusal,
  type HandshakeSelf,
} from "./handshake.ts";
import { nodeIdOf } from "./identity.ts";
import type { PeerTable } from "./peer-table.ts";
import { checkPin, type PinDecision, type PinStore } from "./tls-pins.ts";
import type { ByteCounter, Wire } from "./wire.ts";

interface Dial {
  resolve(key: PublicKey): void;
  reject(error: MagnetError): void;
}

/** What the dials share with the rest of the transport. */
export interface OutboundContext {
  self: HandshakeSelf;
  pins: PinStore;
  table: PeerTable;
  connection: ConnectionContext;
  total: ByteCounter;
  /** Wires whose handshake is under way, with its deadline; the transport ends the late ones. */
  handshakes: Map<Wire, number>;
  /** A connection became the peer's current one. */
  entered(connection: Connection, replaced: Connection | undefined): void;
}

const DUPLICATE_LOST = { code: "HANDSHAKE_FAILED", message: "the other connection never stood" };

/** All dials of one transport. */
export class Outbound {
  readonly #context: OutboundContext;
  /** Dialled connections that wait for `accepted`. */
  readonly #dials = new Map<Connection, Dial>();
  readonly #connecting = new Map<string, Promise<PublicKey>>();
  /** Dials that were told of a duplicate and wait for it to stand. */
  readonly #awaited = new Map<PublicKey, Set<Dial & { deadline_ms: number }>>();
  #is_closed = false;

  constructor(context: OutboundContext) {
    this.#context = context;
  }

  get #now_ms(): number {
    return this.#context.connection.clock.now_ms();
  }
  get #timeout_ms(): number {
    return this.#context.connection.limits.handshake_ms;
  }

  /** See Transport.connect. */
  connect(address: string, expected?: PublicKey): Promise<PublicKey> {
    if (this.#is_closed) return Promise.reject(closedError());
    if (expected !== undefined && this.#context.table.get(expected))
      return Promise.resolve(expected);
    const id = `${expected ?? ""}@${address}`;
    const running = this.#connecting.get(id);
    if (running) return running;
    const dial = this.#dial(address, expected).finally(() => this.#connecting.delete(id));
    this.#connecting.set(id, dial);
    return dial;
  }

  async #dial(address: string, expected: PublicKey | undefined): Promise<PublicKey> {
    parseAddress(address);
    const { pins, total } = this.#context;
    const timeout_ms = this.#timeout_ms;
    const pin = expected === undefined ? pins.at(address) : pins.get(expected);
    let seen: SeenCertificate | undefined = pin;
    let wire: Wire;
    try {
      seen ??= await fetchCertificate(address, timeout_ms);
      wire = await openSocket(address, seen.cert_pem, timeout_ms, total);
    } catch (error) {
      if (pin === undefined) throw error;
      // Perhaps the certificate changed: what it is now must be backed by the wallet's signature.
      seen = await fetchCertificate(address, timeout_ms);
      if (seen.fingerprint === pin.fingerprint) throw error;
      wire = await openSocket(address, seen.cert_pem, timeout_ms, total);
    }
    if (this.#is_closed) {
      wire.terminate("closed");
      throw closedError();
    }
    return this.#clientHandshake(wire, address, expected, seen);
  }

  #clientHandshake(
    wire: Wire,
    address: string,
    expected: PublicKey | undefined,
    seen: SeenCertificate,
  ): Promise<PublicKey> {
    const handshake = new ClientHandshake(this.#context.self, seen.fingerprint);
    this.#context.handshakes.set(wire, this.#now_ms + this.#timeout_ms);
    return new Promise((resolve, reject) => {
      const fail = (refusal: HandshakeRefusal) => {
        this.#context.handshakes.delete(wire);
        reject(dialError(address, refusal)); // before the closing rejects with less to say
        wire.terminate(refusal.message);
      };
      wire.handler = {
        closed: (reason) => {
          this.#context.handshakes.delete(wire);
          reject(dialError(address, { code: "HANDSHAKE_FAILED", message: reason }));
        },
        message: (bytes) => {
          if (bytes === undefined || bytes.length > this.#context.connection.limits.handshake_bytes)
            return fail({ code: "HANDSHAKE_MALFORMED", message: "oversized handshake" });
          const result = handshake.receive(bytes);
          if ("code" in result) return fail(result);
          const decision = checkPin(this.#context.pins, {
            address,
            expected,
            public_key: result.public_key,
            certificate: result.certificate,
          });
          if ("code" in decision) return fail(decision);
          this.#proven(wire, address, result, seen, decision, { resolve, reject });
        },
      };
      if (!wire.send(handshake.hello))
        fail({ code: "HANDSHAKE_FAILED", message: "the connection closed at once" });
    });
  }

  /** The server is who it should be: prove ourselves, and wait until it accepts. */
  #proven(
    wire: Wire,
    address: string,
    peer: ClientResult,
    seen: SeenCertificate,
    decision: Extract<PinDecision, { pin: boolean }>,
    dial: Dial,
  ): void {
    const { pins } = this.#context;
    const { public_key, certificate } = peer;
    const { fingerprint, serial } = certificate;
    const { cert_pem } = seen;
    if (decision.pin)
      pins.set({ public_key, address, cert_pem, fingerprint, serial, pinned_ms: this.#now_ms });
    const connection = new Connection(peer, wire, address, this.#context.connection);
    this.#dials.set(connection, dial);
    wire.send(peer.proof);
  }

  /** The accepting side said yes. */
  accepted(connection: Connection) {
    this.#context.handshakes.delete(connection.wire);
    const dial = this.#dials.get(connection);
    this.#dials.delete(connection);
    const { public_key } = connection.peer;
    const admission = this.#context.table.admit(connection, this.#now_ms);
    if ("code" in admission) {
      connection.closeWith(admission.code, admission.message);
      if (this.#context.table.get(public_key)?.peer.boot_nonce === connection.peer.boot_nonce)
        dial?.resolve(public_key);
      else dial?.reject(dialError(connection.dialed ?? "", admission));
      return;
    }
    this.#context.entered(connection, admission.replaced);
    dial?.resolve(public_key);
  }

  /** True if the connection was a dial under way, whose end is then settled here. */
  closed(connection: Connection, reason: string): boolean {
    const dial = this.#dials.get(connection);
    if (dial === undefined) return false;
    this.#dials.delete(connection);
    this.#dialClosed(connection, dial, reason);
    return true;
  }

  #dialClosed(connection: Connection, dial: Dial, reason: string) {
    const { public_key } = connection.peer;
    if (!reason.startsWith("DUPLICATE")) {
      const code = /^([A-Z_]+): /.exec(reason)?.[1] ?? "HANDSHAKE_FAILED";
      return dial.reject(dialError(connection.dialed ?? "", { code, message: reason }));
    }
    if (this.#context.table.get(public_key)) return dial.resolve(public_key);
    // The other connection is about to stand on this side too.
    const deadline_ms = this.#now_ms + this.#timeout_ms;
    const set = this.#awaited.get(public_key) ?? new Set();
    set.add({ ...dial, deadline_ms });
    this.#awaited.set(public_key, set);
  }

  /** A connection to this peer stands: whoever waited for one has it. */
  resolveAwaited(publicKey: PublicKey): void {
    const awaited = this.#awaited.get(publicKey);
    this.#awaited.delete(publicKey);
    for (const dial of awaited ?? []) dial.resolve(publicKey);
  }

  /** Ends the waits that took too long. */
  sweep(now_ms: number): void {
    for (const [key, dials] of this.#awaited)
      for (const dial of dials) {
        if (now_ms < dial.deadline_ms) continue;
        dials.delete(dial);
        if (dials.size === 0) this.#awaited.delete(key);
        dial.reject(dialError(nodeIdOf(key), DUPLICATE_LOST));
      }
  }

  close(): void {
    this.#is_closed = true;
    for (const dials of this.#awaited.values())
      for (const dial of dials) dial.reject(closedError());
    this.#awaited.clear();
  }
}
