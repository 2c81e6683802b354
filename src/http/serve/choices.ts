/**
 * The choices of one request as one stream of events. The first choice of each text begins alone,
 * so that its prompt is in the prefix cache when the others come; then they run side by side. A
 * choice is asked for its next piece only after the last one was taken.
 */
import type { AnswerPiece, AnswerRequest, AnswerResult, ServedModel } from "./served-model.ts";

export type ChoiceEvent =
  | { index: number; piece: AnswerPiece }
  | { index: number; result: AnswerResult };

/** A request without its signal (one is made that ends all choices together) and its asker. */
export type ChoiceRequest = Omit<AnswerRequest, "signal" | "cache_scope">;

type Step = { index: number; step: IteratorResult<AnswerPiece, AnswerResult> } | { error: unknown };

/** Wants at least one choice of each prompt. Choices with the same `leader` share its prompt. */
export async function* runChoices(
  model: Pick<ServedModel, "answer">,
  choices: readonly { request: ChoiceRequest; leader: number }[],
  { signal, cache_scope }: Pick<AnswerRequest, "signal" | "cache_scope">,
): AsyncGenerator<ChoiceEvent, void> {
  const abort = new AbortController();
  const forward = () => abort.abort();
  if (signal.aborted) abort.abort();
  signal.addEventListener("abort", forward, { once: true });
  const shared = { signal: abort.signal, cache_scope };
  const answers = choices.map(({ request }) => model.answer({ ...request, ...shared }));
  const steps: Step[] = [];
  let wake: (() => void) | undefined;
  const ask = (index: number) => {
    const arrived = (step: Step) => {
      steps.push(step);
      wake?.();
    };
    answers[index]!.next().then(
      (step) => arrived({ index, step }),
      (error: unknown) => arrived({ error }),
    );
  };
  const begun = new Set<number>();
  /** A leader is its own first choice; its followers begin with its first event. */
  const begin = (index: number) => {
    begun.add(index);
    ask(index);
  };
  const follow = (leader: number) => {
    for (const [i, choice] of choices.entries())
      if (choice.leader === leader && !begun.has(i)) begin(i);
  };
  let open = choices.length;
  try {
    for (const [i, { leader }] of choices.entries()) if (leader === i) begin(i);
    while (open > 0) {
      const next = steps.shift();
      if (!next) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        wake = undefined;
        continue;
      }
      if ("error" in next) throw next.error;
      const { index, step } = next;
      follow(index);
      if (step.done) {
        open--;
        yield { index, result: step.value };
      } else {
        yield { index, piece: step.value };
        ask(index);
      }
    }
  } finally {
    signal.removeEventListener("abort", forward);
    abort.abort();
    await Promise.allSettled(answers.map((answer) => answer.return(undefined as never)));
  }
}
