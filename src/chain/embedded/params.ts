/** JSON-RPC parameters of calls, blocks and filters, read strictly. */
import type { EmbeddedChain } from "./chain.ts";
import type { Header } from "./header.ts";
import { fromHex, type Hex, parseAddress, parseData, parseHash, parseQuantity } from "./hex.ts";
import { CHAIN_LIMITS } from "./limits.ts";
import { badParams, refused } from "./rpc-error.ts";
import type { CallPlace, CallRequest, StateOverrides } from "./simulate.ts";
import type { EventQuery } from "./store.ts";

export type Params = readonly unknown[];

const ZERO = "0x0000000000000000000000000000000000000000";
const given = (value: unknown): boolean => value !== undefined && value !== null;

export function parseObject(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw badParams(`${name} is no object`);
  return value as Record<string, unknown>;
}

/** A block that exists: by tag, number or hash; undefined where there is none yet. */
export function findBlock(chain: EmbeddedChain, value: unknown): number | undefined {
  const height = Number(chain.head.header.number);
  if (!given(value) || value === "latest" || value === "pending") return height;
  if (value === "safe" || value === "finalized") return height; // one authority: never undone
  if (value === "earliest") return 0;
  if (typeof value === "object") {
    const { blockHash, blockNumber } = parseObject(value, "block");
    if (given(blockHash)) return chain.store.numberOf(parseHash(blockHash, "blockHash"));
    return findBlock(chain, blockNumber);
  }
  if (typeof value === "string" && value.length === 66)
    return chain.store.numberOf(parseHash(value, "block"));
  const number = parseQuantity(value, "block");
  return number > BigInt(height) ? undefined : Number(number);
}

/** The header of a block that must be there. */
export function requireHeader(
  chain: EmbeddedChain,
  value: unknown,
): { header: Header; hash: Uint8Array } {
  const number = findBlock(chain, value);
  const found = number === undefined ? undefined : chain.store.header(number);
  if (found === undefined) throw refused("header not found: there is no such block");
  return found;
}

/**
 * Where a call runs. At the newest block time goes on although no block is made, so the call sees
 * the time that a block made now would bear (as on anvil); else a deadline that has passed would
 * seem open until somebody sends a transaction.
 */
export function parsePlace(chain: EmbeddedChain, block: unknown, overrides: unknown): CallPlace {
  const { header } = requireHeader(chain, block);
  const { number, timestamp, gas_limit, base_fee, parent_hash } = header;
  const newest = number === chain.head.header.number;
  const next = chain.nextSetting();
  const setting =
    block === "pending"
      ? next
      : {
          parent_hash,
          number,
          gas_limit,
          base_fee,
          timestamp: newest ? next.timestamp : timestamp,
        };
  const place: CallPlace = { setting, state_root: header.state_root };
  return given(overrides) ? { ...place, overrides: parseOverrides(overrides) } : place;
}

function parseSlots(value: unknown, name: string): Record<Hex, Hex> {
  const slots: Record<Hex, Hex> = {};
  for (const [slot, word] of Object.entries(parseObject(value, name)))
    slots[parseHash(slot, name)] = parseHash(word, name);
  return slots;
}

function parseOverrides(value: unknown): StateOverrides {
  const overrides: StateOverrides = {};
  for (const [address, entry] of Object.entries(parseObject(value, "state override"))) {
    const { balance, nonce, code, state, stateDiff } = parseObject(entry, "state override");
    overrides[parseAddress(address, "state override")] = {
      ...(given(balance) ? { balance: parseQuantity(balance, "balance") } : {}),
      ...(given(nonce) ? { nonce: parseQuantity(nonce, "nonce") } : {}),
      ...(given(code) ? { code: parseData(code, "code") } : {}),
      ...(given(state) ? { state: parseSlots(state, "state") } : {}),
      ...(given(stateDiff) ? { state_diff: parseSlots(stateDiff, "stateDiff") } : {}),
    };
  }
  return overrides;
}

