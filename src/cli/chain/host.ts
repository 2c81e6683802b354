/** `magnet chain host`: the embedded chain behind its JSON-RPC, until a signal. */
import path from "node:path";
import { type ChainOptions, DEFAULT_CHAIN_ID, EmbeddedChain } from "../../chain/embedded/chain.ts";
import { type Alloc, FEE_RULES, type FeeRule, parseAlloc } from "../../chain/embedded/genesis.ts";
import { toHex } from "../../chain/embedded/hex.ts";
import { type RunningChain, serveChain } from "../../chain/embedded/server.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import { readSmallText } from "../../core/read-file.ts";
import { loadApiKeys } from "../../http/serve/api-keys.ts";
import { checkOrigins } from "../../http/serve/origin-check.ts";
import { type Context, defineCommand, type FlagValues } from "../frame/command.ts";
import { usageError } from "../frame/strict.ts";
import { stdinClosed, writeReadyFile } from "../ready-file.ts";
import { chainFolder } from "./folder.ts";

const FLAGS = {
  listen: {
    type: "string",
    value: "HOST:PORT",
    default: "127.0.0.1:8545",
    summary: "port 0 takes any free one",
  },
  "chain-id": {
    type: "integer",
    min: 1,
    max: 2 ** 52,
    summary: `of a new chain (${DEFAULT_CHAIN_ID})`,
  },
  alloc: {
    type: "list",
    value: "FILE|ADDR=AMOUNT",
    summary: "who owns what at the start, in base units of the coin",
  },
  fees: {
    type: "choice",
    options: FEE_RULES,
    summary: "of a new chain: gas for nothing, or a base fee by demand (free)",
  },
  "block-time": {
    type: "integer",
    min: 0,
    max: 3600,
    default: 0,
    summary: "seconds between blocks; 0: at once for each transaction",
  },
  "allow-time-travel": { type: "boolean", summary: "evm_increaseTime and the like; for tests" },
  "api-key-file": {
    type: "string",
    value: "FILE",
    summary: "tokens, one a line (or MAGNET_API_KEYS)",
  },
  "cors-origin": {
    type: "list",
    value: "ORIGIN",
    summary: "of pages that may use the chain; *: any",
  },
  attached: {
    type: "boolean",
    summary: "stop when stdin closes: with the program that started it",
  },
  "ready-file": { type: "string", value: "PATH", summary: "written once the chain answers" },
} as const;
/** Some 100,000 accounts. */
const ALLOC_BYTES_MAX = 16 << 20;
type HostFlags = FlagValues<typeof FLAGS>;

function parseListen(text: string): { host: string; port: number } {
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  if (!match || port > 65_535)
    throw usageError("BAD_VALUE", `--listen cannot be "${text}"`, "such as 127.0.0.1:8545");
  return { host: match[1]!.replace(/^\[|\]$/g, ""), port };
}

function allocFile(file: string): Alloc {
  const text = readSmallText(file, ALLOC_BYTES_MAX);
  try {
    return parseAlloc(JSON.parse(text));
  } catch (error) {
    if (error instanceof MagnetError) throw error;
    throw new MagnetError("BAD_GENESIS", `${file}: ${(error as Error).message}`, {
      hint: 'a JSON file such as {"0x...": {"balance": "1000000000000000000"}}',
      exit: "config",
    });
  }
}

/** All entries of the flag together. Throws BAD_GENESIS where an address is given twice. */
export function allocOf(entries: readonly string[]): Alloc | undefined {
  if (entries.length === 0) return undefined;
  const alloc: Alloc = {};
  for (const entry of entries) {
    const pair = /^(0x[0-9a-fA-F]{40})=(.*)$/.exec(entry);
    const part = pair ? parseAlloc({ [pair[1]!]: pair[2] }) : allocFile(entry);
    for (const [address, account] of Object.entries(part) as [keyof Alloc, Alloc[keyof Alloc]][]) {
      if (alloc[address] !== undefined)
        throw new MagnetError("BAD_GENESIS", `${address} is given twice`, {
          hint: "name each address once, in one file or flag",
          exit: "config",
        });
      alloc[address] = account;
    }
  }
  return alloc;
}

function chainOptions(folder: string, flags: HostFlags): ChainOptions {
  return {
    folder,
    ...{ chain_id: flags.chain_id, alloc: allocOf(flags.alloc) },
    ...{ fees: flags.fees as FeeRule | undefined, block_time_s: flags.block_time },
    allow_time_travel: flags.allow_time_travel,
  };
}

/** An occupied port is named, since the default one often is. */
function listening(chain: EmbeddedChain, flags: HostFlags, tokens: string[]): RunningChain {
  const { host, port } = parseListen(flags.listen);
  try {
    return serveChain(chain, { host, port, tokens, origins: flags.cors_origin });
  } catch (error) {
    const failure = toMagnetError(error);
    if (failure.code !== "PORT_IN_USE") throw failure;
    throw new MagnetError("PORT_IN_USE", `another program listens on ${host}:${port}`, {
      hint: "choose another address with --listen; port 0 takes any free one",
      cause: error,
    });
  }
}

const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });

function announce({ out }: Context, chain: EmbeddedChain, url: string, folder: string): void {
  const { header, hash } = chain.head;
  const data = {
    ...{ url, chain_id: chain.chain_id, folder, fees: chain.genesis.fees },
    ...{ block: Number(header.number), block_hash: toHex(hash) },
    ...{ block_time_s: chain.block_time_s, time_travel: chain.allow_time_travel },
  };
  out.record("chain_host", data, () =>
    [
      `chain ${chain.chain_id} at ${url}`,
      `block ${header.number} ${toHex(hash)}`,
      `kept in ${folder}`,
      `gas ${chain.genesis.fees === "free" ? "costs nothing" : "by demand (EIP-1559)"}`,
      "This process alone decides what is in a block: for development and private clusters.",
    ].join("\n"),
  );
}

export const host = defineCommand({
  summary: "Runs the embedded chain: an EVM behind JSON-RPC, in one process",
  details:
    "For development and private clusters: this process is the authority that makes the blocks. What it has\nanswered survives kill -9 and power failure; `magnet chain verify` re-executes it. An address that other\nmachines reach needs tokens. The data folder holds the chain in its part `chain`.",
  examples: [
    {
      command: "magnet chain host --alloc 0x70997970C51812dc3A010C7d01b50e0d17dc79C8=1000000",
      does: "a chain on http://127.0.0.1:8545",
    },
    {
      command: "magnet chain host --listen 0.0.0.0:8545 --api-key-file tokens.txt --block-time 2",
      does: "for a cluster, a block every two seconds",
    },
  ],
  args: {},
  flags: FLAGS,
  graceful: true,
  async run(context, { flags }) {
    parseListen(flags.listen);
    checkOrigins(flags.cors_origin);
    const folder = await chainFolder(context);
    const tokens = await loadApiKeys({
      file: flags.api_key_file,
      environment: process.env.MAGNET_API_KEYS,
    });
    const chain = await EmbeddedChain.open(chainOptions(folder, flags));
    try {
      const server = listening(chain, flags, tokens);
      const { url } = server;
      if (flags.ready_file !== undefined)
        writeReadyFile(flags.ready_file, { url, chain_id: chain.chain_id });
      announce(context, chain, url, path.resolve(folder));
      const { signal } = context;
      await aborted(flags.attached ? AbortSignal.any([signal, stdinClosed()]) : signal);
      await server.stop();
    } finally {
      await chain.close();
    }
    context.out.note("stopped");
    return undefined;
  },
});
