/**
 * Puts the pieces together: listener, dialler, handshakes, one connection per peer, events. It does
 * I/O and keeps tables; what is decided (admission, scores, signatures, frames) is decided below
 * it.
 */
import { invariant, MagnetError } from "../core/errors.ts";
import type { PublicKey } from "../core/types.ts";
import { encodeBody } from "./codec.ts";
import { Connection, type ConnectionContext } from "./connection.ts";
import {
  bootNonce,
  encodeRefusal,
  type HandshakePeer,
  type HandshakeRefusal,
  type HandshakeSelf,
  ServerHandshake,
} from "./handshake.ts";
import { nodeIdOf } from "./identity.ts";
import { DEFAULT_LIMITS, type TransportLimits } from "./limits.ts";
import { type Listener, startListener } from "./listener.ts";
import { byType, longestFrame } from "./message-types.ts";
import { Outbound } from "./outbound.ts";
import { PeerTable } from "./peer-table.ts";
import type { Message, MessageSpec } from "./protocol.ts";
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
  readonly #outbound: Outbound;
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
    this.#outbound = new Outbound({
      self: this.#self,
      pins: options.pins,
      table: this.#table,
      connection: this.#context,
      total: this.#total,
      handshakes: this.#handshakes,
      entered: (connection, replaced) => this.#entered(connection, replaced),
    });
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
        accepted: (connection) => this.#outbound.accepted(connection),
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
    this.#outbound.resolveAwaited(public_key);
  }

  connect(address: string, expected?: PublicKey): Promise<PublicKey> {
    return this.#outbound.connect(address, expected);
  }

  #onClosed(connection: Connection, reason: string) {
    this.#handshakes.delete(connection.wire);
    if (this.#outbound.closed(connection, reason)) return;
    const { public_key } = connection.peer;
    if (this.#table.remove(connection))
      this.#emit((events) => events.peer_down?.(public_key, reason));
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
    this.#outbound.sweep(now_ms);
  }

  async close(): Promise<void> {
    if (this.#is_closed) return;
    this.#is_closed = true;
    clearInterval(this.#timer);
    for (const wire of [...this.#handshakes.keys()]) wire.terminate("this node stops");
    for (const connection of this.#table.all()) connection.closeWith("STOPPING", "the node stops");
    this.#outbound.close();
    await this.#listener.close();
  }
}
