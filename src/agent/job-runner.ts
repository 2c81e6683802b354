/**
 * The work that one job asks of this node: prepare it, train a round locally, merge a round.
 * Everything here is a function of the job, the base state and the announced task, so that any node
 * can recompute a merge; only the inner optimizer's moments stay with the node from round to round
 * (as in DiLoCo).
 */
import { formatBytes } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import { roomLog } from "../core/log.ts";
import type { Hash } from "../core/types.ts";
import type { MergeTask, TrainedResult, TrainTask } from "../diloco/round-types.ts";
import { paramCount } from "../model/config.ts";
import { type Evaluation, evaluateTokens, tokenByteLengths } from "../model/evaluate.ts";
import { keepingState } from "../model/keep-state.ts";
import { TokenFile } from "../model/token-file.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import type { Trainer } from "../model/trainer.ts";
import type { ChosenDevice } from "../native/device.ts";
import type { BlobStore } from "../storage/blobs.ts";
import { doInnerSteps } from "./inner-steps.ts";
import type { JobSpec } from "./job.ts";
import { openJobTrainer } from "./job-trainer.ts";
import { mergeRound } from "./merge-round.ts";
import { decodeState, encodeState, type ModelState } from "./model-state.ts";
import { type AuditedStretch, type AuditVerdict, auditStretch } from "./trail/audit-stretch.ts";
import { OptimizerChain } from "./trail/optimizer-chain.ts";
import { TrailRecorder, trailBytes } from "./trail/trail-recorder.ts";
import type { TrailStore } from "./trail/trail-store.ts";

const log = roomLog("agent");

/** The parts of one blob as the store takes them. */
async function* inParts(parts: readonly Uint8Array[]) {
  yield* parts;
}

export interface RunnerOptions {
  job_id: Hash;
  job: JobSpec;
  blobs: BlobStore;
  /** 0 = all. */
  threads: number;
  /** Where it is trained, evaluated and merged; the merge has the same bits everywhere. */
  device: ChosenDevice;
  /** Where the trails of its rounds are kept; without it there are none. */
  trails?: TrailStore | undefined;
  onStep?: (progress: { step: number; steps: number; loss: number }) => void;
}

export class JobRunner {
  readonly #options: RunnerOptions;
  readonly #trainer: Trainer;
  readonly #train_file: TokenFile;
  readonly #heldout_file: TokenFile;
  readonly #byte_lengths: Uint16Array;
  readonly #chain: OptimizerChain;
  #base: { hash: Hash; state: ModelState } | undefined;
  readonly #losses = new Map<Hash, Evaluation>();

  private constructor(
    options: RunnerOptions,
    trainer: Trainer,
    files: { train: TokenFile; heldout: TokenFile },
    tokenizer: Tokenizer,
  ) {
    this.#options = options;
    this.#trainer = trainer;
    this.#train_file = files.train;
    this.#heldout_file = files.heldout;
    this.#byte_lengths = tokenByteLengths(tokenizer);
    this.#chain = new OptimizerChain(trainer, options.trails);
  }

  /**
   * Opens a job whose blobs are all here. Throws TOKENIZER_MISMATCH, TOKENS_CORRUPT, OUT_OF_MEMORY, and
   * NOT_ENOUGH_MEMORY of a GPU.
   */
  static async open(options: RunnerOptions): Promise<JobRunner> {
    const { job, blobs, threads, device } = options;
    const tokenizer = await Tokenizer.load(blobs.pathOf(job.tokenizer_hash as Hash));
    const train = await TokenFile.open(blobs.pathOf(job.train_hash as Hash));
    const heldout = await TokenFile.open(blobs.pathOf(job.heldout_hash as Hash));
    for (const file of [train, heldout]) file.expectTokenizer(tokenizer.hash);
    if (tokenizer.vocab_size > job.model.vocab_size)
      throw new MagnetError(
        "TOKENIZER_MISMATCH",
        `the tokenizer has ${tokenizer.vocab_size} tokens, the model ${job.model.vocab_size}`,
        { hint: "the model's vocab_size must be at least the tokenizer's", exit: "verification" },
      );
    const trainer = openJobTrainer(job, threads, device);
    return new JobRunner(options, trainer, { train, heldout }, tokenizer);
  }

  close(): void {
    this.#trainer.close();
    this.#train_file.close();
    this.#heldout_file.close();
  }

  /** Computes and keeps the initial state. Returns its hash: the job's base. */
  async initialState(): Promise<Hash> {
    const { job, job_id } = this.#options;
    await this.#trainer.initialise(BigInt(job.seed));
    await this.#chain.clear();
    const params = new Float32Array(await this.#trainer.currentParams());
    const momentum = new Float32Array(params.length);
    return this.#keep({ job_id, rounds_done: 0, params, momentum });
  }

  async #keep(state: ModelState): Promise<Hash> {
    const { hash } = await this.#options.blobs.put(inParts(encodeState(state)));
    this.#base = { hash, state };
    return hash;
  }

