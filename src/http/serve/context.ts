/** What routes get: the request in work, and the parts of the server that answer it. */
import type { Context, Hono } from "hono";
import type { Clock } from "../../core/clock.ts";
import type { Random } from "../../core/random.ts";
import type { AnswerJob } from "./answer-rendering.ts";
import type { ChoiceRequest } from "./choices.ts";
import type { ModelHost } from "./model-host.ts";
import type { RequestWork } from "./request-work.ts";
import type { ServedModel } from "./served-model.ts";

export interface ServeEnvironment {
  Bindings: { work: RequestWork };
  Variables: { work: RequestWork };
}
export type ServeHono = Hono<ServeEnvironment>;
export type ServeContext = Context<ServeEnvironment>;

export interface ServeParts {
  models: ModelHost;
  clock: Clock;
  random: Random;
  version: string;
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
