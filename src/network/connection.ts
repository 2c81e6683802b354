/**
 * An authenticated connection: opens sealed frames, keeps the limits (rate, requests in both
 * directions, outgoing bytes), pairs responses with requests, and turns every offence of the peer
 * into a score instead of an exception. Time is read from the injected clock; `sweep` is called by
 * the transport.
 */
import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { decodeBody, encodeBody } from "./codec.ts";
import { type Frame, KIND, type Kind } from "./envelope.ts";
import type { HandshakePeer } from "./handshake.ts";
import type { TransportLimits } from "./limits.ts";
import { PendingRequests, retryable } from "./pending-requests.ts";
import { defineMessage, type Message, type MessageSpec } from "./protocol.ts";
import { TokenBucket } from "./rate-limit.ts";
import type { RequestOptions, RequestSpec } from "./transport-types.ts";
import type { Wire } from "./wire.ts";

/** What a connection tells the transport. */
export interface ConnectionHooks {
  accepted(connection: Connection): void;
  message(connection: Connection, message: Message): void;
  /** Answers a request; rejects with what is sent back as an error. */
  request(connection: Connection, type: string, body: unknown): Promise<unknown>;
  /** Adds to the peer's score; the transport disconnects it when it falls too low. */
  offence(connection: Connection, points: number, reason: string): void;
  closed(connection: Connection, reason: string): void;
}

/** What all connections of one transport share. */
export interface ConnectionContext {
  specs: ReadonlyMap<string, MessageSpec>;
  requests: ReadonlyMap<string, RequestSpec>;
  limits: TransportLimits;
  clock: Clock;
  random: Random;
  hooks: ConnectionHooks;
}

const errorSpec = defineMessage({
  type: "error",
  schema: z.strictObject({
    code: z.string().regex(/^[A-Z0-9_]{1,64}$/),
    message: z.string().max(1000),
    retryable: z.boolean(),
  }),
  limit_bytes: 4096,
  why: "a code and a sentence",
});
type ErrorBody = z.infer<typeof errorSpec.schema>;

/** Points of the offences. */
const MALFORMED_POINTS = 10;
const UNASKED_POINTS = 1;

export class Connection {
  readonly peer: HandshakePeer;
  readonly wire: Wire;
  readonly dialed: string | null;
  readonly since_ms: number;
  /** False until the accepting side has said so (only the dialling side waits). */
  is_accepted: boolean;
  readonly #context: ConnectionContext;
  readonly #pending: PendingRequests;
  readonly #frames: TokenBucket;
  readonly #bytes: TokenBucket;
  #working = 0;
  #heard_ms: number;
  #pinged_ms: number;
  #probe_until_ms: number | undefined;
  #notice: string | undefined;

  constructor(peer: HandshakePeer, wire: Wire, dialed: string | null, context: ConnectionContext) {
    const { limits, clock } = context;
    const now_ms = clock.now_ms();
    this.peer = peer;
    this.wire = wire;
    this.dialed = dialed;
    this.since_ms = now_ms;
    this.is_accepted = dialed === null;
    this.#heard_ms = now_ms;
    this.#pinged_ms = now_ms;
    this.#context = context;
    this.#pending = new PendingRequests(limits.requests_out);
    this.#frames = new TokenBucket(limits.frames_per_s, limits.frames_burst, now_ms);
    this.#bytes = new TokenBucket(limits.bytes_per_s, limits.bytes_burst, now_ms);
    wire.handler = {
      message: (bytes) => this.#receive(bytes),
      closed: (reason) => this.#closed(reason),
    };
  }

  /** Sends one message; false where the outgoing buffer is full or the socket is gone. */
  send(spec: MessageSpec, body: Uint8Array): boolean {
    return this.#write({ kind: KIND.message, request_id: 0, type: spec.type, body });
  }

  sendAccepted() {
    this.#control(KIND.accepted);
  }

  /** Tells the peer why the connection ends, and ends it. */
  closeWith(code: string, message: string) {
    if (this.wire.closed) return;
    this.#control(KIND.notice, { code, message, retryable: false });
    this.wire.close(message);
  }

  /** Tells the peer something for its log, and keeps the connection. */
  warn(code: string, message: string) {
    this.#control(KIND.notice, { code, message, retryable: true });
  }

  /** The connection is closed unless the peer answers within the limit. */
  probe() {
    this.#probe_until_ms ??= this.#context.clock.now_ms() + this.#context.limits.probe_ms;
    this.#control(KIND.ping);
  }

