/**
 * What a chain starts from: its id, its rules about fees, and who owns what in block 0. The genesis
 * is stored in one canonical form; a folder opened with another one is refused.
 */
import { MagnetError } from "../../core/errors.ts";
import type { Hex } from "./hex.ts";
import { CHAIN_LIMITS } from "./limits.ts";

export interface GenesisAccount {
  balance: bigint;
  nonce?: bigint;
  code?: Hex;
  /** Slot to value, 32 bytes each. */
  storage?: Record<Hex, Hex>;
}
/** By address in lower case. */
export type Alloc = Record<Hex, GenesisAccount>;

/**
 * `free`: the base fee is 0 in every block, so that members of a private cluster need no coins to
 * act. `eip1559`: it follows the demand, as on a public chain.
 */
export const FEE_RULES = ["free", "eip1559"] as const;
export type FeeRule = (typeof FEE_RULES)[number];

export interface Genesis {
  chain_id: number;
  timestamp: bigint;
  gas_limit: bigint;
  fees: FeeRule;
  /** Of block 0; always 0 where gas is free. */
  base_fee: bigint;
  alloc: Alloc;
}

/** 1 gwei, as anvil begins. */
export const FIRST_BASE_FEE = 1_000_000_000n;

const bad = (message: string) =>
  new MagnetError("BAD_GENESIS", message, {
    hint: 'an allocation is ADDRESS=AMOUNT in base units, or a JSON file {"0x...": {"balance": "1000"}}',
    exit: "config",
  });

function amountOf(value: unknown, what: string): bigint {
  const text = typeof value === "number" ? String(value) : value;
  if (typeof text !== "string" || !/^(?:0x[0-9a-fA-F]{1,64}|\d{1,78})$/.test(text))
    throw bad(`${what}: ${JSON.stringify(value)?.slice(0, 80)} is no amount`);
  const amount = BigInt(text);
  if (amount >= 1n << 256n) throw bad(`${what}: the amount has more than 256 bits`);
  return amount;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function wordOf(value: unknown, what: string): Hex {
  if (typeof value !== "string" || !/^0x[0-9a-fA-F]{1,64}$/.test(value))
    throw bad(`${what}: ${JSON.stringify(value)?.slice(0, 80)} is no number of 32 bytes`);
  return `0x${value.slice(2).toLowerCase().padStart(64, "0")}`;
}

function accountOf(value: unknown, what: string): GenesisAccount {
  if (!isObject(value)) return { balance: amountOf(value, what) };
  const { balance = "0", nonce, code, storage, ...others } = value;
  const unknown = Object.keys(others)[0];
  if (unknown !== undefined) throw bad(`${what}: unknown field "${unknown}"`);
  const account: GenesisAccount = { balance: amountOf(balance, what) };
  if (nonce !== undefined) {
    account.nonce = amountOf(nonce, `${what}, nonce`);
    if (account.nonce >= 1n << 64n) throw bad(`${what}: a nonce has at most 64 bits`);
  }
  if (code !== undefined) {
    if (typeof code !== "string" || !/^0x(?:[0-9a-fA-F]{2})*$/.test(code))
      throw bad(`${what}: the code is no hex data`);
    account.code = code.toLowerCase() as Hex;
  }
  if (storage !== undefined) {
    if (!isObject(storage)) throw bad(`${what}: storage is no object`);
    account.storage = {};
    for (const [slot, held] of Object.entries(storage))
      account.storage[wordOf(slot, what)] = wordOf(held, what);
  }
  return account;
}

/** Reads an allocation as JSON writes it. Throws BAD_GENESIS naming the entry. */
export function parseAlloc(value: unknown): Alloc {
  if (!isObject(value)) throw bad("the allocation is no JSON object");
  const alloc: Alloc = {};
  for (const [address, held] of Object.entries(value)) {
    if (!/^(?:0x)?[0-9a-fA-F]{40}$/.test(address)) throw bad(`"${address}" is no address`);
    const key = `0x${address.replace(/^0x/, "").toLowerCase()}` as Hex;
    if (alloc[key] !== undefined) throw bad(`${key} is given twice`);
    alloc[key] = accountOf(held, key);
  }
  return alloc;
}

/** The genesis as text: the same for equal ones, whatever the order of their entries. */
export function genesisText(genesis: Genesis): string {
  const { chain_id, timestamp, gas_limit, fees, base_fee } = genesis;
  const alloc = Object.entries(genesis.alloc)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([address, { balance, nonce = 0n, code = "0x", storage = {} }]) => [
      address,
      {
        ...{ balance: balance.toString(), nonce: nonce.toString(), code },
        storage: Object.fromEntries(Object.entries(storage).sort(([a], [b]) => (a < b ? -1 : 1))),
      },
    ]);
  return JSON.stringify({
    ...{ chain_id, timestamp: timestamp.toString(), gas_limit: gas_limit.toString(), fees },
    ...{ base_fee: base_fee.toString(), alloc: Object.fromEntries(alloc) },
  });
}

/** The genesis that `genesisText` wrote. */
export function genesisOf(text: string): Genesis {
  const read = JSON.parse(text) as Record<string, unknown>;
  return {
    chain_id: Number(read.chain_id),
    timestamp: BigInt(String(read.timestamp)),
    gas_limit: BigInt(String(read.gas_limit)),
    fees: read.fees === "eip1559" ? "eip1559" : "free",
    base_fee: BigInt(String(read.base_fee)),
    alloc: parseAlloc(read.alloc),
  };
}

export interface GenesisOptions {
  chain_id: number;
  timestamp: bigint;
  alloc?: Alloc | undefined;
  fees?: FeeRule | undefined;
  base_fee?: bigint | undefined;
  gas_limit?: bigint | undefined;
}

/** A genesis with the usual rules where nothing is said. Throws BAD_GENESIS. */
export function makeGenesis(options: GenesisOptions): Genesis {
  const { chain_id, timestamp, alloc = {}, fees = "free", gas_limit } = options;
  if (!Number.isSafeInteger(chain_id) || chain_id < 1 || chain_id > 2 ** 52)
    throw bad(`the chain id ${chain_id} is no whole number from 1 to 2^52`);
  const base_fee = fees === "free" ? 0n : (options.base_fee ?? FIRST_BASE_FEE);
  return {
    ...{ chain_id, timestamp, fees, base_fee, alloc },
    gas_limit: gas_limit ?? CHAIN_LIMITS.block_gas,
  };
}
