/** Log-probabilities in OpenAI's two forms. A token's text may be a part of a character. */
import type { TokenChoice } from "../../model/engine/types.ts";
import type { AnswerPiece, ServedModel } from "../serve/served-model.ts";

/** OpenAI's stand-in for minus infinity, which JSON cannot hold. */
const LOGPROB_MIN = -9999;
const finite = (logprob: number): number => Math.max(logprob, LOGPROB_MIN);

type TokenTexts = Pick<ServedModel, "tokenizer">;

export interface ChatLogprob {
  token: string;
  logprob: number;
  /** UTF-8, since the text of a part of a character is U+FFFD. */
  bytes: number[];
}

function chatChoice({ tokenizer }: TokenTexts, { token, logprob }: TokenChoice): ChatLogprob {
  const bytes = [...tokenizer.decodeBytes([token])];
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
  return { token: text, logprob: finite(logprob), bytes };
}

/** One entry of `choices[].logprobs.content`. */
export function chatLogprob(
  model: TokenTexts,
  piece: Pick<AnswerPiece, "token" | "logprob" | "top">,
): ChatLogprob & { top_logprobs: ChatLogprob[] } {
  return {
    ...chatChoice(model, piece),
    top_logprobs: piece.top.map((choice) => chatChoice(model, choice)),
  };
}

export interface TextLogprobs {
  tokens: string[];
  token_logprobs: number[];
  top_logprobs: Record<string, number>[] | null;
  text_offset: number[];
}

/** The form of /v1/completions. offset: characters of the answer (and the echo) before the piece. */
export function textLogprobs(
  model: TokenTexts,
  pieces: readonly { piece: AnswerPiece; offset: number }[],
  top: number,
): TextLogprobs {
  const texts = pieces.map(({ piece }) => chatChoice(model, piece));
  return {
    tokens: texts.map(({ token }) => token),
    token_logprobs: texts.map(({ logprob }) => logprob),
    top_logprobs:
      top === 0
        ? null
        : pieces.map(({ piece }) =>
            Object.fromEntries(
              piece.top.map((choice) => {
                const { token, logprob } = chatChoice(model, choice);
                return [token, logprob];
              }),
            ),
          ),
    text_offset: pieces.map(({ offset }) => offset),
  };
}
