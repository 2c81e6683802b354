/**
 * magnet's side of infer.sh: the same works as llama-bench.cpp, on the same file, in a process of
 * its own: magnet-bench.ts MODEL THREADS REPEATS DECODE PARALLEL. Prints one line of JSON.
 */
import { seededRandom } from "../../../src/core/random.ts";
import { GgufFile } from "../../../src/model/gguf-file.ts";
import { InferenceModel, InferenceSession } from "../../../src/model/inference.ts";
import { infer } from "../../../src/native/infer.ts";
import { machineLimits } from "../../../src/native/machine.ts";

const [file = "", ...numbers] = process.argv.slice(2);
const [threads = 1, repeats = 1, decoded = 128, parallel = 0] = numbers.map(Number);

/** Tokens a second of the best repeat. */
async function best<T>(
  tokens: number,
  prepare: () => Promise<T>,
  work: (made: T) => Promise<void>,
) {
  let seconds = Number.POSITIVE_INFINITY;
  for (let repeat = 0; repeat < repeats; repeat++) {
    const made = await prepare();
    const start = performance.now();
    await work(made);
    seconds = Math.min(seconds, (performance.now() - start) / 1000);
  }
  return tokens / seconds;
}

async function run() {
  const limits = await machineLimits(threads);
  const start = performance.now();
  const gguf = await GgufFile.open(file);
  const model = await InferenceModel.fromGguf(gguf, threads);
  gguf.close();
  const load_ms = performance.now() - start;
  const bytes = new BigUint64Array(1);
  infer.mg_infer_bytes(model.handle, bytes);
  const random = seededRandom(1);
  const tokens = (n: number) =>
    Int32Array.from({ length: n }, () => random.below(model.config.vocab_size));

  const session = model.createSession();
  await session.append(tokens(128), 1); // pages of the cache, caches of the CPU
  const fresh = async () => session.truncate(0);
  const prefill = async (n: number) => {
    const prompt = tokens(n);
    return best(n, fresh, async () => void (await session.append(prompt, 1)));
  };
  const prefill_128 = await prefill(128);
  const prefill_512 = await prefill(512);
  const prompted = async () => {
    session.truncate(0);
    await session.append(tokens(128), 1);
  };
  const decode = await best(decoded, prompted, async () => {
    for (let i = 0; i < decoded; i++) await session.append(tokens(1), 1);
  });
  session.close();

  const sessions = Array.from({ length: parallel }, () => model.createSession());
  const allPrompted = async () => {
    for (const one of sessions) {
      one.truncate(0);
      await one.append(tokens(128), 1);
    }
  };
  const together =
    parallel === 0
      ? 0
      : await best(decoded * parallel, allPrompted, async () => {
          for (let i = 0; i < decoded; i++)
            await InferenceSession.decode(sessions, tokens(parallel));
        });
  for (const one of sessions) one.close();
  model.close();
  const figures = { prefill_128, prefill_512, decode, parallel: together };
  const machine = { read_gbps: limits.read_gbps, bytes_per_token: Number(bytes[0]), load_ms };
  process.stdout.write(`${JSON.stringify({ ...figures, ...machine })}\n`);
}

await run();
