/**
 * The same random transactions to the embedded chain and to anvil, block by block, and everything
 * that both say compared: block fields with state, transaction and receipt roots, receipts, logs,
 * balances, refusals, estimates. Prints its seed when it finds a difference.
 */
import { gunzipSync } from "node:zlib";
import { privateKeyToAccount } from "viem/accounts";
import { EmbeddedChain } from "../../../src/chain/embedded/chain.ts";
import { parseAlloc } from "../../../src/chain/embedded/genesis.ts";
import { fromHex, type Hex, quantity, toHex } from "../../../src/chain/embedded/hex.ts";
import { CHAIN_LIMITS } from "../../../src/chain/embedded/limits.ts";
import { callMethod, type Methods, rpcMethods } from "../../../src/chain/embedded/rpc.ts";
import { RpcError } from "../../../src/chain/embedded/rpc-error.ts";
import { nextBaseFee } from "../../../src/chain/embedded/rules.ts";
import { genesisBlock } from "../../../src/chain/embedded/seed-state.ts";
import { intrinsicGas } from "../../../src/chain/embedded/simulate.ts";
import { ChainState } from "../../../src/chain/embedded/state.ts";
import { ChainStore } from "../../../src/chain/embedded/store.ts";
import { type Random, seededRandom } from "../../../src/core/random.ts";
import { KEYS, richAlloc } from "../chain-clients.ts";
import { type Anvil, startAnvil } from "./anvil-process.ts";
import { type Draft, randomDraft, type World } from "./random-transactions.ts";

const ACCOUNTS = KEYS.map((key) => privateKeyToAccount(key));
const FIRST_FEE = 1_000_000_000n;
/** What anvil puts into its genesis beside the accounts: a factory for CREATE2. */
const FACTORY = "0x4e59b44847b379578588920ca78fbf26c0b4956c";

/** Math.max does not take bigints. */
function larger(a: bigint, b: bigint): bigint {
  if (a < b) return b;
  return a;
}

type Rpc = (method: string, params: unknown[]) => Promise<unknown>;
class Refusal extends Error {}

function anvilRpc({ url }: Anvil): Rpc {
  let id = 0;
  return async (method, params) => {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: ++id, method, params }),
    });
    const { result, error } = (await response.json()) as {
      result: unknown;
      error?: { message: string };
    };
    if (error) throw new Refusal(error.message);
    return result;
  };
}

const ownRpc =
  (methods: Methods): Rpc =>
  async (method, params) => {
    try {
      return await callMethod(methods, method, params);
    } catch (error) {
      if (error instanceof RpcError) throw new Refusal(error.message);
      throw error;
    }
  };

export interface Comparison {
  transactions: number;
  blocks: number;
  failed: number;
  refused: number;
  logs: number;
  gas_used: bigint;
  kinds: Record<string, number>;
}

/** Throws on the first difference, naming seed, block and field. */
export async function compareWithAnvil(options: {
  seed: number;
  transactions: number;
  onBlock?: (done: number) => void;
}): Promise<Comparison> {
  const gas_limit = CHAIN_LIMITS.block_gas;
  const first = { base_fee: FIRST_FEE, gas_used: 0n, gas_limit };
  const anvil = await startAnvil({
    base_fee: nextBaseFee({ fees: "eip1559" }, first),
    gas_limit,
    extra: ["--no-mining"],
  });
  try {
    const theirs = anvilRpc(anvil);
    const factory = (await theirs("eth_getCode", [FACTORY, "latest"])) as Hex;
    const chain = await EmbeddedChain.open({
      alloc: {
        ...richAlloc(),
        ...parseAlloc({ [FACTORY]: { balance: "0", code: factory } }),
      },
      ...{ fees: "eip1559", base_fee: FIRST_FEE, allow_time_travel: true, gas_limit },
    });
    try {
      chain.automine = false;
      const run = new Run(chain, ownRpc(rpcMethods(chain)), theirs, options.seed);
      return await run.all(options.transactions, options.onBlock);
    } finally {
      await chain.close();
    }
  } finally {
    await anvil.stop();
  }
}

/** Fields of a block that must be the same; hashes differ with anvil's random mixHash. */
const BLOCK_FIELDS = [
  ...["number", "gasUsed", "gasLimit", "timestamp", "baseFeePerGas", "logsBloom"],
  ...[
    "transactionsRoot",
    "receiptsRoot",
    "miner",
    "difficulty",
    "sha3Uncles",
    "nonce",
    "extraData",
  ],
  ...["transactions", "withdrawalsRoot", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot"],
];
/** Of a receipt and its logs; and of a transaction. */
const UNEQUAL = new Set(["reward", "blockHash", "blockTimestamp", "blobGasPrice"]);

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => !UNEQUAL.has(name))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, held]) => [name, sorted(held)]),
  );
}

