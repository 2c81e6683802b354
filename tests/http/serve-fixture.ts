/** Servers with small models for the tests of the HTTP interface. */
import type { Log } from "../../src/core/log.ts";
import { seededRandom } from "../../src/core/random.ts";
import { servedModel } from "../../src/http/serve/loaded-model.ts";
import type { ServedModel } from "../../src/http/serve/served-model.ts";
import {
  type RunningServer,
  type StartServerOptions,
  startServer,
} from "../../src/http/serve/start-server.ts";
import { endTokens } from "../../src/model/chat-format.ts";
import type { ModelConfig } from "../../src/model/config.ts";
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
  return servedModel(loaded, { id, size_bytes: 1, created_s: 1_700_000_000, version: "test" });
}

/** A logit bias without end tokens: a model of noise then goes on to its limit. */
export async function noEnd(): Promise<Record<string, number>> {
  return Object.fromEntries([...endTokens(await tokenizer)].map((id) => [String(id), -100]));
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
