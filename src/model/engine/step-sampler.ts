/** The library's sampler for one sequence of an engine, whatever computes the logits. */
import { MagnetError } from "../../core/errors.ts";
import type { InferLibrary } from "../../native/infer.ts";
import type { Constraints } from "../constraint/constraints.ts";
import { Sampler } from "../sampling.ts";
import type { SamplerRequest, StepSampler } from "./backend.ts";

/**
 * library: that which draws; constraints: of the model's tokenizer. Throws what is wrong with the
 * request's options.
 */
export function stepSampler(
  library: InferLibrary,
  vocab_size: number,
  request: SamplerRequest,
  constraints: Constraints | undefined,
): StepSampler {
  const { sampling, top_logprobs, token_budget, prompt, constraint } = request;
  if (constraint && !constraints)
    throw new MagnetError("UNSUPPORTED", "this engine knows no tokenizer to constrain", {
      exit: "usage",
    });
  const grammar = constraints?.grammar(constraint, vocab_size);
  const options = { library, top_logprobs, token_budget, grammar };
  const sampler = new Sampler(vocab_size, sampling, options);
  try {
    sampler.prompt(prompt);
    return { address: BigInt(sampler.handleOf(library)), close: () => sampler.close() };
  } catch (error) {
    sampler.close();
    throw error;
  }
}
