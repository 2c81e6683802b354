/**
 * The command tree: names, one-line summaries and where each command lives. Modules are imported
 * only when their command runs, so that `magnet version` loads nothing else.
 */
import { type Group, lazy } from "./frame/command.ts";

export const COMMANDS: Group = {
  kind: "group",
  meta: { description: "magnet: ordinary machines grow expert language models together" },
  subCommands: {
    align: lazy(
      "teach a model preferences from pairs (ORPO)",
      async () => (await import("./align.ts")).align,
    ),
    bench: lazy(
      "speed beside the machine's limits: train, kernel",
      async () => (await import("./bench.ts")).bench,
    ),
    chain: lazy(
      "the ledger and its chain: deploy, host, stake, disputes",
      async () => (await import("./chain.ts")).chain,
    ),
    chat: lazy("talk with a model", async () => (await import("./chat.ts")).chat),
    completion: lazy(
      "completion script for bash, zsh or fish",
      async () => (await import("./completion.ts")).completion,
    ),
    config: lazy(
      "settings: show, get, set, path, check",
      async () => (await import("./config.ts")).config,
    ),
    data: lazy(
      "turn text into token files or preference pairs: prepare, inspect, pairs",
      async () => (await import("./data.ts")).data,
    ),
    demo: lazy(
      "the whole main job on this machine, on real text",
      async () => (await import("./demo.ts")).demo,
    ),
    doctor: lazy(
      "checks this machine and says what to fix",
      async () => (await import("./doctor.ts")).doctor,
    ),
    eval: lazy(
      "loss and bits per byte of a model, or its win rate on pairs",
      async () => (await import("./eval.ts")).evalGroup,
    ),
    job: lazy("training jobs of the network: submit", async () => (await import("./job.ts")).job),
    join: lazy(
      "make this machine a node and keep it running",
      async () => (await import("./join.ts")).join,
    ),
    export: lazy(
      "write a model for other programs: gguf, hf",
      async () => (await import("./export.ts")).exportGroup,
    ),
    keys: lazy(
      "this node's wallet key: create, show, export, import, sign, verify",
      async () => (await import("./keys.ts")).keys,
    ),
    network: lazy(
      "network files: create, show",
      async () => (await import("./network.ts")).network,
    ),
    node: lazy("the running node: status, stop", async () => (await import("./node.ts")).node),
    peers: lazy("peers of the running node: list", async () => (await import("./node.ts")).peers),
    research: lazy(
      "research a task to its best model: run, report, knowledge, study",
      async () => (await import("./research.ts")).research,
    ),
    rounds: lazy(
      "rounds of training and merging: list",
      async () => (await import("./node.ts")).rounds,
    ),
    serve: lazy(
      "serve models over HTTP: OpenAI's and Ollama's endpoints",
      async () => (await import("./serve.ts")).serve,
    ),
    sim: lazy("simulate a network under faults", async () => (await import("./sim.ts")).sim),
    storage: lazy("the network's store: status", async () => (await import("./node.ts")).storage),
    tokenizer: lazy(
      "train and use tokenizers: train, encode, decode",
      async () => (await import("./tokenizer.ts")).tokenizer,
    ),
    train: lazy("train a model on this machine", async () => (await import("./train.ts")).train),
    version: lazy(
      "version, platform and protocol",
      async () => (await import("./version.ts")).version,
    ),
  },
};
