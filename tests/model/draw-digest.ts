/** Prints a digest of draws, one line a setting: the same under every MAGNET_CPU. */
import { parseSampling, Sampler, type SamplingInput } from "../../src/model/sampling.ts";
import { randomNumbers } from "./constraint/fixtures.ts";

const SETTINGS: SamplingInput[] = [
  { temperature: 1, top_k: 0, top_p: 1 },
  { temperature: 0.7, top_k: 40, top_p: 0.95, presence_penalty: 0.5 },
  { temperature: 1.5, top_k: 0, top_p: 0.8 },
  { temperature: 1, top_k: 0, top_p: 0.99, min_p: 0.001, repetition_penalty: 1.2 },
];
for (const vocab of [1, 17, 64, 1000, 40_003]) {
  for (const sampling of SETTINGS) {
    const random = randomNumbers(vocab);
    const hash = new Bun.CryptoHasher("sha256");
    const sampler = new Sampler(vocab, parseSampling({ ...sampling, seed: 3 }), {
      top_logprobs: 5,
    });
    for (let i = 0; i < 30; i++) {
      const logits = Float32Array.from({ length: vocab }, () => 12 * random());
      hash.update(JSON.stringify(sampler.draw(logits)));
    }
    sampler.close();
    process.stdout.write(`${vocab} ${hash.digest("hex").slice(0, 16)}\n`);
  }
}
