/** Text completions as OpenAI's older endpoint writes them. */
import type { StreamRendering, WholeChoice } from "../serve/answer-rendering.ts";
import type { ChoiceEvent } from "../serve/choices.ts";
import type { ServedModel } from "../serve/served-model.ts";
import {
  type Envelope,
  errorObject,
  SSE,
  SSE_DONE,
  sse,
  type Usage,
  usageObject,
} from "./envelope.ts";
import { textLogprobs } from "./logprobs.ts";

export interface TextForm {
  envelope: Envelope;
  model: ServedModel;
  /** Alternatives; undefined: no log-probabilities. */
  logprobs: number | undefined;
  include_usage: boolean;
  /** What stands before each choice's answer: its prompt where `echo` is set, else nothing. */
  echoes: readonly string[];
  usage(): Usage;
}

export function textCompletion(form: TextForm, choices: readonly WholeChoice[]): object {
  const { id, created, model, system_fingerprint } = form.envelope;
  return {
    id,
    object: "text_completion",
    created,
    model,
    system_fingerprint,
    choices: choices.map(({ text, pieces, result }, index) => ({
      text: form.echoes[index]! + text,
      index,
      logprobs:
        form.logprobs === undefined ? null : textLogprobs(form.model, pieces, form.logprobs),
      finish_reason: result.finish_reason,
    })),
    usage: usageObject(form.usage()),
  };
}

/** The chunks of a streamed text completion. */
export function textStream(form: TextForm): StreamRendering {
  const { id, created, model, system_fingerprint } = form.envelope;
  const head = { id, object: "text_completion", created, model, system_fingerprint };
  const usage = form.include_usage ? { usage: null } : {};
  /** Characters sent of each choice: where its next token begins. */
  const sent = form.echoes.map((echo) => echo.length);
  const chunk = (index: number, text: string, logprobs: object | null, finish: string | null) => {
    sent[index]! += text.length;
    return sse({ ...head, choices: [{ text, index, logprobs, finish_reason: finish }], ...usage });
  };
  const event = (event: ChoiceEvent): string => {
    const { index } = event;
    if ("result" in event) return chunk(index, event.result.tail, null, event.result.finish_reason);
    const { piece } = event;
    if (form.logprobs === undefined)
      return piece.text === "" ? "" : chunk(index, piece.text, null, null);
    const pieces = [{ piece, offset: sent[index]! }];
    return chunk(index, piece.text, textLogprobs(form.model, pieces, form.logprobs), null);
  };
  return {
    content_type: SSE,
    start: () =>
      form.echoes
        .map((echo, index) =>
          echo === ""
            ? ""
            : sse({
                ...head,
                choices: [{ text: echo, index, logprobs: null, finish_reason: null }],
                ...usage,
              }),
        )
        .join(""),
    event,
    end: () =>
      (form.include_usage ? sse({ ...head, choices: [], usage: usageObject(form.usage()) }) : "") +
      SSE_DONE,
    error: (error) => sse(errorObject(error)),
  };
}
