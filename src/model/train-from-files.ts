/**
 * `magnet train` from paths: opens or prepares the data (training-data.ts), settles the
 * configuration from preset, flags and, on resume, the checkpoint, and runs the training.
 */
import type { Clock } from "../core/clock.ts";
import { MagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import type { ChosenDevice } from "../native/device.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { resolveCheckpoint } from "./checkpoint-store.ts";
import {
  CONTEXT_MAX,
  type ModelConfig,
  PRESETS,
  parseModelConfig,
  type Quantization,
  resolveModelConfig,
} from "./config.ts";
import { tokenByteLengths } from "./evaluate.ts";
import { type InitSource, initModel, openInit } from "./init-weights.ts";
import { requireUnused, type TakenOut, takeOut } from "./run-folder.ts";
import { Tokenizer } from "./tokenizer.ts";
import { parseTrainingConfig, settingsOf, type TrainingSettings } from "./training-config.ts";
import { openTrainingData } from "./training-data.ts";
import { runTraining } from "./training-run.ts";
import type { TrainingEvent, TrainingResult } from "./training-types.ts";

export interface TrainFromFilesOptions {
  /** Preset or JSON file; `demo` unless given, or the checkpoint's on resume. */
  model?: string | undefined;
  /** Replaces the model's own: "none" trains its float32 twin. */
  quant?: Quantization | undefined;
  /**
   * One prepared folder, or text and JSONL files and folders, which are prepared into OUT/data; or
   * sources with weights (PATH=WEIGHT). May be left out on resume of a run that prepared its own.
   */
  data?: readonly string[] | undefined;
  /** A tokenizer.json; otherwise the data's, or one is trained on the text. */
  tokenizer?: string | undefined;
  /** Size of a tokenizer that is trained; the preset's vocabulary unless given. */
  vocab_size?: number | undefined;
  heldout_fraction?: number | undefined;
  /** The field of JSONL that holds the text; "text" unless given. */
  text_field?: string | undefined;
  out_dir: string;
  /** Start from these weights (see `openInit`), which give the model and the tokenizer too. */
  init?: string | undefined;
  /** A checkpoint or run folder to go on from. */
  resume?: string | undefined;
  /** Settings that were given explicitly; the rest comes from the checkpoint or the defaults. */
  settings: Partial<Omit<TrainingSettings, "model">>;
  clock: Clock;
  /** The CPU unless given. */
  device?: ChosenDevice;
  signal?: AbortSignal;
  onEvent?: (event: TrainingEvent) => void;
  onPrepare?: (progress: { done_bytes: number; total_bytes: number }) => void;
}

/** What the JSON line of `magnet train` holds besides the result. */
export interface TrainedFromFiles extends TrainingResult {
  out_dir: string;
  vocab_size: number;
  tokenizer_hash: Hash;
  params: number;
}

type Settings = Partial<TrainingSettings> & { model?: ModelConfig };

/**
 * Explicit settings before those of the checkpoint. Throws BAD_TRAINING_CONFIG for what needs no
 * data to be seen: preparing it may take hours.
 */
function settingsFor(options: TrainFromFilesOptions, checkpoint: Checkpoint | null): Settings {
  const saved: Settings = checkpoint ? settingsOf(checkpoint.manifest) : {};
  const given = Object.entries(options.settings).filter(([, value]) => value !== undefined);
  const settings: Settings = { ...saved, ...Object.fromEntries(given) };
  const refused = (message: string, hint: string) =>
    new MagnetError("BAD_TRAINING_CONFIG", message, { hint, exit: "usage" });
  if (settings.steps === undefined)
    throw refused("the number of steps is not given", "give --steps N");
  if (options.settings.momentum !== undefined && settings.optimizer === "adamw")
    throw refused("AdamW has no momentum to set", "give --beta1, or take --optimizer muon");
  // The model's vocabulary may follow from the data: one that every context fits stands in for it.
  const model = { ...PRESETS.tiny!, context: CONTEXT_MAX };
  parseTrainingConfig({ model, ...settings } as TrainingSettings);
  return settings;
}

/** The model of a run with the settings of its training. */
function configFor(
  options: TrainFromFilesOptions,
  saved: Settings,
  vocab_size: number,
  init: InitSource | null,
) {
  const quant = options.quant === undefined ? {} : { quant: options.quant };
  const named = options.model;
  const model = init
    ? initModel(init, { named, vocab_size, quant: options.quant })
    : saved.model && named === undefined
      ? parseModelConfig({ ...saved.model, ...quant })
      : resolveModelConfig(named ?? "demo", { vocab_size, ...quant });
  return parseTrainingConfig({ ...saved, model } as TrainingSettings);
}

/** Of a tokenizer that is to be trained: never for weights that were trained with one. */
function newVocabSize(options: TrainFromFilesOptions): number {
  if (options.init !== undefined)
    throw new MagnetError("NO_TOKENIZER", `no tokenizer.json lies beside ${options.init}`, {
      hint: "name the one that its weights were trained with: --tokenizer FILE",
      exit: "usage",
    });
  return options.vocab_size ?? resolveModelConfig(options.model ?? "demo").vocab_size;
}

/** A vocabulary that is asked for is the one that is had. */
function requireVocabSize({ vocab_size: wanted }: TrainFromFilesOptions, found: number): void {
  if (wanted === undefined || wanted === found) return;
  throw new MagnetError(
    "VOCABULARY_MISMATCH",
    `the tokenizer is there already, with ${found} tokens; --vocab-size says ${wanted}`,
    { hint: "leave --vocab-size out, or train on text without --tokenizer", exit: "usage" },
  );
}

/**
 * Trains from paths. Throws as `runTraining`, `openTrainingData` and `resolveCheckpoint`.
 */
export async function trainFromFiles(options: TrainFromFilesOptions): Promise<TrainedFromFiles> {
  const { out_dir, resume } = options;
  const checkpoint = resume === undefined ? null : await resolveCheckpoint(resume);
  if (!checkpoint) await requireUnused(out_dir);
  const init = options.init === undefined ? null : await openInit(options.init);
  if (init && checkpoint)
    throw new MagnetError("INIT_AND_RESUME", "a resumed run has its weights already", {
      hint: "leave --init out, or start a new run in another --out",
      exit: "usage",
    });
  const wanted =
    options.tokenizer === undefined
      ? ((await init?.tokenizer()) ?? null)
      : await Tokenizer.load(options.tokenizer);
  const settings = settingsFor(options, checkpoint);
  // Locked before text is prepared into it: a second run would replace the data of the first.
  const taken = await takeOut(out_dir, !checkpoint);
  try {
    return await trainInto(taken, options, { checkpoint, init, wanted, settings });
  } finally {
    await taken.release();
  }
}

async function trainInto(
  taken: TakenOut,
  options: TrainFromFilesOptions,
  start: {
    checkpoint: Checkpoint | null;
    init: InitSource | null;
    wanted: Tokenizer | null;
    settings: Settings;
  },
): Promise<TrainedFromFiles> {
  const { out_dir, clock, signal, onEvent } = options;
  const { checkpoint, init, wanted, settings } = start;
  const data = await openTrainingData({
    ...options,
    tokenizer: wanted,
    data: options.data ?? [],
    vocab_size: () => newVocabSize(options),
    checkpoint,
  });
  try {
    const tokenizer = Tokenizer.fromJson(data.tokenizer_json);
    for (const { hash } of wanted ? [tokenizer, wanted] : [tokenizer])
      for (const { train } of data.sources) train.expectTokenizer(hash);
    const { vocab_size, hash } = tokenizer;
    requireVocabSize(options, vocab_size);
    let params = 0;
    const result = await runTraining({
      config: configFor(options, settings, vocab_size, init),
      sources: data.sources,
      tokenizer: { json: data.tokenizer_json, hash, byte_lengths: tokenByteLengths(tokenizer) },
      out_dir,
      taken,
      init,
      resume: checkpoint,
      clock,
      ...(options.device === undefined ? {} : { device: options.device }),
      ...(signal === undefined ? {} : { signal }),
      onEvent(event) {
        if (event.type === "started") params = event.params;
        onEvent?.(event);
      },
    });
    return { ...result, out_dir, vocab_size, tokenizer_hash: hash, params };
  } finally {
    data.close();
  }
}
