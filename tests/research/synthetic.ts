/**
 * A domain made of arithmetic, for tests of the loop: each unit's gain is a smooth function of the
 * configuration with a known optimum, plus noise by unit, configuration, seed and part. Failures
 * say which axis is off. It obeys the same rules as a real domain: search, gate and sealed units
 * are different, and every read of the last two is counted.
 */
import { canonicalJson, sha256 } from "../../src/core/bytes.ts";
import { MagnetError } from "../../src/core/errors.ts";
import type { Hash } from "../../src/core/types.ts";
import type {
  Configuration,
  Failure,
  FailureKind,
  FinalModel,
  PairedDifference,
  ResearchDomain,
  ScoreInterval,
  Space,
  Strategy,
  TrialOutcome,
  TrialSpec,
} from "../../src/research/types.ts";

export interface SyntheticOptions {
  readonly units?: number;
  /** Spread between units, the same for every configuration. */
  readonly unit_noise?: number;
  /** Spread by unit and configuration: what a search can overfit to. */
  readonly trial_noise?: number;
  /** How much the optimum is better than the baseline; 0 = nothing can be learnt. */
  readonly scale?: number;
  readonly fidelities?: readonly number[];
  /** CPU seconds that a trial burns. */
  readonly burn_s?: (configuration: Configuration) => number;
  /** Configurations that crash. */
  readonly crashes?: (configuration: Configuration) => boolean;
  /** Where the optimum lies, to make families of tasks. */
  readonly optimum?: readonly [number, number, number];
}

const AXES = ["a", "b", "c"] as const;
const KINDS: readonly FailureKind[] = ["overfit", "underfit", "interactions"];
const SPACES: readonly Space[] = [
  { a: { kind: "real", min: 0, max: 1 }, shape: { kind: "choice", options: ["flat", "round"] } },
  { b: { kind: "real", min: 0.001, max: 10, log: true } },
  { c: { kind: "integer", min: 1, max: 64, log: true } },
];

/** The reads of the guarded parts, in order. */
export interface Reads {
  gate: number;
  sealed: number;
}

