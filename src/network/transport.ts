/**
 * Puts the pieces together: listener, dialler, handshakes, one connection per peer, events. It does I/O
 * and keeps tables; what is decided (admission, scores, signatures, frames) is decided below it.
 */
import { invariant, MagnetError } from "../core/errors.ts";
import type { PublicKey } from "../core/types.ts";
import { encodeBody } from "./codec.ts";
import { Connection, type ConnectionContext } from "./connection.ts";
import { fetchCertificate, openSocket, parseAddress, type SeenCertificate } from "./dialer.ts";
import { FRAME_OVERHEAD } from "./envelope.ts";
import {
  bootNonce,
  ClientHandshake,
  type ClientResult,
  encodeRefusal,
  type HandshakePeer,
  type HandshakeRefusal,
  type HandshakeSelf,
  ServerHandshake,
} from "./handshake.ts";
import { nodeIdOf } from "./identity.ts";
import { DEFAULT_LIMITS, type TransportLimits, TYPE_MAX } from "./limits.ts";
import { type Listener, startListener } from "./listener.ts";
import { PeerTable } from "./peer-table.ts";
import type { Message, MessageSpec } from "./protocol.ts";
import { checkPin, type PinDecision } from "./tls-pins.ts";
import type {
  PeerView,
  RequestHandler,
  RequestOptions,
  RequestSpec,
  Transport,
  TransportEvents,
  TransportOptions,
} from "./transport-types.ts";
import type { Wire } from "./wire.ts";

export type * from "./transport-types.ts";

/** How often deadlines are looked at. */
const SWEEP_MS = 50;

/** Starts to listen and returns the transport. Throws PORT_IN_USE. */
export function createTransport(options: TransportOptions): Transport {
  return new NodeTransport(options);
}

interface Dial {
  resolve(key: PublicKey): void;
  reject(error: MagnetError): void;
}

