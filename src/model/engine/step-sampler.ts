/** The library's sampler for one sequence of an engine, whatever computes the logits. */
import { MagnetError } from "../../core/errors.ts";
import type { Constraints } from "../constraint/constraints.ts";
import { Sampler } from "../sampling.ts";
import type { SamplerRequest, StepSampler } from "./backend.ts";

/** constraints: of the model's tokenizer. Throws what is wrong with the request's options. */
export function stepSampler(
  vocab_size: number,
  request: SamplerRequest,
  constraints: Constraints | undefined,
): StepSampler {
  const { sampling, top_logprobs, token_budget, prompt, constraint } = request;
  if (constraint && !constraints)
    throw new MagnetError("UNSUPPORTED", "this engine knows no tokenizer to constrain", {
      exit: "usage",
    });
  const options = { top_logprobs, token_budget };
  const grammar = constraints?.grammar(constraint, vocab_size);
  const sampler = new Sampler(vocab_size, sampling, {
    ...options,
    ...(grammar === undefined ? {} : { grammar }),
  });
  try {
    sampler.prompt(prompt);
    return { address: BigInt(sampler.handle), close: () => sampler.close() };
  } catch (error) {
    sampler.close();
    throw error;
  }
}
