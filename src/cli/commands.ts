/**
 * The command tree: names, one-line summaries and where each command lives. Modules are imported only
 * when their command runs, so that `magnet version` loads nothing else.
 */
import type { Group } from "./frame/command.ts";

export const COMMANDS: Group = {
  kind: "group",
  summary: "magnet: ordinary machines grow expert language models together",
  commands: {
    chat: {
      summary: "talk with a model",
      load: async () => (await import("./chat.ts")).chat,
    },
    completion: {
      summary: "completion script for bash, zsh or fish",
      load: async () => (await import("./completion.ts")).completion,
    },
    config: {
      summary: "settings: show, get, set, path, check",
      load: async () => (await import("./config.ts")).config,
    },
    data: {
      summary: "turn text into token files: prepare, inspect",
      load: async () => (await import("./data.ts")).data,
    },
    demo: {
      summary: "the whole main job on this machine, on real text",
      load: async () => (await import("./demo.ts")).demo,
    },
    doctor: {
      summary: "checks this machine and says what to fix",
      load: async () => (await import("./doctor.ts")).doctor,
    },
    eval: {
      summary: "loss, perplexity and bits per byte of a model",
      load: async () => (await import("./eval.ts")).evalGroup,
    },
    job: {
      summary: "training jobs of the network: submit",
      load: async () => (await import("./job.ts")).job,
    },
    join: {
      summary: "make this machine a node and keep it running",
      load: async () => (await import("./join.ts")).join,
    },
    export: {
      summary: "write a model for other programs: gguf, hf",
      load: async () => (await import("./export.ts")).exportGroup,
    },
    keys: {
      summary: "this node's wallet key: create, show, export, import, sign, verify",
      load: async () => (await import("./keys.ts")).keys,
    },
    network: {
      summary: "network files: create, show",
      load: async () => (await import("./network.ts")).network,
    },
    node: {
      summary: "the running node: status, stop",
      load: async () => (await import("./node.ts")).node,
    },
    peers: {
      summary: "peers of the running node: list",
      load: async () => (await import("./node.ts")).peers,
    },
    rounds: {
      summary: "rounds of training and merging: list",
      load: async () => (await import("./node.ts")).rounds,
    },
    sim: {
      summary: "simulate a network under faults",
      load: async () => (await import("./sim.ts")).sim,
    },
    storage: {
      summary: "the network's store: status",
      load: async () => (await import("./node.ts")).storage,
    },
    tokenizer: {
      summary: "train and use tokenizers: train, encode, decode",
      load: async () => (await import("./tokenizer.ts")).tokenizer,
    },
    train: {
      summary: "train a model on this machine",
      load: async () => (await import("./train.ts")).train,
    },
    version: {
      summary: "version, platform and protocol",
      load: async () => (await import("./version.ts")).version,
    },
  },
};
