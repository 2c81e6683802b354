/**
 * data_limited: two points of the learning curve, the model trained on half the rows and on all.
 * What the second half brought, the next doubling brings about half of (errors fall with a power
 * of the rows, Hestness et al. 2017). Where all rows are trained on already this is for people, who
 * may get more; where a limit keeps rows back, the model with them is tried instead.
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
  const limit = input.configuration.rows.rows_max;
  const unused = limit > 0 ? Math.max(0, input.rows - limit) : 0;
  if (unused > 0) return findUnused(ground, limit, unused);
  const halved = await ground.gainOf({ train_share: 0.5 });
  const [gain, score] = [-halved.gain, -halved.score_gain];
  return {
    kind: "data_limited",
    strength: (gain - halved.margin) / Math.max(1e-12, halved.standard_error),
    potential: Math.max(0, score * NEXT_DOUBLING),
    text:
      `Doubling the training rows saved ${gain.toFixed(4)} +- ` +
      `${halved.standard_error.toFixed(4)} of loss a row; all rows are trained on.`,
    evidence: {
      loss_gain: gain,
      standard_error: halved.standard_error,
      score_gain: score,
      rows_unused: unused,
    },
  };
}

/** What the rows that the configuration keeps back would bring, as far as a probe has them. */
async function findUnused(ground: ProbeGround, limit: number, unused: number): Promise<Failure> {
  const { configuration } = ground;
  const limited = { ...configuration, rows: { ...configuration.rows, rows_max: limit } };
  const found = ground.compare(await ground.outputsOf(limited), ground.same);
  return {
    kind: "data_limited",
    strength: found.z,
    potential: Math.max(0, found.score_gain),
    text:
      `${unused} rows are not trained on; with them a probe saves ${found.gain.toFixed(4)} +- ` +
      `${found.standard_error.toFixed(4)} of loss a row.`,
    evidence: {
      loss_gain: found.gain,
      standard_error: found.standard_error,
      score_gain: found.score_gain,
      rows_unused: unused,
    },
  };
}
