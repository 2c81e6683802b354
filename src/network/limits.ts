/**
 * Every limit of the transport in one place, each with its reason and what happens when it is
 * reached.
 */

export interface TransportLimits {
  /** From TCP accept to the last handshake message; slow-loris. At the limit: closed. */
  handshake_ms: number;
  /** A handshake message; the largest real one is below 1 KiB. Larger: closed. */
  handshake_bytes: number;
  /** Silence on a connection after which it counts as dead (pings keep it alive). */
  idle_ms: number;
  /** Silence after which a ping is sent. */
  ping_ms: number;
  /** Connections in all; one more is answered 503. */
  connections: number;
  /** Connections without a finished handshake, in all; one more is answered 503. */
  handshakes: number;
  /** The same for one remote address: one host cannot take all of the slots. */
  handshakes_per_host: number;
  /** Frames a second and in one burst; above: the connection is dropped and the peer barred. */
  frames_per_s: number;
  frames_burst: number;
  /** Bytes nobody here asked for, a second and in one burst (answers are paced by our requests). */
  bytes_per_s: number;
  bytes_burst: number;
  /** Requests of one peer being worked on; one more is answered "busy". */
  requests_in: number;
  /** Our requests waiting for one peer's answer; one more throws PEER_BUSY. */
  requests_out: number;
  /** Bytes queued towards one peer; above: sends are refused. */
  outgoing_bytes: number;
  /** Score at which a peer is disconnected and barred; one malformed frame costs 10. */
  score_min: number;
  /** How long a barred peer's handshakes are refused. */
  bar_ms: number;
  /** Keys whose score is remembered; the oldest is forgotten. */
  scores: number;
  /** How long a connection is probed when its key shows up with another boot nonce. */
  probe_ms: number;
}

export const DEFAULT_LIMITS: TransportLimits = {
  handshake_ms: 10_000,
  handshake_bytes: 4096,
  idle_ms: 60_000,
  ping_ms: 20_000,
  connections: 1024,
  handshakes: 256,
  handshakes_per_host: 64,
  frames_per_s: 4000,
  frames_burst: 16_000,
  bytes_per_s: 32 << 20,
  bytes_burst: 128 << 20,
  requests_in: 64,
  requests_out: 256,
  outgoing_bytes: 64 << 20,
  score_min: -100,
  bar_ms: 300_000,
  scores: 4096,
  probe_ms: 3000,
};

/** Shape of any body: the deepest real one has 6 levels. Deeper or larger: the frame is dropped. */
export const DEPTH_MAX = 16;
/** 1,024 acknowledgements of 3 fields each, three times over, with room to spare. */
export const ELEMENTS_MAX = 65_536;
/** Longest message type, in ASCII characters. */
export const TYPE_MAX = 64;
