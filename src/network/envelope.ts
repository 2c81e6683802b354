/**
 * Frames on an authenticated connection:
 *   u8 kind | u32 request id | u8 length of the type | type (ASCII) | body (MessagePack)
 *     | 16-byte MAC
 * The MAC is HMAC-SHA-256 over a 64-bit counter and the frame, one key and one counter per direction: a
 * frame that was changed, repeated, reordered or reflected does not open. Big-endian.
 */
import { equalBytes } from "../core/bytes.ts";
import { TYPE_MAX } from "./limits.ts";

/** What a frame is. Values are part of the wire format. */
export const KIND = {
  message: 1,
  request: 2,
  response: 3,
  error: 4,
  ping: 5,
  pong: 6,
  accepted: 7,
  notice: 8,
} as const;
export type Kind = (typeof KIND)[keyof typeof KIND];
const KIND_MAX = KIND.notice;

/** Head of a frame without its type. */
const HEAD_BYTES = 6;
const MAC_BYTES = 16;
/** Bytes of a frame that are not body. */
export const FRAME_OVERHEAD = HEAD_BYTES + TYPE_MAX + MAC_BYTES;

/** A parsed frame; `body` is a view into the received bytes. */
export interface Frame {
  kind: Kind;
  /** Pairs a response with its request; 0 for other kinds. */
  request_id: number;
  type: string;
  body: Uint8Array;
}

/** Seals outgoing and opens incoming frames of one connection. */
export class Session {
  readonly #send_key: Uint8Array;
  readonly #receive_key: Uint8Array;
  #sent = 0n;
  #received = 0n;

  constructor(keys: { send: Uint8Array; receive: Uint8Array }) {
    this.#send_key = keys.send;
    this.#receive_key = keys.receive;
  }

  /** The frame's bytes with the MAC of the next counter; must be sent in this order. */
  seal(frame: Frame): Uint8Array {
    const head = HEAD_BYTES + frame.type.length;
    const bytes = Buffer.allocUnsafe(head + frame.body.length + MAC_BYTES);
    bytes[0] = frame.kind;
    bytes.writeUInt32BE(frame.request_id, 1);
    bytes[5] = frame.type.length;
    bytes.write(frame.type, HEAD_BYTES, "latin1");
    bytes.set(frame.body, head);
    const end = head + frame.body.length;
    bytes.set(mac(this.#send_key, this.#sent++, bytes.subarray(0, end)), end);
    return bytes;
  }

  /** The frame, or why it is dropped. `forged`: the connection must be closed. */
  open(bytes: Uint8Array): Frame | "forged" | "malformed" {
    if (bytes.length < HEAD_BYTES + MAC_BYTES) return "forged";
    const end = bytes.length - MAC_BYTES;
    const expected = mac(this.#receive_key, this.#received, bytes.subarray(0, end));
    if (!equalBytes(expected, bytes.subarray(end))) return "forged";
    this.#received++;
    return parseFrame(bytes.subarray(0, end)) ?? "malformed";
  }
}

function mac(key: Uint8Array, counter: bigint, bytes: Uint8Array): Uint8Array {
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64BE(counter);
  const digest = new Bun.CryptoHasher("sha256", key).update(prefix).update(bytes).digest();
  return digest.subarray(0, MAC_BYTES);
}

/** Splits a frame without its MAC; undefined where it is malformed. */
export function parseFrame(bytes: Uint8Array): Frame | undefined {
  if (bytes.length < HEAD_BYTES) return undefined;
  const kind = bytes[0]!;
  const length = bytes[5]!;
  if (kind < 1 || kind > KIND_MAX || length > TYPE_MAX) return undefined;
  if (bytes.length < HEAD_BYTES + length) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const type = String.fromCharCode(...bytes.subarray(HEAD_BYTES, HEAD_BYTES + length));
  return {
    kind: kind as Kind,
    request_id: view.getUint32(1),
    type,
    body: bytes.subarray(HEAD_BYTES + length),
  };
}
