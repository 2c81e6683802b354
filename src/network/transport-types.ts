/**
 * What the rest of the node sees of the network: authenticated peers, one-way messages, and
 * requests with an answer. Bodies were checked against the schema of their type before they are
 * delivered, and a peer's misbehaviour is scored and answered inside the transport: nothing that a
 * peer sends throws here.
 */
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Tier } from "../core/tiers.ts";
import type { Hash, NodeId, PublicKey } from "../core/types.ts";
import type { NodeCertificate } from "./certificate.ts";
import type { Identity } from "./identity.ts";
import type { TransportLimits } from "./limits.ts";
import type { Message, MessageSpec } from "./protocol.ts";
import type { PinStore } from "./tls-pins.ts";

/** A question and its answer: two message types, one name (that of the request). */
export interface RequestSpec {
  request: MessageSpec;
  response: MessageSpec;
}

export interface TransportOptions {
  identity: Identity;
  /** `config_hash`: hash over all values that must be equal on every node. */
  network: { id: string; config_hash: Hash };
  /** Port 0: any free one. */
  listen: { host: string; port: number };
  /** "host:port" that others are told; the listening address unless given, null: not reachable. */
  advertise?: string | null;
  tier: Tier;
  specs: readonly MessageSpec[];
  requests?: readonly RequestSpec[];
  certificate: NodeCertificate;
  pins: PinStore;
  clock: Clock;
  random: Random;
  log: Log;
  /** Overrides of the defaults in limits.ts. */
  limits?: Partial<TransportLimits>;
}

/** One authenticated connection, as shown by `magnet peers`. */
export interface PeerView {
  public_key: PublicKey;
  node_id: NodeId;
  /** What the peer advertises; null where it cannot be dialled. */
  address: string | null;
  tier: Tier;
  connected_since_ms: number;
  bytes_in: number;
  bytes_out: number;
  /** 0 for a peer without fault; falls with every offence. */
  score: number;
}

export interface PeerUp {
  public_key: PublicKey;
  node_id: NodeId;
  tier: Tier;
  address: string | null;
  /** The address that this node dialled, null where the peer opened the connection. */
  dialed: string | null;
}

/** Called synchronously, one at a time; must not throw. */
export interface TransportEvents {
  peer_up?(peer: PeerUp): void;
  peer_down?(publicKey: PublicKey, reason: string): void;
  message?(from: PublicKey, message: Message): void;
}

export interface RequestOptions {
  timeout_ms: number;
  signal?: AbortSignal | undefined;
}

/** Answers one request type; a MagnetError goes back to the asker with its code and message. */
export type RequestHandler = (from: PublicKey, body: unknown) => Promise<unknown>;

export interface Transport {
  readonly public_key: PublicKey;
  /** "host:port" that the server listens on (the real port). */
  readonly address: string;
  /** What peers are told; null where this node cannot be dialled. */
  readonly advertised: string | null;
  /**
   * Dials and authenticates; resolves with the peer's key once the connection stands (an existing
   * one counts). Throws PEER_UNREACHABLE, PEER_REFUSED, PEER_IDENTITY, CERTIFICATE_CHANGED,
   * HANDSHAKE_*.
   */
  connect(address: string, expected?: PublicKey): Promise<PublicKey>;
  /** False where no connection stands or its outgoing buffer is full: the message is dropped. */
  send(to: PublicKey, message: Message): boolean;
  /** To every connected peer; returns to how many it went. */
  broadcast(message: Message): number;
  peers(): PeerView[];
  on(events: TransportEvents): void;
  handle(type: string, handler: RequestHandler): void;
  /**
   * Throws PEER_NOT_CONNECTED, PEER_LOST, PEER_BUSY, REQUEST_TIMEOUT (all retryable),
   * REQUEST_ABORTED, BAD_RESPONSE, or the peer's own code as PEER_ERROR.
   */
  request(to: PublicKey, type: string, body: unknown, options: RequestOptions): Promise<unknown>;
  /** Scores a peer for an offence seen by a room above (for example a corrupt blob). */
  penalize(publicKey: PublicKey, points: number, reason: string): void;
  disconnect(publicKey: PublicKey, reason: string): void;
  /** Bytes of all WebSocket frames since the start, closed connections included. */
  stats(): { bytes_in: number; bytes_out: number };
  close(): Promise<void>;
}
