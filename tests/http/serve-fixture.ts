/** Servers with small models for the tests of the HTTP interface. */
import type { Log } from "../../src/core/log.ts";
import { seededRandom } from "../../src/core/random.ts";
import { servedModel } from "../../src/http/serve/loaded-model.ts";
import type { AnswerPiece, AnswerResult, ServedModel } from "../../src/http/serve/served-model.ts";
import {
  type RunningServer,
  type StartServerOptions,
  startServer,
} from "../../src/http/serve/start-server.ts";
import { endTokens } from "../../src/model/chat-format.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { ownTextModel } from "../../src/model/engine/open-text-model.ts";
import type { EngineStats } from "../../src/model/engine/types.ts";
import { promptTokens } from "../../src/model/generate.ts";
import { InferenceModel } from "../../src/model/inference.ts";
import { bookTokenizer, randomParams, SMALL } from "../model/small-models.ts";

/** Small enough for a debug-speed answer, long enough for streams that can be cut. */
export const SERVED: ModelConfig = { ...SMALL, context: 512 };

const tokenizer = bookTokenizer(SERVED.vocab_size);

/** A model with random weights: its texts are noise, but the same noise for the same request. */
export async function smallModel(id = "small", config = SERVED): Promise<ServedModel> {
  const model = await InferenceModel.fromParams(config, await randomParams(config), 1);
  const loaded = {
    kind: "checkpoint" as const,
    ...{ path: id, name: id, config, tokenizer: await tokenizer, model },
    close: () => model.close(),
  };
  return servedModel(ownTextModel(loaded), {
    id,
    size_bytes: 1,
    created_s: 1_700_000_000,
    digest: "a".repeat(64),
    arithmetic: "test",
  });
}

/** A logit bias without end tokens: a model of noise then goes on to its limit. */
export async function noEnd(): Promise<Record<string, number>> {
  return Object.fromEntries([...endTokens(await tokenizer)].map((id) => [String(id), -100]));
}

export const tokenText = async (id: number): Promise<string> => (await tokenizer).decode([id]);

/** A text as the ids of a prompt: with the begin token. */
export async function promptIds(text: string): Promise<Int32Array> {
  const words = await tokenizer;
  return promptTokens(words, { mode: "complete", prompt: text });
}

export interface LogLine {
  level: string;
  event: string;
  fields: Record<string, unknown>;
}

/** A log whose lines a test reads. */
export function keptLog(): Log & { lines: LogLine[] } {
  const lines: LogLine[] = [];
  const keep =
    (level: string) =>
    (event: string, fields: Record<string, unknown> = {}) =>
      void lines.push({ level, event, fields });
  return {
    ...{ lines, debug: keep("debug"), info: keep("info") },
    ...{ warn: keep("warn"), error: keep("error") },
  };
}

/** A started server on a free port, with a kept log and a seeded random. */
export async function serve(
  models: readonly ServedModel[],
  options: Partial<StartServerOptions> = {},
): Promise<RunningServer & { log: ReturnType<typeof keptLog> }> {
  const log = keptLog();
  const server = await startServer({
    models: models.map((model) => ({ id: model.id, load: async () => model })),
    ...{ port: 0, version: "0.0.0-test", random: seededRandom(5), log },
    ...options,
  });
  await server.ready;
  return { ...server, log };
}

/** A model whose answers a test writes; everything else is as of the small models. */
export async function fakeModel(
  answer: ServedModel["answer"],
  overrides: Partial<ServedModel> = {},
): Promise<ServedModel> {
  const words = await tokenizer;
  return {
    ...{ id: "fake", created_s: 1_700_000_000, context: SERVED.context, config: SERVED },
    ...{ tokenizer: words, parameters: 1000, size_bytes: 10, format: "gguf", on_gpu: false },
    ...{ digest: "d".repeat(64), has_chat_format: true, fingerprint: "fp_fake" },
    answer,
    constraint: () => ({ program: new Uint8Array(1) }),
    promptTokens: async (text) => words.encode(text),
    embed: async () => new Float32Array(4).fill(0.5),
    stats: () => NO_STATS,
    close: async () => undefined,
    ...overrides,
  };
}

export const NO_STATS: EngineStats = {
  ...{ running: 0, waiting: 0, blocks_total: 8, blocks_in_use: 0, blocks_cached: 0 },
  ...{ prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0, steps: 0, live_handles: 2 },
};

export const RESULT: AnswerResult = {
  ...{ finish_reason: "stop", prompt_tokens: 3, cached_tokens: 1, completion_tokens: 2 },
  ...{ tail: "", queued_ms: 1, prefill_ms: 20, decode_ms: 300 },
};

/** One piece of a fake answer; the token's own text is another matter. */
export const piece = (text: string, token = 65): AnswerPiece => ({
  ...{ text, token, logprob: -0.5 },
  top: [
    { token, logprob: -0.5 },
    { token: 66, logprob: Number.NEGATIVE_INFINITY },
  ],
});

/** The same pieces for every request. */
export const saying = (...texts: string[]): ServedModel["answer"] =>
  async function* () {
    for (const text of texts) yield piece(text);
    return { ...RESULT, completion_tokens: texts.length };
  };

/** Resolves once `condition` holds; polls at the event loop's pace. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}
