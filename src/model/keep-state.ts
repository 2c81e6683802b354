/**
 * A trainer lent to other work: its weights and moments are put back afterwards, bit for bit. They are
 * copied into the host's memory meanwhile, 12 bytes a parameter.
 */
import type { Trainer } from "./trainer.ts";

const KEPT = ["params", "m", "v"] as const;

export async function keepingState<T>(
  trainer: Pick<Trainer, "arena" | "pull" | "push">,
  work: () => Promise<T>,
): Promise<T> {
  await trainer.pull(...KEPT);
  const kept = KEPT.map((which) => trainer.arena(which).slice());
  try {
    return await work();
  } finally {
    for (const [i, which] of KEPT.entries()) trainer.arena(which).set(kept[i]!);
    await trainer.push(...KEPT);
  }
}