class Run {
  readonly #chain: EmbeddedChain;
  readonly #ours: Rpc;
  readonly #theirs: Rpc;
  readonly #seed: number;
  readonly #random: Random;
  readonly #world: World;
  readonly #nonces = new Map<Hex, number>();
  readonly #sum: Comparison = {
    ...{ transactions: 0, blocks: 0, failed: 0, refused: 0, logs: 0, gas_used: 0n, kinds: {} },
  };

  constructor(chain: EmbeddedChain, ours: Rpc, theirs: Rpc, seed: number) {
    this.#chain = chain;
    this.#ours = ours;
    this.#theirs = theirs;
    this.#seed = seed;
    this.#random = seededRandom(seed);
    const own = ACCOUNTS.map(({ address }) => address.toLowerCase() as Hex);
    this.#world = { contracts: [], tokens: [], addresses: [...own, FACTORY] };
  }

  #differ(what: string, ours: unknown, theirs: unknown): never {
    const show = (value: unknown) => JSON.stringify(value)?.slice(0, 3000);
    throw new Error(
      `seed ${this.#seed}, block ${this.#sum.blocks}: ${what}\n  ours   ${show(ours)}\n  anvil  ${show(theirs)}`,
    );
  }

  /** The answer of both, or that both refuse. */
  async #both(method: string, params: unknown[]): Promise<unknown> {
    const outcome = async (rpc: Rpc) => {
      try {
        return { result: await rpc(method, params) };
      } catch (error) {
        if (error instanceof Refusal) return { refused: error.message };
        throw error;
      }
    };
    const [a, b] = await Promise.all([outcome(this.#ours), outcome(this.#theirs)]);
    if ("refused" in a || "refused" in b) {
      if (!("refused" in a && "refused" in b)) this.#differ(`${method} refused by one`, a, b);
      return undefined;
    }
    if (!same(a.result, b.result)) this.#differ(`${method} ${JSON.stringify(params)}`, a, b);
    return a.result;
  }

  async #sign(draft: Draft, first: boolean): Promise<{ raw: Hex; from: Hex }> {
    const random = this.#random;
    const account = ACCOUNTS[random.below(ACCOUNTS.length)]!;
    const from = account.address.toLowerCase() as Hex;
    const { to, data, value, access_list } = draft;
    // anvil takes what cannot pay its intrinsic gas and drops it in silence: refused here.
    const needed = intrinsicGas({
      ...{ to, data: fromHex(data ?? "0x") },
      access_list: (access_list ?? []).map(({ address, storageKeys }) => ({
        ...{ address, slots: storageKeys },
      })),
    });
    const gas = larger(draft.gas, needed);
    const known = this.#nonces.get(from) ?? 0;
    // Spent nonces only where none of the sender's waits: the rules of replacement are each node's own.
    const stale = first && known > 0 && random.below(20) === 0;
    const nonce = stale ? known - 1 : known;
    const { base_fee } = this.#chain.nextSetting();
    const room = base_fee + BigInt(random.below(3_000_000_000)) + 300_000_000n;
    const common = {
      ...{ chainId: this.#chain.chain_id, nonce, value, gas },
      ...(to === undefined ? {} : { to }),
      ...(data === undefined ? {} : { data }),
    };
    const type = random.below(3);
    const raw =
      type === 0 && access_list === undefined
        ? await account.signTransaction({ ...common, type: "legacy", gasPrice: room })
        : type === 1
          ? await account.signTransaction({
              ...{ ...common, type: "eip2930", gasPrice: room, accessList: access_list ?? [] },
            })
          : await account.signTransaction({
              ...{ ...common, type: "eip1559", accessList: access_list ?? [], maxFeePerGas: room },
              maxPriorityFeePerGas: BigInt(
                random.below(Number(room < 2_000_000_000n ? room : 2_000_000_000n)),
              ),
            });
    return { raw, from };
  }

  async all(transactions: number, onBlock?: (done: number) => void): Promise<Comparison> {
    while (this.#sum.transactions < transactions) {
      await this.#block();
      if (this.#sum.blocks % 20 === 0) await this.#compareState();
      onBlock?.(this.#sum.transactions);
    }
    await this.#compareState();
    await this.#both("eth_feeHistory", [20, "latest", []]);
    return this.#sum;
  }

  async #block(): Promise<void> {
    const random = this.#random;
    const sent: { hash: Hex; kind: string }[] = [];
    for (let i = random.below(5); i >= 0; i--) {
      const draft = randomDraft(random, this.#world);
      const { raw, from } = await this.#sign(draft, sent.length === 0);
      const hash = (await this.#both("eth_sendRawTransaction", [raw])) as Hex | undefined;
      this.#sum.kinds[draft.kind] = (this.#sum.kinds[draft.kind] ?? 0) + 1;
      if (draft.to !== undefined && !this.#world.addresses.includes(draft.to))
        this.#world.addresses.push(draft.to);
      if (hash === undefined) {
        this.#sum.refused++;
        continue;
      }
      sent.push({ hash, kind: draft.kind });
      this.#nonces.set(from, (this.#nonces.get(from) ?? 0) + 1);
    }
    const time = this.#chain.head.header.timestamp + BigInt(1 + random.below(30));
    for (const rpc of [this.#ours, this.#theirs]) {
      await rpc("evm_setNextBlockTimestamp", [Number(time)]);
      await rpc("evm_mine", []);
    }
    this.#sum.blocks++;
    await this.#compareBlock();
    for (const one of sent) await this.#compareTransaction(one);
    this.#sum.transactions += sent.length;
  }

  async #compareBlock(): Promise<void> {
    const of = async (rpc: Rpc) =>
      (await rpc("eth_getBlockByNumber", ["latest", false])) as Record<string, unknown>;
    const [ours, theirs] = [await of(this.#ours), await of(this.#theirs)];
    for (const field of BLOCK_FIELDS)
      if (!same(ours[field], theirs[field]))
        this.#differ(`block field ${field}`, ours[field], theirs[field]);
    // anvil leaves the empty list of withdrawals out of its block: one byte.
    if (Number(ours.size) !== Number(theirs.size) + 1)
      this.#differ("block field size", ours.size, theirs.size);
    this.#sum.gas_used += BigInt(ours.gasUsed as string);
    const range = { fromBlock: ours.number, toBlock: ours.number };
    await this.#both("eth_getLogs", [range]);
    const { to, data, value } = randomDraft(this.#random, this.#world);
    const from = ACCOUNTS[0]!.address;
    const call = { from, value: quantity(value), gas: "0x1e8480", ...{ to, data } };
    await this.#both("eth_call", [call, "latest"]);
  }

  /**
   * The whole state: the root of ours against the root computed from anvil's dump. Its own root
   * cannot be used: it counts accounts that were only looked at, which EIP-161 does not.
   */
  async #compareState(): Promise<void> {
    const dump = (await this.#theirs("anvil_dumpState", [])) as Hex;
    const { accounts } = JSON.parse(
      new TextDecoder().decode(gunzipSync(fromHex(dump) as Uint8Array<ArrayBuffer>)),
    ) as { accounts: Record<Hex, { nonce: number; balance: Hex; code: Hex; storage: object }> };
    const there = Object.entries(accounts).filter(
      ([, { nonce, balance, code }]) => nonce !== 0 || BigInt(balance) !== 0n || code !== "0x",
    );
    const alloc = parseAlloc(
      Object.fromEntries(there.map(([a, held]) => [a, { ...held, nonce: String(held.nonce) }])),
    );
    const empty = new ChainStore(undefined);
    const { header } = await genesisBlock({ ...this.#chain.genesis, alloc }, new ChainState(empty));
    empty.close();
    const [ours, theirs] = [this.#chain.head.header.state_root, header.state_root].map(toHex);
    if (ours === theirs) return;
    for (const address of Object.keys(alloc))
      for (const method of ["eth_getBalance", "eth_getTransactionCount", "eth_getCode"])
        await this.#both(method, [address, "latest"]);
    for (const [address, { storage = {} }] of Object.entries(alloc))
      for (const slot of Object.keys(storage))
        await this.#both("eth_getStorageAt", [address, slot, "latest"]);
    this.#differ("state root", ours, theirs);
  }

  async #compareTransaction({ hash, kind }: { hash: Hex; kind: string }): Promise<void> {
    await this.#both("eth_getTransactionByHash", [hash]);
    const receipt = (await this.#both("eth_getTransactionReceipt", [hash])) as {
      status: string;
      logs: { address: Hex }[];
      contractAddress: Hex | null;
    };
    if (receipt.status === "0x0") this.#sum.failed++;
    this.#sum.logs += receipt.logs.length;
    const created = receipt.contractAddress;
    if (created === null || receipt.status === "0x0") return;
    this.#world.addresses.push(created);
    if (kind === "create Fuzz") this.#world.contracts.push(created);
    if (kind === "create MagToken") this.#world.tokens.push(created);
  }
}