export function syntheticDomain(options: SyntheticOptions = {}): ResearchDomain & { reads: Reads } {
  const units = options.units ?? 400;
  const optimum = options.optimum ?? [0.8, 0.1, 12];
  const scale = options.scale ?? 0.4;
  const reads: Reads = { gate: 0, sealed: 0 };

  /** Losses by axis, 0 at the optimum, about 1 far away. */
  const losses = (c: Configuration) => [
    Math.min(1, Math.abs(Number(c.a) - optimum[0]) * 1.2) * 0.7 + (c.shape === "round" ? 0 : 0.3),
    Math.min(1, Math.abs(Math.log10(Number(c.b) / optimum[1])) / 2),
    Math.min(1, Math.abs(Math.log2(Number(c.c) / optimum[2])) / 3),
  ];
  const truth = (c: Configuration) => 0.5 + scale * (1 - losses(c).reduce((x, y) => x + y, 0) / 3);

  const outputsOf = (spec: TrialSpec, part: "search" | "gate" | "sealed") => {
    const fixed = noiseOf(`${part}/units`);
    const own = noiseOf(
      `${part}/${spec.seed}/${spec.fidelity}/${canonicalJson(spec.configuration)}`,
    );
    const mean = truth(spec.configuration) - (1 - spec.fidelity) * 0.05;
    const count = part === "search" ? units : Math.ceil(units / 4);
    return Float32Array.from({ length: count }, () => {
      const shared = fixed() * (options.unit_noise ?? 0.2);
      return mean + shared + own() * (options.trial_noise ?? 0.1);
    });
  };
  const outcomeOf = (spec: TrialSpec, part: "search" | "gate" | "sealed"): TrialOutcome => {
    const outputs = outputsOf(spec, part);
    return { score: mean(outputs), fold_scores: [], outputs, figures: { units }, cpu_s: 0 };
  };

  return {
    reads,
    name: "tabular",
    task_hash: "0".repeat(64) as Hash,
    data_hash: "0".repeat(64) as Hash,
    facts: {
      domain: "tabular",
      name: "synthetic",
      rows: units,
      features: 3,
      classes: 2,
      minority: 0.5,
      contexts: 0,
      has_pipeline: false,
      missing_share: 0,
      categorical_share: 0,
    },
    notes: [],
    metric: "mean_gain",
    fidelities: options.fidelities ?? [1],
    baseline: () => ({ a: 0.1, b: 5, c: 50, shape: "flat" }),
    parse(raw) {
      const c = raw as { [key: string]: unknown };
      for (const key of Object.keys(c))
        if (![...AXES, "shape"].includes(key))
          throw new MagnetError("BAD_CONFIGURATION", `unknown field ${key}`);
      for (const axis of AXES)
        if (typeof c[axis] !== "number")
          throw new MagnetError("BAD_CONFIGURATION", `${axis} is no number`);
      return { a: c.a, b: c.b, c: c.c, shape: c.shape ?? "flat" } as unknown as Configuration;
    },
    async evaluate(spec, { signal }) {
      if (options.crashes?.(spec.configuration)) throw new Error("this one crashes");
      const cpu_s = await burn((options.burn_s?.(spec.configuration) ?? 0) * spec.fidelity, signal);
      return { ...outcomeOf(spec, "search"), cpu_s };
    },
    compare: (a, b) => paired(a.outputs, b.outputs),
    async analyse(best) {
      return losses(best.spec.configuration).flatMap<Failure>((loss, i) =>
        loss < 0.02
          ? []
          : [
              {
                kind: KINDS[i]!,
                strength: loss * 10,
                potential: (scale * loss) / 3,
                text: `axis ${AXES[i]} is off`,
                evidence: { loss },
              },
            ],
      );
    },
    strategies: KINDS.map(
      (kind, i): Strategy => ({
        id: `mend-${AXES[i]}`,
        family: `family-${AXES[i]}`,
        targets: [kind],
        summary: `Searches axis ${AXES[i]}.`,
        sweep: ({ best }) => ({
          base: best.spec.configuration,
          space: SPACES[i]!,
          first: [],
          trials_max: 20,
        }),
      }),
    ),
    async gateScores(a, b) {
      reads.gate++;
      for (const spec of [a, b]) await burn((options.burn_s?.(spec.configuration) ?? 0) / 3);
      return { gate: paired(outcomeOf(a, "gate").outputs, outcomeOf(b, "gate").outputs) };
    },
    async fitFinal(spec): Promise<FinalModel> {
      await burn((options.burn_s?.(spec.configuration) ?? 0) / 2);
      const bytes = new TextEncoder().encode(canonicalJson(spec));
      return { configuration: spec.configuration, bytes, importance: [] };
    },
    async openSealed(model, baseline) {
      reads.sealed++;
      const read = (m: FinalModel) =>
        outcomeOf(JSON.parse(new TextDecoder().decode(m.bytes)) as TrialSpec, "sealed").outputs;
      const [a, b] = [read(baseline), read(model)];
      const trivial = { score: 0.5, low: 0.5, high: 0.5, units: a.length };
      return { model: interval(b), baseline: interval(a), difference: paired(a, b), trivial };
    },
    async close() {
      reads.gate = -1;
    },
  };
}

/** Roughly normal noise from a text: 32-bit arithmetic, for thousands of units a trial. */
function noiseOf(text: string): () => number {
  const digest = sha256(text);
  let state = new DataView(digest.buffer, digest.byteOffset).getUint32(0) | 1;
  const uniform = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  return () => (uniform() + uniform() + uniform() + uniform() - 2) * Math.sqrt(3);
}

const mean = (values: Float32Array) => values.reduce((sum, v) => sum + v, 0) / values.length;

function standardError(values: Float32Array): number {
  const centre = mean(values);
  const squares = values.reduce((sum, v) => sum + (v - centre) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}

/** Normal interval of the paired difference: what the bootstrap of a mean tends to. */
export function paired(a: Float32Array, b: Float32Array): PairedDifference {
  const differences = b.map((value, i) => value - a[i]!);
  const [difference, standard_error] = [mean(differences), standardError(differences)];
  const half = 1.959964 * standard_error;
  return {
    difference,
    standard_error,
    low: difference - half,
    high: difference + half,
    level: 0.95,
  };
}

function interval(values: Float32Array): ScoreInterval {
  const [score, half] = [mean(values), 1.959964 * standardError(values)];
  return { score, low: score - half, high: score + half, units: values.length };
}

/** Uses CPU time, looking up now and then so that it can be stopped. */
async function burn(seconds: number, signal?: AbortSignal): Promise<number> {
  const before = process.cpuUsage();
  const used = () => {
    const now = process.cpuUsage(before);
    return (now.user + now.system) / 1e6;
  };
  while (used() < seconds) {
    let x = 1;
    for (let i = 0; i < 200_000; i++) x = Math.sqrt(x + i);
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
  }
  return used();
}
