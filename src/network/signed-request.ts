/**
 * Signed requests and their freshness (paper 12). Paper: the signature covers `nodeId:timestamp`.
 * We sign network, sender, recipient or topic, method, time, nonce and body hash because otherwise
 * any receiver could replay the header for five minutes with another body. Pure: the clock is an
 * argument.
 */
import { sha256 } from "../core/bytes.ts";
import type { PublicKey } from "../core/types.ts";
import { lengthPrefixed } from "./auth.ts";
import type { Signer, Verifier } from "./signer.ts";

/** What a signed request says, apart from the body itself. */
export interface RequestFields {
  network_id: string;
  sender: PublicKey;
  /** Public key of the recipient, or the topic. */
  recipient: string;
  method: string;
  timestamp_ms: number;
  /** 16 to 64 lower-case hex digits, used once. */
  nonce: string;
}
export interface SignedRequest extends RequestFields {
  signature: string;
}

/** SHA-256 over the length-prefixed fields: what the sender's wallet signs. */
export const requestDigest = (fields: RequestFields, body: Uint8Array): Uint8Array =>
  sha256(
    lengthPrefixed(
      "magnet/1",
      fields.network_id,
      fields.sender,
      fields.recipient,
      fields.method,
      String(fields.timestamp_ms),
      fields.nonce,
      sha256(body),
    ),
  );

/** Signs a request with the sender's wallet. */
export function signRequest(
  signer: Signer,
  fields: Omit<RequestFields, "sender">,
  body: Uint8Array,
): SignedRequest {
  const complete = { ...fields, sender: signer.public_key };
  return { ...complete, signature: signer.sign(requestDigest(complete, body)) };
}

/** Five minutes to both sides of the verifier's clock. */
export const FRESHNESS_WINDOW_MS = 300_000;
/**
 * Requests remembered; 65,536 in ten minutes are 109 a second. At the limit new ones are refused.
 */
export const REPLAY_CACHE_MAX = 65_536;

/** Why a signed request was refused. */
export type Refusal =
  | "wrong_network"
  | "wrong_recipient"
  | "stale"
  | "from_the_future"
  | "before_start"
  | "bad_nonce"
  | "bad_signature"
  | "replayed"
  | "cache_full";

/** What the verifier expects. */
export interface RequestExpectation {
  network_id: string;
  recipient: string;
  verifier: Verifier;
}

/**
 * Verifies signed requests, each at most once. After a restart the cache is empty, so timestamps
 * older than the start are refused; a clock set back cannot reopen the window either, because an
 * entry leaves the cache only when the latest time ever seen has passed it.
 */
export class RequestVerifier {
  /** nonce and sender -> when the entry may go; in order of insertion. */
  readonly #seen = new Map<string, number>();
  readonly #started_ms: number;
  readonly #capacity: number;
  #latest_ms: number;

  constructor(started_ms: number, capacity = REPLAY_CACHE_MAX) {
    this.#started_ms = started_ms;
    this.#latest_ms = started_ms;
    this.#capacity = capacity;
  }

  /** Undefined if the request is accepted. Cheap checks come first; the cache is entered last. */
  check(
    request: SignedRequest,
    body: Uint8Array,
    expected: RequestExpectation,
    now_ms: number,
  ): Refusal | undefined {
    if (request.network_id !== expected.network_id) return "wrong_network";
    if (request.recipient !== expected.recipient) return "wrong_recipient";
    this.#latest_ms = Math.max(this.#latest_ms, now_ms);
    const age_ms = this.#latest_ms - request.timestamp_ms;
    if (!(age_ms <= FRESHNESS_WINDOW_MS)) return "stale";
    if (!(request.timestamp_ms - now_ms <= FRESHNESS_WINDOW_MS)) return "from_the_future";
    if (request.timestamp_ms < this.#started_ms) return "before_start";
    if (!/^[0-9a-f]{16,64}$/.test(request.nonce)) return "bad_nonce";
    const id = `${request.sender}:${request.nonce}`;
    if (this.#seen.has(id)) return "replayed";
    const digest = requestDigest(request, body);
    if (!expected.verifier.verify(digest, request.signature, request.sender))
      return "bad_signature";
    this.#forget();
    if (this.#seen.size >= this.#capacity) return "cache_full";
    this.#seen.set(id, request.timestamp_ms + FRESHNESS_WINDOW_MS);
    return undefined;
  }

  /** Entries are dropped from the oldest insertion on; one that must stay holds back later ones. */
  #forget(): void {
    for (const [id, until_ms] of this.#seen) {
      if (until_ms >= this.#latest_ms) return;
      this.#seen.delete(id);
    }
  }
}
