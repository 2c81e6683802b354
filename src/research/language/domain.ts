/**
 * The language domain: small BitNet models trained for a fixed number of tokens and compared in bits
 * per byte on the same held-out text in one fixed context.
 */
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import type { Hash } from "../../core/types.ts";
import { Order2Model } from "../../model/order2.ts";
import type {
  Configuration,
  EvaluateOptions,
  Failure,
  FinalModel,
  PairedDifference,
  ResearchDomain,
  ScoreInterval,
  Strategy,
  TaskFacts,
  Trial,
  TrialOutcome,
  TrialSpec,
} from "../types.ts";
import { analyseTrial } from "./analysis.ts";
import { pairedDifference, scoreInterval } from "./bootstrap.ts";
import {
  asConfiguration,
  type LanguageConfiguration,
  parseConfiguration,
} from "./configuration.ts";
import { costOf } from "./cost.ts";
import { type Corpus, corpusHash, splitCorpus, textsHash } from "./documents.ts";
import type { Excerpt } from "./excerpts.ts";
import { packModel, unpackModel } from "./final-model.ts";
import { measure } from "./measure.ts";
import type { LanguageOptions } from "./options.ts";
import { RECIPE } from "./recipe.ts";
import { languageStrategies } from "./strategies.ts";
import { sourcesOf, TextData, vocabularyOf } from "./text-data.ts";
import {
  cpuSeconds,
  ignorant,
  runTrial,
  TrainedTrial,
  type TrialPlan,
  unlessBlownUp,
} from "./trial.ts";

export interface LanguageTask {
  readonly name: string;
  readonly corpus: Corpus;
  /** Of the split; trials have seeds of their own. */
  readonly seed: number;
  readonly options: LanguageOptions;
  /** Of the coordinator's own fits; never changes a result. */
  readonly threads?: number;
}

/** Bits of each sealed document, and what the training took. */
export interface Confirmed {
  readonly bits: readonly number[];
  readonly cpu_s: number;
}

/** Rungs of successive halving: a quarter of the tokens tells a bad learning rate from a good one. */
const FIDELITIES = [0.25, 1] as const;

const copiesNote = (copies: number) => ({
  code: "DUPLICATE_DOCUMENTS",
  text: `${copies} document(s) equal another one and are left out`,
  hint: "copies would be trained on and measured on at once",
});

const bytesOf = (excerpts: readonly Excerpt[]) => excerpts.map(({ bytes }) => bytes.length);

export class LanguageDomain implements ResearchDomain {
  readonly name = "language";
  /** Reported with a minus, as all scores are "higher is better". */
  readonly metric = "bits_per_byte";
  readonly notes: ResearchDomain["notes"];
  readonly fidelities = FIDELITIES;
  readonly strategies: readonly Strategy[];
  readonly task_hash: Hash;
  readonly data_hash: Hash;
  readonly facts: TaskFacts;
  readonly data: TextData;
  readonly #threads: number;
  readonly #gate_fits = new Map<string, Promise<Float32Array>>();
  #references: number[] | undefined;

  private constructor(
    readonly task: LanguageTask,
    copies: number,
    data: TextData,
  ) {
    const { corpus, options, seed, name } = task;
    this.data = data;
    this.#threads = task.threads ?? 1;
    const identity = { domain: "language", seed, options, corpus: corpusHash(corpus) };
    this.task_hash = sha256Hex(canonicalJson(identity)) as Hash;
    this.data_hash = textsHash(corpus);
    const sizes = corpus.domains.map((_, index) =>
      corpus.documents.reduce((sum, d) => sum + (d.domain === index ? d.bytes.length : 0), 0),
    );
    const total = sizes.reduce((sum, bytes) => sum + bytes, 0);
    this.facts = {
      ...{ domain: "language", name, rows: corpus.documents.length, features: 0, classes: 0 },
      minority: Math.min(...sizes) / total,
      contexts: corpus.domains.length,
      ...{ has_pipeline: false, missing_share: 0, categorical_share: 0 },
    };
    this.notes = copies === 0 ? [] : [copiesNote(copies)];
    this.strategies = languageStrategies({
      domains: corpus.domains,
      equal: options.equal,
      evaluation_context: options.evaluation_context,
      parse: (value) => this.#read(value),
    });
  }

