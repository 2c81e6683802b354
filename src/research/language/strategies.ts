/**
 * The strategies of the language domain: each aims at failures and searches a few axes around the best
 * configuration so far. Every point of their spaces is a valid model.
 */
import { toMagnetError } from "../../core/errors.ts";
import { roomLog } from "../../core/log.ts";
import type {
  Configuration,
  Dimension,
  FailureKind,
  Space,
  Strategy,
  StrategyState,
  Sweep,
} from "../types.ts";
import { asConfiguration, type LanguageConfiguration } from "./configuration.ts";
import type { LanguageOptions } from "./options.ts";

export interface StrategyContext {
  readonly domains: readonly string[];
  readonly equal: LanguageOptions["equal"];
  readonly evaluation_context: number;
  readonly parse: (value: unknown) => LanguageConfiguration;
}

type Change = Partial<LanguageConfiguration>;
type Build = (
  best: LanguageConfiguration,
  state: StrategyState,
) => { space: Space; first: readonly Change[]; trials_max?: number } | null;

const log = roomLog("research");

/** Trials that a strategy may spend unless it says otherwise. */
const TRIALS_MAX = 12;

const real = (min: number, max: number, log = true): Dimension => ({ kind: "real", min, max, log });
const choice = (...options: (string | number)[]): Dimension => ({ kind: "choice", options });

/** Widths that heads of `head_dim` in groups of up to four fill. */
const widthsFor = ({ head_dim }: LanguageConfiguration) =>
  [1, 2, 3, 4, 6].map((n) => 4 * head_dim * n).filter((width) => width <= 1024);

/** Halves and doubles of a whole number, within bounds. */
const around = (value: number, low: number, high: number) =>
  [...new Set([value >> 1, value, value * 2])].filter((n) => n >= low && n <= high);

const learningRate: Build = ({ lr }) => ({
  space: { lr: real(lr / 16, Math.min(1, lr * 16)), warmup: choice(0.01, 0.05) },
  first: [{ lr: lr * 3 }, { lr: lr / 3 }, { lr: lr * 6 }],
});

const method: Build = (c) => {
  const other = c.optimizer === "muon" ? "adamw" : "muon";
  // The rates at which each learns best on models of this size differ (docs/proof.md).
  const lr = other === "muon" ? 0.012 : 0.004;
  return {
    space: {
      optimizer: choice("adamw", "muon"),
      lr: real(5e-4, 0.05),
      momentum: choice(0.9, 0.95),
      beta2: choice(0.95, 0.98),
    },
    first: [
      { optimizer: other, lr },
      { optimizer: other, lr: lr * 2 },
    ],
  };
};

const schedule: Build = ({ decay }) => ({
  space: {
    schedule: choice("wsd", "cosine", "two-stage"),
    warmup: choice(0.01, 0.03, 0.1),
    decay: choice(0.15, 0.3, 0.5, 0.8),
  },
  first: [{ schedule: "wsd", decay: decay < 0.4 ? 0.5 : 0.2 }, { schedule: "cosine" }],
});

const stability: Build = ({ lr }) => ({
  space: {
    lr: real(lr / 64, lr),
    warmup: choice(0.01, 0.05, 0.15),
    clip: choice(0.3, 1),
    beta2: choice(0.95, 0.98),
  },
  first: [{ lr: lr / 4 }, { lr: lr / 16 }, { lr: lr / 2, warmup: 0.1, clip: 0.3 }],
});

const steps: Build = ({ batch }) => ({
  space: {
    batch: choice(...around(batch, 1, 1024), Math.max(1, batch >> 2)),
    lr: real(5e-4, 0.05),
  },
  first: [{ batch: Math.max(1, batch >> 1) }, { batch: Math.max(1, batch >> 2) }],
});

