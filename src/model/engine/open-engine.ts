/** An engine for an opened model. */
import { endTokens } from "../chat-format.ts";
import { Constraints } from "../constraint/constraints.ts";
import type { InferenceModel } from "../inference.ts";
import { Tokenizer } from "../tokenizer.ts";
import { BatchEngine } from "./engine.ts";
import { NativeBackend } from "./native-backend.ts";
import type { Engine, EngineOptions } from "./types.ts";

/** What generates text: an engine and the tokenizer that goes with its model. */
export interface TextEngine<T> {
  engine: Engine;
  tokenizer: T;
}

/**
 * Opens an engine on a model; closing it leaves the model open. The pool of keys and values costs
 * memory from its first use on.
 */
export function openEngine<T>(
  loaded: { model: InferenceModel; tokenizer: T },
  options: EngineOptions = {},
): TextEngine<T> {
  const { model, tokenizer } = loaded;
  const constraints =
    tokenizer instanceof Tokenizer
      ? new Constraints(tokenizer, endTokens(tokenizer), model.library)
      : undefined;
  const backend = new NativeBackend(model, options, constraints);
  return { engine: new BatchEngine(backend, options), tokenizer };
}
