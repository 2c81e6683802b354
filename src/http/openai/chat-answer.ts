/** Chat completions as OpenAI writes them: one object, or chunks with a role first. */
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
import { chatLogprob } from "./logprobs.ts";

export interface ChatForm {
  envelope: Envelope;
  model: ServedModel;
  logprobs: boolean;
  include_usage: boolean;
  choices: number;
  usage(): Usage;
}

export function chatCompletion(form: ChatForm, choices: readonly WholeChoice[]): object {
  const { id, created, model, system_fingerprint } = form.envelope;
  return {
    id,
    object: "chat.completion",
    created,
    model,
    system_fingerprint,
    choices: choices.map(({ text, pieces, result }, index) => ({
      index,
      message: { role: "assistant", content: text, refusal: null },
      logprobs: form.logprobs
        ? { content: pieces.map(({ piece }) => chatLogprob(form.model, piece)), refusal: null }
        : null,
      finish_reason: result.finish_reason,
    })),
    usage: usageObject(form.usage()),
  };
}

/** The chunks of a streamed chat completion. */
export function chatStream(form: ChatForm): StreamRendering {
  const { id, created, model, system_fingerprint } = form.envelope;
  // With include_usage every chunk has the field, null until the last one, as OpenAI has it.
  const usage = form.include_usage ? { usage: null } : {};
  const head = { id, object: "chat.completion.chunk", created, model, system_fingerprint };
  const chunk = (index: number, delta: object, logprobs: object | null, finish: string | null) =>
    sse({ ...head, choices: [{ index, delta, logprobs, finish_reason: finish }], ...usage });
  const event = (event: ChoiceEvent): string => {
    const { index } = event;
    if ("result" in event) {
      const { tail, finish_reason } = event.result;
      const last = tail === "" ? "" : chunk(index, { content: tail }, null, null);
      return last + chunk(index, {}, null, finish_reason);
    }
    const { piece } = event;
    if (form.logprobs)
      return chunk(
        index,
        { content: piece.text },
        { content: [chatLogprob(form.model, piece)], refusal: null },
        null,
      );
    return piece.text === "" ? "" : chunk(index, { content: piece.text }, null, null);
  };
  return {
    content_type: SSE,
    start: () =>
      Array.from({ length: form.choices }, (_, index) =>
        chunk(index, { role: "assistant", content: "", refusal: null }, null, null),
      ).join(""),
    event,
    end: () =>
      (form.include_usage ? sse({ ...head, choices: [], usage: usageObject(form.usage()) }) : "") +
      SSE_DONE,
    error: (error) => sse(errorObject(error)),
  };
}
