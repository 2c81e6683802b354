/**
 * Runs the choices of a request and sends them in the form of one API: as one JSON document, or
 * line by line as they come. The first event is awaited before a stream begins, so that a request
 * that cannot be done is answered with a status and not with a broken stream.
 */
import { AnswerStream, ReaderGone } from "./answer-stream.ts";
import { ApiError, CLIENT_CLOSED } from "./api-error.ts";
import { type ChoiceEvent, type ChoiceRequest, runChoices } from "./choices.ts";
import type { ServeContext } from "./context.ts";
import type { ServeLimits } from "./limits.ts";
import type { ServeMetrics } from "./metrics.ts";
import type { RequestWork } from "./request-work.ts";
import type { AnswerResult, ServedModel } from "./served-model.ts";

/** How one API writes answers. Every part but `whole` may be empty. */
export interface StreamRendering {
  content_type: string;
  start(): string;
  event(event: ChoiceEvent): string;
  end(): string;
  error(error: ApiError): string;
}

export interface AnswerJob {
  model: ServedModel;
  choices: readonly { request: ChoiceRequest; leader: number }[];
  work: RequestWork;
  limits: ServeLimits;
  metrics: ServeMetrics;
}

/** The events of a job, counted; an ended work throws what ended it. */
async function* eventsOf({
  model,
  choices,
  work,
  metrics,
}: AnswerJob): AsyncGenerator<ChoiceEvent> {
  work.model = model.id;
  const seen = new Set<number>();
  for await (const event of runChoices(model, choices, {
    signal: work.signal,
    cache_scope: work.key_id ?? "",
  })) {
    if ("piece" in event) work.firstToken();
    else {
      const leads = !seen.has(choices[event.index]!.leader);
      seen.add(choices[event.index]!.leader);
      work.addResult(
        leads ? event.result : { ...event.result, prompt_tokens: 0, cached_tokens: 0 },
      );
      metrics.phases(model.id, event.result);
    }
    yield event;
  }
}

/** All of an answer. */
export interface WholeChoice {
  text: string;
  pieces: { piece: Extract<ChoiceEvent, { piece: unknown }>["piece"]; offset: number }[];
  result: AnswerResult;
}

/** Runs a job to its end. keep_pieces: for log-probabilities. */
export async function wholeAnswer(job: AnswerJob, keep_pieces: boolean): Promise<WholeChoice[]> {
  const choices = job.choices.map(() => ({ text: "", pieces: [] as WholeChoice["pieces"] }));
  const results: AnswerResult[] = [];
  for await (const event of eventsOf(job)) {
    const choice = choices[event.index]!;
    if ("result" in event) {
      choice.text += event.result.tail;
      results[event.index] = event.result;
      continue;
    }
    if (keep_pieces) choice.pieces.push({ piece: event.piece, offset: choice.text.length });
    choice.text += event.piece.text;
  }
  return choices.map((choice, index) => ({ ...choice, result: results[index]! }));
}

/** Answers with a stream. Throws while nothing was sent; later failures go into the stream. */
export async function streamAnswer(
  context: ServeContext,
  job: AnswerJob,
  rendering: StreamRendering,
): Promise<Response> {
  const events = eventsOf(job);
  const first = await events.next();
  const { work } = job;
  const stream = new AnswerStream({
    limits: job.limits,
    onDropped: (reason) => work.cancel(reason),
  });
  const onAbort = () => work.cancelled === "closed" && stream.abandon();
  work.signal.addEventListener("abort", onAbort, { once: true });
  work.streaming = true;
  void pump(events, first, stream, rendering, job);
  return context.body(stream.body, 200, {
    "content-type": rendering.content_type,
    "cache-control": "no-cache, no-transform",
    // Proxies that collect answers would make a stream pointless.
    "x-accel-buffering": "no",
  });
}

const readerGone = () => new ApiError(CLIENT_CLOSED, "cancelled", "the reader went away");

async function pump(
  events: AsyncGenerator<ChoiceEvent>,
  first: IteratorResult<ChoiceEvent>,
  stream: AnswerStream,
  rendering: StreamRendering,
  { work }: AnswerJob,
): Promise<void> {
  let status = 200;
  const write = async (text: string) => {
    if (text !== "") await stream.write(text);
  };
  try {
    await write(rendering.start());
    for (let next = first; !next.done; next = await events.next())
      await write(rendering.event(next.value));
    await write(rendering.end());
  } catch (error) {
    const shown = work.fail(error instanceof ReaderGone ? readerGone() : error);
    status = shown.status;
    if (!stream.dropped) await write(rendering.error(shown)).catch(() => undefined);
  } finally {
    await events.return(undefined).catch(() => undefined);
    work.end(status); // before the last byte is out: the connection's own timeout applies again
    stream.end();
  }
}