const regularise: Build = (c) => ({
  space: {
    weight_decay: real(0.01, 0.6),
    weight_decay_schedule: choice("constant", "two-stage"),
    n_layers: choice(...around(c.n_layers, 1, 64)),
  },
  first: [
    { weight_decay: 0.3, weight_decay_schedule: "constant" },
    { n_layers: Math.max(1, c.n_layers >> 1) },
  ],
});

const grow: Build = (c) => {
  const wider = widthsFor(c).filter((width) => width >= c.d_model);
  if (wider.length === 0) return null;
  const next = wider.find((width) => width > c.d_model);
  const deeper = { n_layers: Math.min(64, c.n_layers * 2) };
  return {
    space: {
      d_model: choice(...wider.slice(0, 3)),
      n_layers: choice(...around(c.n_layers, c.n_layers, 64)),
      ffn: choice(2, 2.67, 4),
    },
    first: next === undefined ? [deeper] : [{ d_model: next }, deeper],
  };
};

const shape: Build = (c) => ({
  space: {
    d_model: choice(...widthsFor(c).filter((w) => w >= c.d_model / 2 && w <= c.d_model * 2)),
    n_layers: choice(...around(c.n_layers, 1, 64)),
    ffn: choice(1.33, 2, 2.67, 4),
    group: choice(1, 2, 4),
  },
  first: [
    { n_layers: Math.max(1, c.n_layers >> 1) },
    { n_layers: c.n_layers * 2 },
    { ffn: c.ffn > 2 ? 2 : 4 },
  ],
});

const faster: Build = (c) => ({
  space: {
    batch: choice(...around(c.batch, 1, 1024)),
    accumulate: choice(1, 2),
    optimizer: choice("adamw", "muon"),
    group: choice(2, 4),
  },
  first: [{ batch: c.batch * 2 }, { batch: c.batch * 4 }],
});

/** The neglected domain gets more; weights keep the others' proportions. */
function mixtureFor(domains: readonly string[]): Build {
  if (domains.length < 2) return () => null;
  return (c, state) => {
    const shares = sharesOf(c, domains, state);
    const gap = state.failures.find(({ kind }) => kind === "domain_gap");
    const needy = typeof gap?.evidence.domain === "string" ? gap.evidence.domain : domains[0]!;
    const boosted = (factor: number): Change => ({
      mixture: { ...shares, [needy]: shares[needy]! * factor },
    });
    const space = Object.fromEntries(
      domains.map((name) => [`mixture.${name}`, real(shares[name]! / 8, shares[name]! * 8)]),
    );
    return { space, first: [boosted(2), boosted(4), boosted(16)] };
  };
}

/** Shares of the training sequences, as the best trial took them. */
function sharesOf(
  { mixture }: LanguageConfiguration,
  domains: readonly string[],
  { best }: StrategyState,
): Record<string, number> {
  const taken = best.outcome?.figures.domains as
    | readonly { name: string; train_share: number }[]
    | undefined;
  const share = (name: string) =>
    mixture[name] ?? taken?.find((d) => d.name === name)?.train_share ?? 1 / domains.length;
  return Object.fromEntries(domains.map((name) => [name, Math.max(1e-4, share(name))]));
}

function contextFor(evaluation_context: number): Build {
  return (c) => {
    const options = [0.5, 1, 2, 4].map((factor) => c.context * factor);
    const usable = options.filter((n) => n >= 16 && n <= 2 * evaluation_context);
    // The same tokens a step: what changes is how far back they look.
    const at = (context: number): Change => ({
      context,
      batch: Math.max(1, Math.round((c.batch * c.context) / context)),
    });
    const longer = usable.filter((n) => n > c.context);
    return {
      space: { context: choice(...usable), batch: choice(...around(c.batch, 1, 1024)) },
      first: [...longer, ...usable.filter((n) => n < c.context)].slice(0, 3).map(at),
    };
  };
}

