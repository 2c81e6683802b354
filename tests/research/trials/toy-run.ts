/**
 * A small search over the toy domain in a run's folder, as the loop would do it: each batch follows
 * from the outcomes before it. `bun toy-run.ts FOLDER BATCHES WORKERS` prints a line a trial and the
 * result at the end; run again on the same folder it goes on.
 */
import path from "node:path";
import { sha256Hex } from "../../../src/core/bytes.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { seededRandom } from "../../../src/core/random.ts";
import { writeToDescriptor } from "../../../src/core/stdio.ts";
import { DurableRunner } from "../../../src/research/trials/durable-runner.ts";
import { LocalWorkers } from "../../../src/research/trials/local-workers.ts";
import { TrialStore } from "../../../src/research/trials/trial-store.ts";
import type { Trial } from "../../../src/research/types.ts";
import { TOY_HASH, toyProposal } from "./toy-domain.ts";

export const toyWorker = (...args: string[]): string[] => [
  process.execPath,
  path.join(import.meta.dir, "toy-worker.ts"),
  ...args,
];

export const toyHeader = (settings = {}) => ({
  ...{ task_hash: TOY_HASH, task: { name: "toy" }, settings, code_version: "1" },
});

const sizeOf = (trial: Trial) => trial.outcome?.score ?? -1;

/** The result of a search of so many batches: a digest of all it has seen. */
export async function toySearch(runner: DurableRunner, batches: number): Promise<string> {
  const random = seededRandom(7);
  const seen: unknown[] = [];
  let best = 0.9;
  for (let batch = 0; batch < batches; batch++) {
    const proposals = [0, 1, 2, 3].map((i) =>
      toyProposal(
        {
          x: best + (random.next() - 0.5) * 0.2,
          cpu_s: 0.01,
          ...(batch % 3 === 1 && i === 2 ? { mode: "throw" } : {}),
        },
        batch,
      ),
    );
    const trials = await runner.run(proposals, { cpu_limit_s: null });
    const top = trials.reduce((a, b) => (sizeOf(b) > sizeOf(a) ? b : a));
    best = Number(top.spec.configuration.x);
    const { cpu_s } = await runner.once(`spent/${batch}`, () => runner.spent());
    const gate = await runner.once(`gate/${batch}`, () => ({ answer: best / 3, at_s: cpu_s > 0 }));
    seen.push(
      gate.answer,
      trials.map((t) => [t.index, t.place, t.spec, t.state, t.error]),
    );
    seen.push(
      trials.map(
        (t) =>
          t.outcome && [
            t.outcome.score,
            t.outcome.fold_scores,
            t.outcome.figures,
            [...t.outcome.outputs],
          ],
      ),
    );
  }
  return sha256Hex(JSON.stringify(seen));
}

if (import.meta.main) {
  const [folder, batches, workers] = process.argv.slice(2);
  const store = TrialStore.openFolder(folder!, systemClock);
  store.begin(toyHeader());
  const runner = new DurableRunner({
    store,
    sources: Array.from(
      { length: Number(workers) },
      () => new LocalWorkers({ command: toyWorker(), task_hash: TOY_HASH }),
    ),
    onTrial: ({ index }) => writeToDescriptor(1, `trial ${index}\n`),
  });
  writeToDescriptor(1, "begun\n");
  const digest = await toySearch(runner, Number(batches));
  await runner.close();
  store.close();
  writeToDescriptor(1, `result ${digest}\n`);
}
