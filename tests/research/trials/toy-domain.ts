/**
 * A research problem without data: the score is a function of the configuration and the seed, and
 * a configuration can ask for any way in which a worker may break. Only what workers use is there.
 */
import fs from "node:fs";
import { MagnetError } from "../../../src/core/errors.ts";
import { seededRandom } from "../../../src/core/random.ts";
import type { Hash } from "../../../src/core/types.ts";
import type { Proposal } from "../../../src/research/loop/faces.ts";
import type { ResearchDomain, TrialOutcome, TrialSpec } from "../../../src/research/types.ts";

export const TOY_HASH = "7".repeat(64) as Hash;

/** Uses the CPU for about so long, in steps that let the process hear its stdin. */
async function spin(seconds: number): Promise<void> {
  const start = process.cpuUsage();
  for (;;) {
    const { user, system } = process.cpuUsage(start);
    if ((user + system) / 1e6 >= seconds) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const BREAKS: Record<string, (spec: TrialSpec) => Promise<void> | void> = {
  throw: () => {
    throw new MagnetError("BAD_CONFIGURATION", "members.0: no such learner");
  },
  exit: () => process.exit(3),
  /** Dies the first time only: the file is there the second time. */
  exit_once: ({ configuration }) => {
    const file = String(configuration.file);
    if (fs.existsSync(file)) return;
    fs.writeFileSync(file, "");
    process.kill(process.pid, "SIGKILL");
  },
  hang: () => new Promise(() => undefined),
  spin: () => spin(1e9),
  /** Takes memory in steps that are seen, and ends by itself before it takes the machine's. */
  eat: async () => {
    for (const held: Buffer[] = []; held.length < 80; ) {
      held.push(Buffer.alloc(16 << 20, 1));
      await spin(0.02);
    }
  },
  garbage: () => void fs.writeSync(1, "Segmentation fault (core dumped)\n"),
  wrong_id: () => void fs.writeSync(1, `{"type":"failed","id":999,"error":"","cpu_s":0}\n`),
  flood: () => {
    const block = Buffer.alloc(1 << 20, "x");
    for (;;)
      try {
        fs.writeSync(1, block);
      } catch (error) {
        if ((error as { code?: string }).code !== "EAGAIN") throw error;
      }
  },
  chatter: () => {
    for (let i = 0; i < 20_000; i++) process.stderr.write(`line ${i} of what nobody reads\n`);
  },
  print: () => {
    const { console: terminal } = globalThis;
    terminal.log("a library that prints");
  },
};

export async function toyOutcome(spec: TrialSpec): Promise<TrialOutcome> {
  const { configuration, seed, fidelity } = spec;
  const mode = String(configuration.mode ?? "plain");
  await BREAKS[mode]?.(spec);
  await spin(Number(configuration.cpu_s ?? 0));
  const x = Number(configuration.x);
  const noise = seededRandom(seed);
  const fold_scores = [0, 1, 2].map(() => 1 - (x - 0.3) ** 2 + 0.01 * noise.next() * fidelity);
  const score = mode === "nan" ? Number.NaN : fold_scores.reduce((a, b) => a + b) / 3;
  const outputs = Float32Array.from(
    { length: Number(configuration.outputs ?? 8) },
    () => noise.next() * x,
  );
  const figures = { train_score: score + 0.1, zero: -0, threshold: 0.1 + 0.2, text: "ä" };
  return { score, fold_scores, outputs, figures, cpu_s: 0 };
}

export const toyDomain = (): ResearchDomain =>
  ({
    task_hash: TOY_HASH,
    data_hash: TOY_HASH,
    parse: (configuration: unknown) => configuration,
    evaluate: toyOutcome,
  }) as unknown as ResearchDomain;

export const toySpec = (configuration: Record<string, unknown>, seed = 1): TrialSpec =>
  ({ task_hash: TOY_HASH, configuration, seed, fidelity: 1 }) as TrialSpec;

export const toyProposal = (configuration: Record<string, unknown>, version = 0): Proposal => ({
  place: { version, strategy: "baseline", proposer: "baseline" },
  spec: toySpec(configuration),
});
