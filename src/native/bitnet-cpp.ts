/**
 * bitnet.cpp, or llama.cpp itself, through the shim of cpp/bitnet_cpp (layouts and rules in its
 * shim.hpp). The shim is in builds that were made with BITNET_CPP_DIR; libllama stays where it was
 * then, or where the variable says now.
 */
import { dlopen, FFIType } from "bun:ffi";
import { availableParallelism } from "node:os";
import embeddedShim from "../../build/libmagnet_bitnet.so" with { type: "file" };
import { invariant, MagnetError } from "../core/errors.ts";
import { bitnetCppFolder } from "./bitnet-cpp-folder.ts";
import { type Address, addressSlot, bind, bindAsync, NULL, takeAddress } from "./ffi.ts";
import { loadable } from "./loader.ts";

const HOW =
  "build magnet with it: BITNET_CPP_DIR=FOLDER npm run build, FOLDER holding llama.h, ggml.h and libllama.so of bitnet.cpp or llama.cpp";

function bindShim(file: string) {
  return {
    ...bind(
      { mgb_init: ["buffer", "u64"], mgb_free: ["buffer"], mgb_info: ["handle", "buffer"] },
      file,
    ),
    async: bindAsync(
      {
        mgb_open: ["buffer", "u64", "buffer", "buffer"],
        mgb_step: [
          ...(["handle", "buffer", "u64", "buffer", "buffer", "u64"] as const),
          ...(["buffer", "buffer", "cancel"] as const),
        ],
      },
      file,
    ),
  };
}
type Shim = ReturnType<typeof bindShim>;

/** libllama of the folder that is named now; the shim then finds it in the process. */
function preload(folder: string): string {
  const { library, ggml, kernels } = bitnetCppFolder(folder);
  for (const file of [library, ...ggml])
    try {
      const name = file === library ? "llama_backend_free" : "ggml_time_us";
      dlopen(file, { [name]: { args: [], returns: FFIType.void } });
    } catch (error) {
      // libggml.so alone has no such function in some versions; libllama must be whole.
      if (file === library) throw notLoaded(error);
    }
  return kernels;
}

const notLoaded = (error: unknown) =>
  new MagnetError(
    "BITNET_CPP_NOT_LOADED",
    `libllama does not load: ${error instanceof Error ? error.message : String(error)}`,
    { hint: "BITNET_CPP_DIR names the folder that holds it", exit: "hardware", cause: error },
  );

async function openShim(): Promise<Shim> {
  const bytes = new Uint8Array(await Bun.file(embeddedShim).arrayBuffer());
  if (bytes.length === 0)
    throw new MagnetError("BITNET_CPP_ABSENT", "this build of magnet has no bitnet.cpp", {
      hint: HOW,
      exit: "hardware",
    });
  const folder = process.env.BITNET_CPP_DIR;
  const kernels = folder ? preload(folder) : "";
  const hint = `its libllama was moved? set BITNET_CPP_DIR to where it is now, or ${HOW}`;
  const shim = bindShim(loadable(bytes, "mgb_free", hint));
  const path = new TextEncoder().encode(kernels);
  shim.mgb_init(path, path.length);
  return shim;
}

let opened: Promise<Shim> | undefined;
/** Once a process; a failure is tried again. */
function theShim(): Promise<Shim> {
  opened ??= openShim().catch((error: unknown) => {
    opened = undefined;
    throw error;
  });
  return opened;
}

export interface BitnetCppOptions {
  /** Positions of all sequences together. */
  cells: number;
  /** Sequences are numbered from 0 to here. */
  sequences: number;
  /** 0 = all online CPUs. */
  threads: number;
  /** Most rows of a step. */
  batch_rows: number;
  /** As the library thinks best; else off. */
  flash_attention: boolean;
}

/** Arrays of a step, as mgb_step takes them. */
export interface BitnetCppStep {
  rows: Int32Array;
  n_rows: number;
  /** Number of the sequence that a row's index stands for. */
  slots: Int32Array;
  /** Pairs: sequence, first position that is forgotten before the step. */
  forgets: Int32Array;
  /** Filled in: addresses of logits by drawn token, valid until the next step. */
  logits: BigUint64Array;
  /** Filled in: (rows with hidden states, width). */
  hidden: Float32Array;
}

export class BitnetCpp {
  readonly context: number;
  readonly vocab_size: number;
  readonly width: number;
  readonly #shim: Shim;
  #handle: Address;

  private constructor(shim: Shim, handle: Address) {
    const info = new Uint32Array(3);
    shim.mgb_info(handle, info);
    [this.context, this.vocab_size, this.width] = info as unknown as [number, number, number];
    this.#shim = shim;
    this.#handle = handle;
  }

  /** Opens a GGUF file. Throws BITNET_CPP_ABSENT, and BAD_FORMAT with what llama.cpp says. */
  static async open(file: string, options: BitnetCppOptions): Promise<BitnetCpp> {
    const shim = await theShim();
    const { cells, sequences, batch_rows, flash_attention } = options;
    const threads = options.threads > 0 ? options.threads : availableParallelism();
    const flash = flash_attention ? 1 : 0;
    const packed = Uint32Array.of(cells, sequences, threads, batch_rows, flash, 0);
    const path = new TextEncoder().encode(file);
    const slot = addressSlot();
    await shim.async.mgb_open(undefined, path, path.length, packed, slot);
    return new BitnetCpp(shim, takeAddress(slot));
  }

  async step(step: BitnetCppStep, signal: AbortSignal): Promise<void> {
    invariant(this.#handle !== NULL, "a step after the close");
    const { rows, n_rows, slots, forgets, logits, hidden } = step;
    const n_forgets = forgets.length / 2;
    const call = this.#shim.async.mgb_step;
    await call(signal, this.#handle, rows, n_rows, slots, forgets, n_forgets, logits, hidden);
  }

  /** Not within a step. A second close is a no-op. */
  close(): void {
    this.#shim.mgb_free(this.#handle);
    this.#handle = NULL;
  }
}
