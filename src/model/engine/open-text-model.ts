/**
 * Opens a model with the engine that runs it: magnet's own, or another library behind the same face.
 */
import { invariant } from "../../core/errors.ts";
import { CPU, type Device } from "../../native/device.ts";
import { type LoadedModel, type LoadOptions, loadModel } from "../load-model.ts";
import { openEngine } from "./open-engine.ts";
import type { Engine, EngineOptions } from "./types.ts";

export const ENGINES = ["magnet", "bitnet.cpp"] as const;
export type EngineName = (typeof ENGINES)[number];

/** A model that generates text; a TextEngine with what is known of the model. */
export interface TextModel extends Omit<LoadedModel, "model" | "close"> {
  engine: Engine;
  /** What computes. */
  device: Device;
  /** Closes the engine, and the model with it. */
  close(): Promise<void>;
}

export interface TextModelOptions extends LoadOptions, EngineOptions {
  engine?: EngineName;
}

/** Throws what loadModel does, and BITNET_CPP_ABSENT where this build has no such engine. */
export async function openTextModel(
  model: string,
  options: TextModelOptions = {},
): Promise<TextModel> {
  if (options.engine === "bitnet.cpp") {
    invariant((options.device ?? CPU).kind === "cpu", "bitnet.cpp runs on the CPU alone");
    // Not before it is asked for: it loads another library.
    const { openBitnetCpp } = await import("./bitnet-cpp.ts");
    return openBitnetCpp(model, options);
  }
  return ownTextModel(await loadModel(model, options), options);
}

/** A loaded model with an engine of magnet's own; both are closed together. */
export function ownTextModel(loaded: LoadedModel, options: EngineOptions = {}): TextModel {
  const { model, ...about } = loaded;
  let engine: Engine;
  try {
    ({ engine } = openEngine({ model, tokenizer: loaded.tokenizer }, options));
  } catch (error) {
    loaded.close();
    throw error;
  }
  return {
    ...about,
    engine,
    device: model.device,
    async close() {
      await engine.close();
      loaded.close();
    },
  };
}
