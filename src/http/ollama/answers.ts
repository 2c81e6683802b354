/** Answers as Ollama writes them: JSON lines, the last with counts and durations in nanoseconds. */

import { chatLogprob } from "../openai/logprobs.ts";
import type { StreamRendering, WholeChoice } from "../serve/answer-rendering.ts";
import type { ChoiceEvent } from "../serve/choices.ts";
import type { AnswerPiece, AnswerResult, ServedModel } from "../serve/served-model.ts";

export interface OllamaForm {
  /** The name as the client gave it. */
  name: string;
  model: ServedModel;
  /** Where the text goes: a message of /api/chat, or the response of /api/generate. */
  chat: boolean;
  logprobs: boolean;
  now_ms(): number;
  elapsed_ms(): number;
}

const NDJSON = "application/x-ndjson";
const line = (data: object): string => `${JSON.stringify(data)}\n`;
const nanoseconds = (ms: number): number => Math.round(ms * 1e6);

const textField = ({ chat }: OllamaForm, text: string): object =>
  chat ? { message: { role: "assistant", content: text } } : { response: text };

const head = ({ name, now_ms }: OllamaForm) => ({
  model: name,
  created_at: new Date(now_ms()).toISOString(),
});

const logprobsOf = ({ logprobs, model }: OllamaForm, pieces: readonly AnswerPiece[]): object =>
  logprobs ? { logprobs: pieces.map((piece) => chatLogprob(model, piece)) } : {};

/** The end of an answer. load_duration is the time that it waited for its place in the batch. */
function ending(form: OllamaForm, result: AnswerResult): object {
  return {
    done: true,
    done_reason: result.finish_reason,
    total_duration: nanoseconds(form.elapsed_ms()),
    load_duration: nanoseconds(result.queued_ms),
    prompt_eval_count: result.prompt_tokens,
    prompt_eval_duration: nanoseconds(result.prefill_ms),
    eval_count: result.completion_tokens,
    eval_duration: nanoseconds(result.decode_ms),
  };
}

export function wholeOllama(form: OllamaForm, { text, pieces, result }: WholeChoice): object {
  return {
    ...head(form),
    ...textField(form, text),
    ...ending(form, result),
    ...logprobsOf(
      form,
      pieces.map(({ piece }) => piece),
    ),
  };
}

/** What a request without a prompt is answered: the model is there. */
export const loadedOllama = (form: OllamaForm, unload: boolean): object => ({
  ...head(form),
  ...textField(form, ""),
  done: true,
  done_reason: unload ? "unload" : "load",
});

export function ollamaStream(form: OllamaForm): StreamRendering {
  const event = (event: ChoiceEvent): string => {
    if ("piece" in event) {
      const { piece } = event;
      if (piece.text === "" && !form.logprobs) return "";
      const text = textField(form, piece.text);
      return line({ ...head(form), ...text, done: false, ...logprobsOf(form, [piece]) });
    }
    const { tail } = event.result;
    const held = tail === "" ? "" : line({ ...head(form), ...textField(form, tail), done: false });
    return held + line({ ...head(form), ...textField(form, ""), ...ending(form, event.result) });
  };
  return {
    content_type: NDJSON,
    start: () => "",
    event,
    end: () => "",
    error: ({ message }) => line({ error: message }),
  };
}