  /** Sends a request and waits for its answer; see Transport.request for the errors. */
  request(spec: RequestSpec, body: Uint8Array, options: RequestOptions): Promise<unknown> {
    const { type } = spec.request;
    const now_ms = this.#context.clock.now_ms();
    return this.#pending.add(type, options, now_ms, (request_id) =>
      this.#write({ kind: KIND.request, request_id, type, body }),
    );
  }

  /** Deadlines of requests, idleness, pings. */
  sweep(now_ms: number) {
    const { limits } = this.#context;
    this.#pending.sweep(now_ms);
    if (this.#probe_until_ms !== undefined && now_ms >= this.#probe_until_ms)
      return this.wire.terminate("did not answer a probe");
    if (now_ms - this.#heard_ms >= limits.idle_ms)
      return this.wire.terminate("silent for too long");
    if (now_ms - Math.max(this.#heard_ms, this.#pinged_ms) >= limits.ping_ms) {
      this.#pinged_ms = now_ms;
      this.#control(KIND.ping);
    }
  }

  #write(frame: Frame): boolean {
    const { limits } = this.#context;
    if (this.wire.closed || this.wire.buffered_bytes() > limits.outgoing_bytes) return false;
    if (this.wire.send(this.peer.session.seal(frame))) return true;
    // A dropped frame leaves a hole in the counters: nothing after it could be opened.
    this.wire.terminate("the socket dropped a frame");
    return false;
  }

  #control(kind: Kind, body?: ErrorBody) {
    const bytes = body === undefined ? new Uint8Array() : encodeBody(body);
    this.#write({ kind, request_id: 0, type: "", body: bytes });
  }

  #receive(bytes: Uint8Array | undefined) {
    const { hooks, clock } = this.#context;
    const now_ms = clock.now_ms();
    if (!this.#frames.take(1, now_ms))
      return hooks.offence(this, Number.POSITIVE_INFINITY, "flood");
    const frame = bytes && this.peer.session.open(bytes);
    if (frame === undefined || frame === "forged")
      return this.closeWith("FORGED_FRAME", "a frame was forged, repeated or damaged");
    this.#heard_ms = now_ms;
    this.#probe_until_ms = undefined;
    if (frame === "malformed") return this.#malformed("malformed");
    // Answers are paced by our own requests; everything else counts.
    const isAnswer = frame.kind === KIND.response && this.#pending.has(frame.request_id);
    if (!isAnswer && !this.#bytes.take(frame.body.length, now_ms))
      return hooks.offence(this, Number.POSITIVE_INFINITY, "flood");
    if (!this.is_accepted && frame.kind !== KIND.accepted && frame.kind !== KIND.notice)
      return this.#malformed("not_accepted");
    this.#dispatch(frame);
  }

  #dispatch(frame: Frame) {
    switch (frame.kind) {
      case KIND.message:
        return this.#onMessage(frame);
      case KIND.request:
        return this.#onRequest(frame);
      case KIND.response:
      case KIND.error:
        return this.#onAnswer(frame);
      case KIND.ping:
        return this.#control(KIND.pong);
      case KIND.pong:
        return;
      case KIND.accepted:
        if (this.is_accepted) return this.#malformed("accepted_twice");
        this.is_accepted = true;
        return this.#context.hooks.accepted(this);
      case KIND.notice:
        return this.#onNotice(frame);
    }
  }

  #onMessage(frame: Frame) {
    const spec = this.#context.specs.get(frame.type);
    if (spec === undefined) return this.#malformed("unknown_type");
    const decoded = decodeBody(spec, frame.body);
    if (!decoded.ok) return this.#malformed(decoded.reason);
    this.#context.hooks.message(this, { type: frame.type, body: decoded.body });
  }

  #onRequest(frame: Frame) {
    const { requests, limits, hooks } = this.#context;
    const spec = requests.get(frame.type);
    if (spec === undefined) return this.#malformed("unknown_type");
    const decoded = decodeBody(spec.request, frame.body);
    if (!decoded.ok) return this.#malformed(decoded.reason);
    const { request_id, type } = frame;
    if (this.#working >= limits.requests_in) {
      hooks.offence(this, UNASKED_POINTS, "too_many_requests");
      return this.#answerError(frame, retryable("PEER_BUSY", "too many requests at once"));
    }
    this.#working++;
    hooks
      .request(this, type, decoded.body)
      .then((body) => {
        const bytes = encodeBody(body);
        if (bytes.length > spec.response.limit_bytes)
          throw new MagnetError("RESPONSE_TOO_LARGE", `the answer to ${type} is too large`);
        this.#write({ kind: KIND.response, request_id, type, body: bytes });
      })
      .catch((error) => this.#answerError(frame, toMagnetError(error)))
      .finally(() => {
        this.#working--;
      });
  }

  #answerError({ request_id, type }: Frame, error: MagnetError) {
    // Only the code of an unexpected failure leaves the process: its text may name local files.
    const message = error.code === "INTERNAL" ? "internal error" : error.message.slice(0, 1000);
    const body = { code: error.code, message, retryable: error.retryable };
    this.#write({ kind: KIND.error, request_id, type, body: encodeBody(body) });
  }

  #onAnswer(frame: Frame) {
    const type = this.#pending.typeOf(frame.request_id);
    // An answer after its deadline is late, not hostile; a stream of them is.
    if (type === undefined) return this.#context.hooks.offence(this, 0.1, "unasked");
    const spec = this.#context.requests.get(type);
    const isError = frame.kind === KIND.error;
    const wanted = isError ? errorSpec : spec?.response;
    const decoded =
      wanted === undefined || frame.type !== type
        ? { ok: false as const, reason: "unknown_type" }
        : decodeBody(wanted, frame.body);
    if (!decoded.ok) {
      this.#malformed(decoded.reason);
      const error = new MagnetError("BAD_RESPONSE", `the answer to ${type} is malformed`);
      return this.#pending.settle(frame.request_id, { error });
    }
    if (!isError) return this.#pending.settle(frame.request_id, { body: decoded.body });
    const { code, message, retryable: again } = decoded.body as ErrorBody;
    const options = { retryable: again, exit: "failed" as const };
    const error = new MagnetError(code, `the peer answered: ${message}`, options);
    this.#pending.settle(frame.request_id, { error });
  }

  #onNotice(frame: Frame) {
    const decoded = decodeBody(errorSpec, frame.body);
    if (!decoded.ok) return this.#malformed(decoded.reason);
    const { code, message, retryable: stays } = decoded.body as ErrorBody;
    if (stays) return this.#context.hooks.offence(this, 0, `notice ${code}: ${message}`);
    this.#notice = `${code}: ${message}`;
    this.wire.close(message);
  }

  #malformed(reason: string): void {
    this.#context.hooks.offence(this, MALFORMED_POINTS, reason);
  }

  #closed(reason: string): void {
    const text = this.#notice ?? reason;
    this.#pending.lose(text);
    this.#context.hooks.closed(this, text);
  }
}