  /** Splits the corpus and chooses what is measured on. Throws DATA_TOO_SMALL, BAD_CONFIGURATION. */
  static open(task: LanguageTask): LanguageDomain {
    const { corpus, seed, options } = task;
    const { copies, ...parts } = splitCorpus(corpus, { seed, shares: options.held_out });
    const data = new TextData(corpus.domains, parts, options.evaluation_bytes);
    const domain = new LanguageDomain(task, copies, data);
    domain.baseline();
    return domain;
  }

  #read(value: unknown): LanguageConfiguration {
    return parseConfiguration(value, this.data.domains);
  }

  baseline(): Configuration {
    return this.parse({ ...RECIPE, ...this.task.options.baseline });
  }

  parse(configuration: unknown): Configuration {
    return asConfiguration(this.#read(configuration));
  }

  /** Weights are of sources by name: another corpus' say nothing here. */
  adopt(configuration: Configuration): Configuration {
    const mixture = Object.keys((configuration.mixture ?? {}) as object);
    const ours = mixture.length === 0 || canonicalJson(mixture.sort()) === this.#names;
    return ours ? configuration : { ...configuration, mixture: this.baseline().mixture! };
  }

  get #names(): string {
    return canonicalJson([...this.data.domains].sort());
  }

  /** Tokens of a trial: those of equal text or of equal cost (see options.ts). */
  async tokensOf(c: LanguageConfiguration, fidelity: number): Promise<number> {
    const { tokens, equal } = this.task.options;
    const base = this.#read(this.baseline());
    const own = await this.data.vocabulary(c.vocab_size);
    const reference = await this.data.vocabulary(base.vocab_size);
    const by_text = reference.bytes_per_token / own.bytes_per_token;
    const by_cost = costOf(base).us_per_token / costOf(c).us_per_token;
    return tokens * fidelity * (equal === "tokens" ? by_text : by_cost);
  }

  async #planOf(spec: TrialSpec, options: EvaluateOptions): Promise<TrialPlan> {
    const configuration = this.#read(spec.configuration);
    const tokens = await this.tokensOf(configuration, spec.fidelity);
    const { evaluation_context } = this.task.options;
    return { configuration, seed: spec.seed, tokens, evaluation_context, ...options };
  }

  async evaluate(spec: TrialSpec, options: EvaluateOptions): Promise<TrialOutcome> {
    const plan = await this.#planOf(spec, options);
    const vocabulary = await this.data.vocabulary(plan.configuration.vocab_size);
    return runTrial(plan, { data: this.data, vocabulary });
  }

  compare(a: TrialOutcome, b: TrialOutcome, seed: number): PairedDifference {
    return pairedDifference(a.outputs, b.outputs, bytesOf(this.data.excerpts.search), seed);
  }

  async analyse(best: Trial): Promise<Failure[]> {
    const { search, train } = this.data.excerpts;
    return analyseTrial(best, {
      configuration: this.#read(best.spec.configuration),
      references: this.#domainReferences(),
      search,
      train,
      equal: this.task.options.equal,
    });
  }

  /**
   * How hard each domain is by itself: bits per byte of an order-2 byte model fitted to equally much
   * text of each. A domain that is worse against this than the others is not harder, but neglected.
   */
  #domainReferences(): readonly number[] {
    this.#references ??= this.#makeReferences();
    return this.#references;
  }

  #makeReferences(): number[] {
    const { domains, parts, excerpts } = this.data;
    const texts = domains.map((_, index) =>
      Buffer.concat(parts.train.flatMap((d) => (d.domain === index ? [d.bytes] : []))),
    );
    const length = Math.min(1 << 20, ...texts.map((text) => text.length));
    return texts.map((text, index) => {
      const model = new Order2Model(text.subarray(0, length));
      const own = excerpts.search.filter((excerpt) => excerpt.domain === index);
      const bits = own.reduce((sum, { bytes }) => sum + model.bits(bytes), 0);
      return bits / own.reduce((sum, { bytes }) => sum + bytes.length, 0);
    });
  }

  /** A spec's bits on the gate part; one fit serves every query that it is part of. */
  #gateBits(spec: TrialSpec): Promise<Float32Array> {
    const key = canonicalJson(spec);
    const known = this.#gate_fits.get(key);
    if (known) return known;
    const fit = async () => {
      const trial = await this.#fit(spec);
      try {
        return await trial.bitsOf(this.data.excerpts.gate);
      } finally {
        trial.close();
      }
    };
    const made = fit();
    this.#gate_fits.set(key, made);
    made.catch(() => this.#gate_fits.delete(key));
    return made;
  }

  async #fit(spec: TrialSpec, with_heldout = false): Promise<TrainedTrial> {
    const plan = await this.#planOf(spec, { threads: this.#threads });
    const vocabulary = await this.data.vocabulary(plan.configuration.vocab_size);
    if (!with_heldout) return TrainedTrial.run(plan, vocabulary);
    const { train, search, gate } = this.data.parts;
    const documents = [...train, ...search, ...gate];
    const sources = await sourcesOf(documents, this.data.domains, vocabulary.tokenizer);
    return TrainedTrial.run(plan, vocabulary, sources);
  }

  async gateScores(a: TrialSpec, b: TrialSpec): Promise<{ gate: PairedDifference }> {
    const [of_a, of_b] = [await this.#gateBits(a), await this.#gateBits(b)];
    const bytes = bytesOf(this.data.excerpts.gate);
    return { gate: pairedDifference(of_a, of_b, bytes, this.task.seed) };
  }

  async fitFinal(spec: TrialSpec): Promise<FinalModel> {
    const trial = await this.#fit(spec, true);
    try {
      const { trainer, vocabulary } = trial;
      const { tokenizer } = vocabulary;
      const params = await trainer.currentParams();
      const model = { model: trainer.config, params, tokenizer };
      const bytes = await packModel(model);
      return { configuration: spec.configuration, bytes, importance: [] };
    } finally {
      trial.close();
    }
  }

  /**
   * Trains on the search's training text alone and looks at the sealed excerpts: for models at exactly
   * equal effort, with the CPU seconds of the training. For the end of a study.
   */
  async confirm(spec: TrialSpec): Promise<Confirmed> {
    await this.data.vocabulary(this.#read(spec.configuration).vocab_size); // made once, for all
    const started = process.cpuUsage();
    const trial = await this.#fit(spec);
    try {
      const cpu_s = cpuSeconds(started);
      return { bits: [...(await trial.bitsOf(this.data.excerpts.sealed))], cpu_s };
    } finally {
      trial.close();
    }
  }

  /** Bits of the sealed excerpts under a saved model. */
  async #sealedBits({ bytes, configuration }: FinalModel): Promise<Float32Array> {
    const { model, params, tokenizer } = unpackModel(bytes);
    const { context: trained_context } = this.#read(configuration);
    const { sealed: excerpts } = this.data.excerpts;
    const vocabulary = vocabularyOf(tokenizer);
    const fixed = { context: this.task.options.evaluation_context, trained_context };
    const threads = this.#threads;
    const measured = measure({ model, params, excerpts, vocabulary, ...fixed, threads });
    return (await unlessBlownUp(measured))?.bits ?? ignorant(excerpts);
  }

  /** The trivial answer is an order-2 byte model of all training text. */
  #trivialBits(): Float32Array {
    const text = Buffer.concat(this.data.parts.train.map(({ bytes }) => bytes));
    const model = new Order2Model(text);
    return Float32Array.from(this.data.excerpts.sealed, ({ bytes }) => model.bits(bytes));
  }

  async openSealed(
    model: FinalModel,
    baseline: FinalModel,
  ): Promise<{
    model: ScoreInterval;
    baseline: ScoreInterval;
    difference: PairedDifference;
    trivial: ScoreInterval;
  }> {
    const bytes = bytesOf(this.data.excerpts.sealed);
    const { seed } = this.task;
    const [ours, theirs] = [await this.#sealedBits(model), await this.#sealedBits(baseline)];
    return {
      model: scoreInterval(ours, bytes, seed),
      baseline: scoreInterval(theirs, bytes, seed),
      difference: pairedDifference(theirs, ours, bytes, seed),
      trivial: scoreInterval(this.#trivialBits(), bytes, seed),
    };
  }

  async close(): Promise<void> {
    this.#gate_fits.clear();
  }
}
