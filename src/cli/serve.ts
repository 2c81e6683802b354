/** `magnet serve`: models over HTTP until a signal. Parses, calls the server, prints. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { parseSize } from "../core/bytes.ts";
import type { Config } from "../core/config.ts";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { PaidApi } from "../http/paid/open-paid.ts";
import { loadApiKeys } from "../http/serve/api-keys.ts";
import { modelSource } from "../http/serve/loaded-model.ts";
import type { ModelSource } from "../http/serve/model-host.ts";
import type { ServedModel } from "../http/serve/served-model.ts";
import { type RunningServer, startServer } from "../http/serve/start-server.ts";
import { ENGINES } from "../model/engine/open-text-model.ts";
import type { EngineOptions } from "../model/engine/types.ts";
import { HEAD_FORMATS, ROUNDINGS } from "../model/inference.ts";
import { type ChosenDevice, onDevice } from "../native/device.ts";
import { DEVICE_FLAG, deviceOf } from "./device-flag.ts";
import { type Context, defineCommand, type FlagValues } from "./frame/command.ts";
import type { Output } from "./frame/output.ts";
import { usageError } from "./frame/strict.ts";
import { stdinClosed, writeReadyFile } from "./ready-file.ts";
import { serveBanner, serveDocument } from "./serve/banner.ts";
import { checkPaidFlags, openPaid, PAID_FLAGS } from "./serve/paid.ts";

const FLAGS = {
  host: { type: "string", value: "ADDRESS", summary: "where to listen (127.0.0.1)" },
  port: { type: "integer", min: 0, max: 65535, summary: "0 takes any free one (8080)" },
  "api-key-file": {
    type: "string",
    value: "FILE",
    summary: "keys, one a line (or MAGNET_API_KEYS)",
  },
  "cors-origin": {
    type: "list",
    value: "ORIGIN",
    summary: "of pages that may use the server; *: any",
  },
  name: { type: "list", value: "NAME", summary: "of the model in requests; one for each MODEL" },
  tokenizer: { type: "string", value: "FILE", summary: "a tokenizer.json (must be the model's)" },
  context: { type: "integer", min: 16, summary: "tokens of a conversation (the model's)" },
  "kv-memory": {
    type: "string",
    value: "SIZE",
    summary: "for keys and values of each model (4 contexts)",
  },
  parallel: {
    type: "integer",
    min: 1,
    max: 1024,
    default: 64,
    summary: "answers at once; others wait",
  },
  queue: { type: "integer", min: 0, max: 100_000, default: 256, summary: "requests that may wait" },
  rounding: { type: "choice", options: ROUNDINGS, default: "bitnet", summary: "of activations" },
  head: { type: "choice", options: HEAD_FORMATS, default: "file", summary: "its weights" },
  engine: { type: "choice", options: ENGINES, default: "magnet", summary: "what computes" },
  device: DEVICE_FLAG,
  threads: { type: "integer", min: 0, max: 64, default: 0, summary: "0 means all" },
  "requests-per-minute": {
    type: "integer",
    min: 0,
    default: 0,
    summary: "of one key or address; 0: any",
  },
  "requests-at-once": {
    type: "integer",
    min: 0,
    default: 0,
    summary: "of one key or address; 0: any",
  },
  grace: {
    type: "integer",
    min: 0,
    max: 86_400,
    default: 10,
    summary: "seconds for running answers at the end",
  },
  ...PAID_FLAGS,
  attached: {
    type: "boolean",
    summary: "stop when stdin closes: with the program that started it",
  },
  "ready-file": { type: "string", value: "PATH", summary: "written once the models answer" },
} as const;
type ServeFlags = FlagValues<typeof FLAGS>;

/** The path's last part as a name that requests can use. */
const nameOf = (model: string): string =>
  path
    .basename(path.resolve(model))
    .replace(/\.gguf$/i, "")
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, 128) || "model";

/** What the flags say to the engine of each model. */
function engineOptions({
  context,
  kv_memory,
  parallel,
  queue,
  rounding,
}: ServeFlags): EngineOptions {
  const kv_bytes = kv_memory === undefined ? undefined : parseSize(kv_memory);
  if (kv_memory !== undefined && !kv_bytes)
    throw usageError("BAD_VALUE", `--kv-memory cannot be "${kv_memory}"`, "a size such as 512MiB");
  return {
    ...{ sequences_max: parallel, waiting_max: queue, rounding },
    ...(context === undefined ? {} : { context }),
    ...(kv_bytes === undefined ? {} : { kv_bytes }),
  };
}

interface Loaded {
  model: ServedModel;
  on: ChosenDevice;
}

/** The models as the server loads them; `loaded` gets each one that is there, for the banner. */
function sourcesOf(
  paths: string[],
  flags: ServeFlags,
  { out, device, loaded }: { out: Output; device: ChosenDevice; loaded: Loaded[] },
): ModelSource[] {
  const { name: names, engine, threads, head, tokenizer } = flags;
  if (names.length > paths.length)
    throw usageError(
      "BAD_VALUE",
      `${names.length} names for ${paths.length} models`,
      "give one --name for each MODEL, in their order",
    );
  const options = engineOptions(flags);
  return paths.map((place, i) => {
    if (!fs.existsSync(place))
      // before a port is opened for it
      throw new MagnetError("NOT_FOUND", `${place}: no such file or folder`, {
        hint: "MODEL is a .gguf file, a run folder, a checkpoint or a Hugging Face folder",
      });
    const id = names[i] ?? nameOf(place);
    const say = (line: string) => out.note(`${id}: ${line}`);
    const source = (on: ChosenDevice) =>
      modelSource(place, {
        ...{ engine, device: on.device, threads, head, ...options, version: packageJson.version },
        ...(tokenizer === undefined ? {} : { tokenizer_path: tokenizer }),
        id,
      });
    return {
      id,
      load: () =>
        onDevice(device, say, async (on) => {
          const model = await source(on).load();
          loaded.push({ model, on });
          return model;
        }),
    };
  });
}