const vocabulary: Build = (c) => {
  const options = [512, 1024, 2048, 4096, 8192].filter(
    (n) => n >= c.vocab_size / 2 && n <= c.vocab_size * 2,
  );
  return {
    space: { vocab_size: choice(...options) },
    first: options.filter((n) => n !== c.vocab_size).map((vocab_size) => ({ vocab_size })),
    trials_max: options.length,
  };
};

interface Entry {
  readonly id: string;
  readonly family: string;
  readonly targets: readonly FailureKind[];
  readonly summary: string;
  /** Worth trying whatever the analysis says. */
  readonly general?: boolean;
  readonly build: Build;
}

const entries = ({ domains, equal, evaluation_context }: StrategyContext): Entry[] => [
  {
    ...{ id: "learning_rate", family: "rate", targets: ["slow_learning", "unstable_training"] },
    ...{ summary: "another peak learning rate and warm-up", general: true },
    build: learningRate,
  },
  {
    ...{ id: "optimizer", family: "method", targets: ["slow_learning", "unstable_training"] },
    ...{ summary: "the other optimizer, at its own learning rates", general: true },
    build: method,
  },
  {
    ...{ id: "stabilise", family: "stability", targets: ["unstable_training"] },
    summary: "a lower learning rate, longer warm-up, tighter clipping",
    build: stability,
  },
  {
    ...{ id: "schedule", family: "schedule", targets: ["unstable_training", "slow_learning"] },
    ...{ summary: "another shape of the learning rate over the run", general: true },
    build: schedule,
  },
  {
    ...{ id: "smaller_batches", family: "batch", targets: ["slow_learning"] },
    ...{ summary: "more and smaller steps from the same text", general: true },
    build: steps,
  },
  {
    ...{ id: "regularise", family: "regularisation", targets: ["overfit"] },
    summary: "more weight decay or a shallower model",
    build: regularise,
  },
  {
    ...{ id: "grow", family: "capacity", targets: ["capacity"] },
    summary: "a wider or deeper model",
    build: grow,
  },
  {
    ...{
      id: "reshape",
      family: "shape",
      targets: equal === "compute" ? ["throughput", "overfit"] : ["overfit"],
    },
    ...{ summary: "depth, width, feed-forward part and shared heads anew", general: true },
    build: shape,
  },
  {
    ...{ id: "mixture", family: "data", targets: ["domain_gap"] },
    summary: "more training text of the domain that lags behind",
    build: mixtureFor(domains),
  },
  {
    ...{ id: "context", family: "context", targets: ["short_context"] },
    ...{ summary: "longer or shorter sequences, as many tokens a step", general: true },
    build: contextFor(evaluation_context),
  },
  {
    ...{ id: "vocabulary", family: "tokenizer", targets: ["capacity", "throughput"] },
    summary: "a smaller or larger vocabulary on the same bytes",
    build: vocabulary,
  },
  {
    ...{ id: "larger_steps", family: "speed", targets: ["throughput"] },
    summary: "more tokens for each step of the optimizer",
    build: faster,
  },
];

export function languageStrategies(context: StrategyContext): Strategy[] {
  return entries(context).map(({ build, ...about }) => ({
    ...about,
    sweep(state: StrategyState): Sweep | null {
      const base = context.parse(state.best.spec.configuration);
      const built = build(base, state);
      if (built === null) return null;
      const first = built.first.flatMap((change) =>
        validOf(context, about.id, { ...base, ...change }),
      );
      const { space, trials_max = TRIALS_MAX } = built;
      return { base: asConfiguration(base), space, first, trials_max };
    },
  }));
}

/** A first guess that the configuration's rules refuse (a width without whole heads) is left out; the log says so. */
function validOf(
  { parse }: StrategyContext,
  strategy: string,
  value: LanguageConfiguration,
): Configuration[] {
  try {
    return [asConfiguration(parse(value))];
  } catch (error) {
    const { message: reason } = toMagnetError(error);
    log.info("first_guess_refused", { strategy, reason });
    return [];
  }
}