function parseAccessList(value: unknown): CallRequest["access_list"] {
  if (!given(value)) return [];
  if (!Array.isArray(value) || value.length > CHAIN_LIMITS.filter_values)
    throw badParams("accessList is no list, or too long");
  return value.map((entry) => {
    const { address, storageKeys } = parseObject(entry, "accessList");
    if (!Array.isArray(storageKeys)) throw badParams("storageKeys is no list");
    return {
      address: parseAddress(address, "accessList"),
      slots: storageKeys.map((slot) => parseHash(slot, "storageKeys")),
    };
  });
}

/** The first parameter of eth_call and eth_estimateGas. */
export function parseCall(value: unknown, base_fee: bigint): CallRequest {
  const call = parseObject(value, "call");
  const { from, to, gas, gasPrice, maxFeePerGas, maxPriorityFeePerGas } = call;
  const number = (field: unknown, name: string) => (given(field) ? parseQuantity(field, name) : 0n);
  if (given(gasPrice) && given(maxFeePerGas))
    throw badParams("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified");
  const tip = number(maxPriorityFeePerGas, "maxPriorityFeePerGas");
  const most = given(maxFeePerGas)
    ? number(maxFeePerGas, "maxFeePerGas")
    : number(gasPrice, "gasPrice");
  const wanted = base_fee + tip;
  const gas_price = given(maxFeePerGas) && wanted < most ? wanted : most;
  if (gas_price > 0n && most < base_fee)
    throw refused(
      `max fee per gas less than block base fee: maxFeePerGas: ${most}, baseFee: ${base_fee}`,
    );
  const data = given(call.input) ? call.input : call.data;
  return {
    from: given(from) ? parseAddress(from, "from") : ZERO,
    ...(given(to) ? { to: parseAddress(to, "to") } : {}),
    data: given(data) ? parseData(data, "data", CHAIN_LIMITS.transaction_bytes) : new Uint8Array(0),
    value: number(call.value, "value"),
    ...(given(gas) ? { gas: parseQuantity(gas, "gas") } : {}),
    ...{ gas_price, access_list: parseAccessList(call.accessList) },
  };
}

/** One value, several, or any (no list at all). */
function alternatives(value: unknown, read: (one: unknown) => Hex, name: string): Uint8Array[] {
  if (!given(value)) return [];
  const list = Array.isArray(value) ? value : [value];
  if (list.length > CHAIN_LIMITS.filter_values)
    throw badParams(`${name} has more than ${CHAIN_LIMITS.filter_values} alternatives`);
  return list.map((one) => fromHex(read(one)));
}

/** What a filter asks for besides its blocks. */
export type EventChoice = Omit<EventQuery, "from" | "to">;

export function parseChoice(value: unknown): EventChoice {
  const { address, topics } = parseObject(value, "filter");
  if (given(topics) && !Array.isArray(topics)) throw badParams("topics is no list");
  const places = (topics as unknown[] | undefined) ?? [];
  if (places.length > 4) throw badParams("a log has at most four topics");
  return {
    addresses: alternatives(address, (one) => parseAddress(one, "address"), "address"),
    topics: places.map((place) =>
      alternatives(place, (one) => parseHash(one, "topics"), "a topic"),
    ),
  };
}

/** The blocks that a filter spans. Throws RpcError where they are not there, or too many. */
export function parseRange(chain: EmbeddedChain, value: unknown): { from: number; to: number } {
  const { fromBlock, toBlock, blockHash } = parseObject(value, "filter");
  if (given(blockHash)) {
    if (given(fromBlock) || given(toBlock)) throw badParams("blockHash stands alone");
    const number = chain.store.numberOf(parseHash(blockHash, "blockHash"));
    if (number === undefined) throw refused("unknown block");
    return { from: number, to: number };
  }
  const height = Number(chain.head.header.number);
  const from = findBlock(chain, fromBlock) ?? height + 1;
  const to = findBlock(chain, toBlock) ?? height;
  if (BigInt(to - from) >= CHAIN_LIMITS.log_blocks)
    throw refused(`block range is too wide: at most ${CHAIN_LIMITS.log_blocks} blocks at once`);
  return { from, to };
}