/** An occupied port is named, since the default one often is. */
function asListenError(error: unknown, host: string, port: number): MagnetError {
  const failure = toMagnetError(error);
  if (failure.code !== "PORT_IN_USE") return failure;
  return new MagnetError("PORT_IN_USE", `another program listens on ${host}:${port}`, {
    hint: "choose another port with --port; --port 0 takes any free one",
    cause: error,
  });
}

async function open(
  config: Config,
  sources: ModelSource[],
  flags: ServeFlags,
): Promise<{ server: RunningServer; keys: number; paid: PaidApi | undefined }> {
  const { host, port, cors_origins, api_key_file } = config.values.serve;
  const api_keys = await loadApiKeys({
    file: api_key_file === "" ? undefined : api_key_file,
    environment: process.env.MAGNET_API_KEYS,
  });
  const paid = flags.paid ? await openPaid(config, flags) : undefined;
  try {
    const server = await startServer({
      ...{ models: sources, host, port, api_keys, cors_origins },
      ...(paid === undefined ? {} : { paid: paid.door }),
      limits: {
        requests_per_minute: flags.requests_per_minute,
        requests_per_client: flags.requests_at_once,
        grace_ms: flags.grace * 1000,
      },
      version: packageJson.version,
    });
    return { server, keys: api_keys.length, paid };
  } catch (error) {
    await paid?.close();
    throw asListenError(error, host, port);
  }
}

/** Fulfilled by the signal, `true` where it came. */
const aborted = (signal: AbortSignal) =>
  new Promise<true>((resolve) => {
    if (signal.aborted) resolve(true);
    else signal.addEventListener("abort", () => resolve(true), { once: true });
  });

/** Waits for the models, announces them, and serves until the signal. */
async function serveUntil(
  { out }: Context,
  server: RunningServer,
  { signal, announce }: { signal: AbortSignal; announce: () => void },
): Promise<void> {
  const stopped = aborted(signal);
  try {
    if ((await Promise.race([server.ready, stopped])) !== true) announce();
    await stopped;
    const { in_flight } = server.app;
    if (in_flight > 0) out.note(`${in_flight} requests are running: they may end`);
  } finally {
    await server.close();
  }
  out.note("stopped");
}

export const serve = defineCommand({
  summary: "Serves models over HTTP, for OpenAI's and Ollama's clients",
  details:
    "MODEL is a checkpoint, a run folder, a Hugging Face folder or a .gguf file; several are told apart by\ntheir names. An address that other machines reach needs API keys. SIGTERM and SIGINT let running answers\nend and then stop with exit code 0; a second signal stops at once with 130.",
  examples: [
    { command: "magnet serve model.gguf", does: "on http://127.0.0.1:8080" },
    {
      command: "magnet serve model.gguf --host 0.0.0.0 --api-key-file keys.txt",
      does: "for other machines, with keys",
    },
    {
      command: "magnet serve small.gguf large.gguf --port 11434",
      does: "two models, Ollama's port",
    },
    {
      command: "magnet serve model.gguf --host 0.0.0.0 --paid --price 0.002 --network net.json",
      does: "sells answers for MAG",
    },
  ],
  args: { models: { value: "MODEL", summary: "what to serve", many: true } },
  flags: FLAGS,
  graceful: true,
  async run(context, { args, flags }) {
    const { out } = context;
    const origins = flags.cors_origin.length > 0 ? flags.cors_origin : undefined;
    const config = await context.config({
      "serve.host": flags.host,
      "serve.port": flags.port,
      "serve.api_key_file": flags.api_key_file,
      "serve.cors_origins": origins,
      "chain.rpc": flags.rpc,
      "network.file": flags.network,
    });
    checkPaidFlags(flags);
    const loaded: Loaded[] = [];
    const wanted = deviceOf(out, flags);
    const sources = sourcesOf(args.models, flags, { out, device: wanted, loaded });
    const { server, keys, paid } = await open(config, sources, flags);
    const { url } = server;
    const announce = () => {
      const threads = flags.threads === 0 ? os.availableParallelism() : flags.threads;
      const { engine } = flags;
      const models = loaded.map(({ model }) => model);
      // A GPU where it has one of them.
      const device = (loaded.find(({ on }) => on.gpu) ?? loaded[0])?.on ?? wanted;
      const facts = { url, models, keys, device, threads, engine, paid: paid?.offer };
      const names = models.map(({ id }) => id);
      if (flags.ready_file !== undefined) writeReadyFile(flags.ready_file, { url, models: names });
      out.record("serve", serveDocument(facts), () => serveBanner(facts));
    };
    const { signal } = context;
    const until = flags.attached ? AbortSignal.any([signal, stdinClosed()]) : signal;
    try {
      await serveUntil(context, server, { signal: until, announce });
    } finally {
      await paid?.close();
    }
    return undefined;
  },
});