  async #load(hash: Hash): Promise<ModelState> {
    if (this.#base?.hash !== hash) {
      const bytes = await this.#options.blobs.get(hash);
      const state = decodeState(bytes, paramCount(this.#options.job.model));
      this.#base = { hash, state };
    }
    return this.#base.state;
  }

  /** Held-out evaluation of the state of this hash; remembered. */
  async evaluateState(hash: Hash): Promise<Evaluation> {
    const known = this.#losses.get(hash);
    if (known) return known;
    const { params } = await this.#load(hash);
    await this.#trainer.setParams(params);
    const evaluation = await this.#evaluate();
    this.#losses.clear(); // only the latest is asked for again
    this.#losses.set(hash, evaluation);
    return evaluation;
  }

  #evaluate(signal?: AbortSignal): Promise<Evaluation> {
    const { job } = this.#options;
    return evaluateTokens({
      trainer: this.#trainer,
      file: this.#heldout_file,
      byte_lengths: this.#byte_lengths,
      tokens_max: job.heldout_sequences * job.model.context,
      signal,
    });
  }

  /** H inner steps on this node's slice, then the encoded pseudo-gradient as a blob, and its trail. */
  async train(task: TrainTask, signal: AbortSignal): Promise<TrainedResult> {
    const before = await this.evaluateState(task.base_hash);
    const base = await this.#load(task.base_hash);
    const trainer = this.#trainer;
    trainer.arena("base").set(base.params);
    await trainer.push("base");
    await trainer.round.copy("base", "params");
    const recorder = await this.#record(task, base.params);
    try {
      const done = await this.#contribute(task, recorder, signal);
      return { ...done, announce_hash: task.announce_hash, loss_before: before.loss };
    } catch (error) {
      await recorder?.abandon();
      throw error;
    }
  }

  /** Begins the round's trail, where there is room for it. */
  async #record(task: TrainTask, base: Float32Array): Promise<TrailRecorder | null> {
    const { job, trails: store, device } = this.#options;
    const { previous_trail } = task;
    const bytes = trailBytes(job, base.length, previous_trail !== null);
    if (!store) return null;
    if (!(await store.makeRoom(bytes, previous_trail))) {
      const { round } = task;
      const hint = "audits of this contribution fail: give the node more disk (--max-disk)";
      log.warn("no_room_for_trail", { round, needed: formatBytes(bytes), hint });
      return null;
    }
    const previous = await this.#chain.goOnFrom(previous_trail, job);
    const { optimizer_steps } = this.#chain;
    const round = { store, trainer: this.#trainer, job, task, previous, optimizer_steps };
    return TrailRecorder.start({ ...round, device: device.device.kind }, base);
  }

  async #contribute(task: TrainTask, recorder: TrailRecorder | null, signal: AbortSignal) {
    const { job, blobs, onStep } = this.#options;
    const trainer = this.#trainer;
    const tokens = await doInnerSteps({
      ...{ job, task, signal, train_file: this.#train_file, trainer },
      optimizer_steps: this.#chain.optimizer_steps,
      onStep: async (progress) => {
        this.#chain.stepped();
        onStep?.(progress);
        await recorder?.stepDone(progress.step);
      },
    });
    const after = await this.#evaluate(signal);
    await recorder?.settled();
    // What compression loses stays in the trainer, for the next pseudo-gradient (error feedback).
    const encoded = await trainer.round.compress(job.compression, { feedback: true, signal });
    const { hash } = await blobs.put(encoded);
    const ended = await recorder?.end(hash);
    if (ended) this.#chain.endsWith(ended.trail);
    const made = { delta_hash: hash, size_bytes: encoded.length, trail_hash: ended?.hash ?? null };
    return { ...made, tokens, loss_after: after.loss };
  }

  /** Does a stretch of another node's steps again; this node's own training is as before afterwards. */
  async audit(work: AuditedStretch, signal?: AbortSignal): Promise<AuditVerdict> {
    const { job } = this.#options;
    const trainer = this.#trainer;
    const tools = { job, trainer, train_file: this.#train_file, signal };
    return keepingState(trainer, () => auditStretch(work, tools));
  }

  /** The outer step over the contributors in the order given; keeps the merged state. */
  async merge(task: MergeTask): Promise<Hash> {
    const { job, job_id, blobs } = this.#options;
    const base = await this.#load(task.base_hash);
    const { contributors, round } = task;
    const merged = await mergeRound({ job, base, contributors, blobs, trainer: this.#trainer });
    const { params, momentum, left_out } = merged;
    for (const public_key of left_out) log.warn("pseudo_gradient_left_out", { round, public_key });
    const rounds_done = task.job_round + 1;
    return this.#keep({ job_id, rounds_done, params, momentum });
  }
}
