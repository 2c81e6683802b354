/** What routes get: the request in work, and the parts of the server that answer it. */
import type { Context, Hono, MiddlewareHandler } from "hono";
import type { Registry } from "prom-client";
import type { Clock } from "../../core/clock.ts";
import type { Random } from "../../core/random.ts";
import type { AnswerJob } from "./answer-rendering.ts";
import type { ChoiceRequest } from "./choices.ts";
import type { ModelHost } from "./model-host.ts";
import type { RequestWork } from "./request-work.ts";
import type { ServedModel } from "./served-model.ts";

export interface ServeEnvironment {
  Bindings: { work: RequestWork };
  Variables: {
    work: RequestWork;
    /** The request's bytes, once they were read. */
    bytes?: Uint8Array;
    /** What stands in for the request's JSON: a guard filled in what it left open. */
    body?: Record<string, unknown>;
  };
}
export type ServeHono = Hono<ServeEnvironment>;
export type ServeContext = Context<ServeEnvironment>;

export interface ServeParts {
  models: ModelHost;
  clock: Clock;
  random: Random;
  version: string;
  /** The request's body, read once. Throws 408, 413. */
  bytes(context: ServeContext): Promise<Uint8Array>;
  /** The request's JSON object. Throws 400, 408, 413. */
  body(context: ServeContext): Promise<Record<string, unknown>>;
  /** For requests that name none. */
  randomSeed(): bigint;
  job(
    model: ServedModel,
    work: RequestWork,
    choices: readonly { request: ChoiceRequest; leader: number }[],
  ): AnswerJob;
  /** Vectors of all inputs, in their order. */
  embed(
    model: ServedModel,
    inputs: readonly Int32Array[],
    signal: AbortSignal,
  ): Promise<Float32Array[]>;
}

/** A guard of routes that cost something, with routes of its own; the server works without one. */
export interface PaidDoor {
  guard: MiddlewareHandler<ServeEnvironment>;
  addRoutes(app: ServeHono): void;
  /** Headers that pages of allowed origins may read. */
  exposed_headers: readonly string[];
}
/** Made with the server's parts; its metrics go into `registry`. */
export type OpenPaidDoor = (parts: ServeParts, registry: Registry) => PaidDoor;