class NodeTransport implements Transport {
  readonly public_key: PublicKey;
  readonly address: string;
  readonly advertised: string | null;
  readonly #options: TransportOptions;
  readonly #limits: TransportLimits;
  readonly #self: HandshakeSelf;
  readonly #listener: Listener;
  readonly #table: PeerTable;
  readonly #context: ConnectionContext;
  readonly #total = { bytes_in: 0, bytes_out: 0 };
  readonly #handlers = new Map<string, RequestHandler>();
  readonly #listeners: TransportEvents[] = [];
  /** Wires whose handshake is under way, with its deadline. */
  readonly #handshakes = new Map<Wire, number>();
  /** Dialled connections that wait for `accepted`. */
  readonly #dials = new Map<Connection, Dial>();
  readonly #connecting = new Map<string, Promise<PublicKey>>();
  /** Dials that were told of a duplicate and wait for it to stand. */
  readonly #awaited = new Map<PublicKey, Set<Dial & { deadline_ms: number }>>();
  readonly #timer: ReturnType<typeof setInterval>;
  #is_closed = false;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.public_key = options.identity.public_key;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#table = new PeerTable(this.public_key, this.#limits);
    this.#context = this.#makeContext();
    this.#listener = startListener({
      listen: options.listen,
      certificate: options.certificate,
      message_bytes: longestFrame(options),
      outgoing_bytes: this.#limits.outgoing_bytes,
      total: this.#total,
      admits: (host) => this.#admitsHost(host),
      connected: (wire) => this.#accept(wire),
    });
    this.address = this.#listener.address;
    this.advertised = options.advertise === undefined ? this.address : options.advertise;
    this.#self = {
      identity: options.identity,
      network: options.network,
      boot_nonce: bootNonce((n) => options.random.bytes(n)),
      address: this.advertised,
      tier: options.tier,
      certificate: options.certificate.binding,
      random_bytes: (n) => options.random.bytes(n),
    };
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MS);
  }

  #makeContext(): ConnectionContext {
    const { specs, requests = [], clock, random, log } = this.#options;
    return {
      specs: byType(specs, (spec) => spec.type),
      requests: byType(requests, (spec) => spec.request.type),
      limits: this.#limits,
      clock,
      random,
      hooks: {
        accepted: (connection) => this.#onAccepted(connection),
        message: ({ peer }, message) =>
          this.#emit((events) => events.message?.(peer.public_key, message)),
        request: async ({ peer }, type, body) => {
          const handler = this.#handlers.get(type);
          if (handler === undefined)
            throw new MagnetError("NOT_SERVED", `this node does not answer ${type}`);
          return handler(peer.public_key, body);
        },
        offence: ({ peer }, points, reason) => {
          if (points > 0) this.penalize(peer.public_key, points, reason);
          else log.warn("peer_notice", { node_id: nodeIdOf(peer.public_key), reason });
        },
        closed: (connection, reason) => this.#onClosed(connection, reason),
      },
    };
  }

  #admitsHost(host: string): boolean {
    const { connections, handshakes, handshakes_per_host } = this.#limits;
    if (this.#table.size + this.#handshakes.size >= connections) return false;
    if (this.#handshakes.size >= handshakes) return false;
    let same = 0;
    for (const wire of this.#handshakes.keys()) if (wire.remote_host === host) same++;
    return same < handshakes_per_host;
  }

  /** The accepting side of a handshake. */
  #accept(wire: Wire): void {
    const handshake = new ServerHandshake(this.#self);
    this.#beginHandshake(wire);
    wire.handler = {
      closed: () => this.#handshakes.delete(wire),
      message: (bytes) => {
        if (bytes === undefined || bytes.length > this.#limits.handshake_bytes)
          return wire.terminate("oversized handshake");
        const result = handshake.receive(bytes);
        if ("reply" in result) wire.send(result.reply);
        else if ("code" in result) this.#refuse(wire, result);
        else this.#admitInbound(wire, result);
      },
    };
  }

  #beginHandshake(wire: Wire): void {
    const deadline_ms = this.#options.clock.now_ms() + this.#limits.handshake_ms;
    this.#handshakes.set(wire, deadline_ms);
  }

  #refuse(wire: Wire, refusal: HandshakeRefusal) {
    const { code, message, peer } = refusal;
    this.#options.log.info("handshake_refused", { host: wire.remote_host, code, message });
    this.#handshakes.delete(wire);
    if (peer) return new Connection(peer, wire, null, this.#context).closeWith(code, message);
    wire.send(encodeRefusal(refusal));
    wire.close(message);
  }

  #admitInbound(wire: Wire, peer: HandshakePeer) {
    this.#handshakes.delete(wire);
    const connection = new Connection(peer, wire, null, this.#context);
    const admission = this.#table.admit(connection, this.#options.clock.now_ms());
    if ("code" in admission) {
      if (admission.code !== "DUPLICATE")
        this.#options.log.warn("peer_refused", {
          node_id: nodeIdOf(peer.public_key),
          ...admission,
        });
      return connection.closeWith(admission.code, admission.message);
    }
    connection.sendAccepted();
    this.#entered(connection, admission.replaced);
  }

  /** The connection is now the peer's current one. */
  #entered(connection: Connection, replaced: Connection | undefined): void {
    const { public_key, tier, address } = connection.peer;
    if (replaced !== undefined) replaced.closeWith("DUPLICATE", "replaced by another connection");
    else {
      const { dialed } = connection;
      const node_id = nodeIdOf(public_key);
      this.#emit((events) => events.peer_up?.({ public_key, node_id, tier, address, dialed }));
    }
    const awaited = this.#awaited.get(public_key);
    this.#awaited.delete(public_key);
    for (const dial of awaited ?? []) dial.resolve(public_key);
  }

  connect(address: string, expected?: PublicKey): Promise<PublicKey> {
    if (this.#is_closed) return Promise.reject(closedError());
    if (expected !== undefined && this.#table.get(expected)) return Promise.resolve(expected);
    const id = `${expected ?? ""}@${address}`;
    const running = this.#connecting.get(id);
    if (running) return running;
    const dial = this.#dial(address, expected).finally(() => this.#connecting.delete(id));
    this.#connecting.set(id, dial);
    return dial;
  }

  async #dial(address: string, expected: PublicKey | undefined): Promise<PublicKey> {
    parseAddress(address);
    const { pins } = this.#options;
    const timeout_ms = this.#limits.handshake_ms;
    const pin = expected === undefined ? pins.at(address) : pins.get(expected);
    let seen: SeenCertificate | undefined = pin;
    let wire: Wire;
    try {
      seen ??= await fetchCertificate(address, timeout_ms);
      wire = await openSocket(address, seen.cert_pem, timeout_ms, this.#total);
    } catch (error) {
      if (pin === undefined) throw error;
      // Perhaps the certificate changed: what it is now must be backed by the wallet's signature.
      seen = await fetchCertificate(address, timeout_ms);
      if (seen.fingerprint === pin.fingerprint) throw error;
      wire = await openSocket(address, seen.cert_pem, timeout_ms, this.#total);
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
    const handshake = new ClientHandshake(this.#self, seen.fingerprint);
    this.#beginHandshake(wire);
    return new Promise((resolve, reject) => {
      const fail = (refusal: HandshakeRefusal) => {
        this.#handshakes.delete(wire);
        reject(dialError(address, refusal)); // before the closing rejects with less to say
        wire.terminate(refusal.message);
      };
      wire.handler = {
        closed: (reason) => {
          this.#handshakes.delete(wire);
          reject(dialError(address, { code: "HANDSHAKE_FAILED", message: reason }));
        },
        message: (bytes) => {
          if (bytes === undefined || bytes.length > this.#limits.handshake_bytes)
            return fail({ code: "HANDSHAKE_MALFORMED", message: "oversized handshake" });
          const result = handshake.receive(bytes);
          if ("code" in result) return fail(result);
          const decision = checkPin(this.#options.pins, {
            address,
            expected,
            public_key: result.public_key,
            certificate: result.certificate,
          });
          if ("code" in decision) return fail(decision);
          this.#proven(wire, address, result, seen, decision, { resolve, reject });
        },
      };
      wire.send(handshake.hello);
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
    const { pins, clock } = this.#options;
    const { public_key, certificate } = peer;
    const { fingerprint, serial } = certificate;
    const { cert_pem } = seen;
    if (decision.pin)
      pins.set({ public_key, address, cert_pem, fingerprint, serial, pinned_ms: clock.now_ms() });
    const connection = new Connection(peer, wire, address, this.#context);
    this.#dials.set(connection, dial);
    wire.send(peer.proof);
  }

  #onAccepted(connection: Connection) {
    this.#handshakes.delete(connection.wire);
    const dial = this.#dials.get(connection);
    this.#dials.delete(connection);
    const { public_key } = connection.peer;
    const admission = this.#table.admit(connection, this.#options.clock.now_ms());
    if ("code" in admission) {
      connection.closeWith(admission.code, admission.message);
      if (this.#table.get(public_key)?.peer.boot_nonce === connection.peer.boot_nonce)
        dial?.resolve(public_key);
      else dial?.reject(dialError(connection.dialed ?? "", admission));
      return;
    }
    this.#entered(connection, admission.replaced);
    dial?.resolve(public_key);
  }

  #onClosed(connection: Connection, reason: string) {
    this.#handshakes.delete(connection.wire);
    const dial = this.#dials.get(connection);
    this.#dials.delete(connection);
    const { public_key } = connection.peer;
    if (dial) return this.#dialClosed(connection, dial, reason);
    if (this.#table.remove(connection))
      this.#emit((events) => events.peer_down?.(public_key, reason));
  }

  #dialClosed(connection: Connection, dial: Dial, reason: string) {
    const { public_key } = connection.peer;
    if (!reason.startsWith("DUPLICATE")) {
      const code = /^([A-Z_]+): /.exec(reason)?.[1] ?? "HANDSHAKE_FAILED";
      return dial.reject(dialError(connection.dialed ?? "", { code, message: reason }));
    }
    if (this.#table.get(public_key)) return dial.resolve(public_key);
    // The other connection is about to stand on this side too.
    const deadline_ms = this.#options.clock.now_ms() + this.#limits.handshake_ms;
    const set = this.#awaited.get(public_key) ?? new Set();
    set.add({ ...dial, deadline_ms });
    this.#awaited.set(public_key, set);
  }

  send(to: PublicKey, message: Message): boolean {
    const connection = this.#table.get(to);
    if (connection === undefined) return false;
    const spec = this.#spec(message.type);
    return connection.send(spec, this.#encode(spec, message.body));
  }

  broadcast(message: Message): number {
    const spec = this.#spec(message.type);
    const body = this.#encode(spec, message.body);
    let sent = 0;
    for (const connection of this.#table.all()) if (connection.send(spec, body)) sent++;
    return sent;
  }

  #spec(type: string): MessageSpec {
    const spec = this.#context.specs.get(type);
    invariant(spec !== undefined, `message type ${type} is declared`);
    return spec;
  }

  #encode(spec: MessageSpec, body: unknown): Uint8Array {
    const bytes = encodeBody(body);
    invariant(bytes.length <= spec.limit_bytes, `${spec.type} keeps its limit of bytes`);
    return bytes;
  }

  peers(): PeerView[] {
    return this.#table.all().map(({ peer, wire, since_ms }) => ({
      public_key: peer.public_key,
      node_id: nodeIdOf(peer.public_key),
      address: peer.address,
      tier: peer.tier,
      connected_since_ms: since_ms,
      bytes_in: wire.bytes_in,
      bytes_out: wire.bytes_out,
      score: this.#table.score(peer.public_key),
    }));
  }

  on(events: TransportEvents): void {
    this.#listeners.push(events);
  }

  #emit(call: (events: TransportEvents) => void): void {
    for (const events of this.#listeners) call(events);
  }

  handle(type: string, handler: RequestHandler): void {
    invariant(this.#context.requests.has(type), `request type ${type} is declared`);
    this.#handlers.set(type, handler);
  }

  request(to: PublicKey, type: string, body: unknown, options: RequestOptions): Promise<unknown> {
    const spec: RequestSpec | undefined = this.#context.requests.get(type);
    invariant(spec !== undefined, `request type ${type} is declared`);
    const connection = this.#table.get(to);
    if (connection === undefined)
      return Promise.reject(
        new MagnetError("PEER_NOT_CONNECTED", `${nodeIdOf(to)} is not connected`, {
          retryable: true,
          exit: "unreachable",
          hint: "magnet peers shows who is",
        }),
      );
    return connection.request(spec, this.#encode(spec.request, body), options);
  }

  penalize(publicKey: PublicKey, points: number, reason: string): void {
    const { log, clock } = this.#options;
    const isOver = this.#table.penalize(publicKey, points, clock.now_ms());
    log.debug("peer_offence", { node_id: nodeIdOf(publicKey), points, reason });
    if (!isOver) return;
    log.warn("peer_barred", { node_id: nodeIdOf(publicKey), reason });
    this.#table.get(publicKey)?.closeWith("BARRED", `barred: ${reason}`);
  }

  disconnect(publicKey: PublicKey, reason: string): void {
    this.#table.get(publicKey)?.closeWith("DISCONNECTED", reason);
  }

  stats(): { bytes_in: number; bytes_out: number } {
    return { ...this.#total };
  }

  #sweep(): void {
    const now_ms = this.#options.clock.now_ms();
    for (const [wire, deadline_ms] of this.#handshakes)
      if (now_ms >= deadline_ms) wire.terminate("the handshake took too long");
    for (const connection of this.#table.all()) connection.sweep(now_ms);
    for (const [key, dials] of this.#awaited)
      for (const dial of dials) {
        if (now_ms < dial.deadline_ms) continue;
        dials.delete(dial);
        if (dials.size === 0) this.#awaited.delete(key);
        dial.reject(dialError(nodeIdOf(key), DUPLICATE_LOST));
      }
  }

  async close(): Promise<void> {
    if (this.#is_closed) return;
    this.#is_closed = true;
    clearInterval(this.#timer);
    for (const wire of [...this.#handshakes.keys()]) wire.terminate("this node stops");
    for (const connection of this.#table.all()) connection.closeWith("STOPPING", "the node stops");
    for (const dials of this.#awaited.values())
      for (const dial of dials) dial.reject(closedError());
    await this.#listener.close();
  }
}

const DUPLICATE_LOST = { code: "HANDSHAKE_FAILED", message: "the other connection never stood" };
const closedError = () => new MagnetError("TRANSPORT_CLOSED", "this node's network is closed");

function byType<S>(specs: readonly S[], typeOf: (spec: S) => string): Map<string, S> {
  const map = new Map<string, S>();
  for (const spec of specs) {
    const type = typeOf(spec);
    invariant(!map.has(type), `message type ${type} is declared once`);
    invariant(/^[\x21-\x7e]+$/.test(type) && type.length <= TYPE_MAX, `${type} is a short word`);
    map.set(type, spec);
  }
  return map;
}

const longestFrame = ({ specs, requests = [] }: TransportOptions): number =>
  FRAME_OVERHEAD +
  Math.max(
    4096,
    ...[...specs, ...requests.flatMap((spec) => [spec.request, spec.response])].map(
      (spec) => spec.limit_bytes,
    ),
  );

/** Errors of a dial by the refusal's code, which a peer may have chosen: unknown ones are PEER_REFUSED. */
function dialError(address: string, { code, message }: HandshakeRefusal): MagnetError {
  const hint = DIAL_HINTS[code];
  const isRetryable = code === "HANDSHAKE_FAILED" || code === "BARRED";
  return new MagnetError(hint ? code : "PEER_REFUSED", `${address}: ${message}`, {
    hint: hint ?? "look into that node's log",
    retryable: isRetryable,
    exit: isRetryable ? "unreachable" : "auth",
  });
}

const TRUST_HINT = "if the change is legitimate: magnet peers trust reset ID";
const DIAL_HINTS: Record<string, string> = {
  PROTOCOL_VERSION: "update magnet on both machines",
  WRONG_NETWORK: "that node belongs to another network",
  NETWORK_CONFIG: "join both nodes with the same network file",
  SAME_IDENTITY: "a node does not dial itself; a copied data folder needs a key of its own",
  PEER_IDENTITY: "somebody else answers at that address; do not trust it",
  CERTIFICATE_MISMATCH: "somebody may listen in between; try from another network",
  CERTIFICATE_CHANGED: TRUST_HINT,
  PEER_CHANGED: TRUST_HINT,
  IDENTITY_IN_USE: "one wallet key runs one node: stop the other process",
  BARRED: "wait five minutes",
  HANDSHAKE_MALFORMED: "is it a magnet node?",
  HANDSHAKE_FAILED: "is it a magnet node, and is it not overloaded?",
};
