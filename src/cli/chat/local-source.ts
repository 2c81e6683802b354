/** Answers of a model in this process. */
import { chatFormat } from "../../model/chat-format.ts";
import { compileJsonSchema } from "../../model/constraint/compile.ts";
import { type EngineName, openTextModel } from "../../model/engine/open-text-model.ts";
import { type GenerateOptions, generate, promptTokens } from "../../model/generate.ts";
import type { HeadFormat } from "../../model/inference.ts";
import type { Device } from "../../native/device.ts";
import type { AnswerSource } from "./answer-source.ts";
import { type ChatSettings, samplingOf } from "./settings.ts";

export interface LocalOptions {
  engine: EngineName;
  device: Device;
  threads: number;
  head: HeadFormat;
  tokenizer?: string;
}

/**
 * Opens the model for a chat that begins with these settings. Throws what openTextModel does, and
 * UNSUPPORTED_SCHEMA before the model is opened.
 */
export async function localSource(
  model: string,
  { rounding, complete, schema }: ChatSettings,
  options: LocalOptions,
): Promise<AnswerSource> {
  const { tokenizer, ...rest } = options;
  const constraint = schema === undefined ? undefined : compileJsonSchema(schema);
  const path = tokenizer === undefined ? {} : { tokenizer_path: tokenizer };
  const loaded = await openTextModel(model, { ...rest, rounding, ...path });
  const { reason } = chatFormat(loaded.tokenizer);
  const plain = `${reason}: it is asked as a plain dialogue (User: ... Assistant: ...)`;
  return {
    name: loaded.name,
    context: loaded.engine.context,
    notes: reason === undefined || complete ? [] : [plain],
    count: (messages) => promptTokens(loaded.tokenizer, { mode: "chat", messages }).length,
    async *answer({ messages, settings, signal }) {
      const { max_tokens, stop } = settings;
      const prompt = messages.at(-1)?.content ?? "";
      const subject = complete
        ? ({ mode: "complete", prompt } as const)
        : ({ mode: "chat", messages } as const);
      const rest: Omit<GenerateOptions, "mode"> = {
        ...{ max_tokens, stop, signal },
        ...(constraint === undefined ? {} : { constraint }),
      };
      const pieces = generate(loaded, { ...subject, ...rest, sampling: samplingOf(settings) });
      for (;;) {
        const next = await pieces.next();
        if (!next.done) {
          yield next.value.text;
          continue;
        }
        const { tail, finish_reason, prompt_tokens, completion_tokens } = next.value;
        if (tail !== "") yield tail;
        return { finish_reason, prompt_tokens, completion_tokens };
      }
    },
    close: () => loaded.close(),
  };
}
