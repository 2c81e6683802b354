/** The library's sampler for one sequence of an engine, whatever computes the logits. */
import { Sampler } from "../sampling.ts";
import type { SamplerRequest, StepSampler } from "./backend.ts";

/** Throws what is wrong with the request's options. */
export function stepSampler(vocab_size: number, request: SamplerRequest): StepSampler {
  const { sampling, top_logprobs, token_budget, prompt } = request;
  const sampler = new Sampler(vocab_size, sampling, { top_logprobs, token_budget });
  try {
    sampler.prompt(prompt);
    return { address: BigInt(sampler.handle), close: () => sampler.close() };
  } catch (error) {
    sampler.close();
    throw error;
  }
}
