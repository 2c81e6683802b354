/**
 * data_limited: two points of the learning curve, the model trained on half the rows and on all.
 * What the second half brought, the next doubling brings about half of (errors fall with a power
 * of the rows, Hestness et al. 2017): worth it where rows are kept from training or can be had.
 */
import type { Failure } from "../types.ts";
import type { AnalysisInput } from "./input.ts";
import type { ProbeGround } from "./probes.ts";

/** Part of the last doubling's gain that the next one is expected to bring. */
const NEXT_DOUBLING = 0.5;

export async function findDataLimited(
  input: AnalysisInput,
  ground: ProbeGround,
): Promise<Failure | null> {
  const halved = await ground.gainOf({ train_share: 0.5 });
  const [gain, score] = [-halved.gain, -halved.score_gain];
  const limit = input.configuration.rows.rows_max;
  const unused = limit > 0 ? Math.max(0, input.rows - limit) : 0;
  return {
    kind: "data_limited",
    strength: (gain - halved.margin) / Math.max(1e-12, halved.standard_error),
    potential: Math.max(0, score * NEXT_DOUBLING),
    text:
      `Doubling the training rows saved ${gain.toFixed(4)} +- ` +
      `${halved.standard_error.toFixed(4)} of loss a row` +
      (unused > 0 ? `; ${unused} rows are not trained on.` : "; all rows are trained on."),
    evidence: {
      loss_gain: gain,
      standard_error: halved.standard_error,
      score_gain: score,
      rows_unused: unused,
    },
  };
}
