/** The JSON-RPC methods of the embedded chain, by name. */
import packageJson from "../../../package.json" with { type: "json" };
import type { EmbeddedChain } from "./chain.ts";
import { Filters, findLogs } from "./events.ts";
import { prevrandaoAfter } from "./execute.ts";
import { feeHistory, suggestedTip } from "./fee-history.ts";
import { type Header, ZERO_WORD } from "./header.ts";
import { parseAddress, parseData, parseHash, parseQuantity, quantity, toHex, word } from "./hex.ts";
import { CHAIN_LIMITS } from "./limits.ts";
import {
  findBlock,
  type Params,
  parseCall,
  parseChoice,
  parsePlace,
  parseRange,
  requireHeader,
} from "./params.ts";
import { BLOOM_BYTES } from "./receipt.ts";
import {
  blockJson,
  headerJson,
  type Json,
  receiptJson,
  transactionJson,
  wordJson,
} from "./render.ts";
import { badParams, RpcError } from "./rpc-error.ts";
import { Calls } from "./simulate.ts";
import type { ChainState } from "./state.ts";
import { timeMethods } from "./time-travel.ts";
import { EMPTY_ROOT } from "./trie.ts";

/** One method: parameters as the client sent them, an answer that JSON can hold. */
export type Method = (params: Params) => unknown;
export type Methods = Record<string, Method>;

const notThere = () => null;

/** The block that would be made now, of what waits; nothing in it is certain. */
function pendingBlock(chain: EmbeddedChain, full: boolean): Json {
  const { number, timestamp, gas_limit, base_fee, parent_hash } = chain.nextSetting();
  const header: Header = {
    ...{ parent_hash, number, timestamp, gas_limit, base_fee, gas_used: 0n },
    ...{ prevrandao: prevrandaoAfter(parent_hash), state_root: ZERO_WORD },
    ...{ transactions_root: EMPTY_ROOT, receipts_root: EMPTY_ROOT },
    logs_bloom: new Uint8Array(BLOOM_BYTES),
  };
  const transactions = [...chain.pool].map((one) =>
    full ? transactionJson(one.raw, one.sender, chain.common, undefined) : one.hash,
  );
  return {
    ...headerJson(header, undefined),
    size: "0x0",
    transactions,
    uncles: [],
    withdrawals: [],
  };
}

function blockMethods(chain: EmbeddedChain): Methods {
  const { store, common } = chain;
  const at = (value: unknown) => {
    const number = findBlock(chain, value);
    return number === undefined ? undefined : store.block(number);
  };
  const byHash = (value: unknown) => at(parseHash(value, "blockHash"));
  const show = (block: ReturnType<typeof at>, full: unknown) =>
    block === undefined ? null : blockJson(block, common, full === true);
  const count = (block: ReturnType<typeof at>) =>
    block === undefined ? null : quantity(block.raws.length);
  const inBlock = (block: ReturnType<typeof at>, index: unknown) => {
    const i = Number(parseQuantity(index, "index"));
    const raw = block?.raws[i];
    if (block === undefined || raw === undefined) return null;
    const { hash, header, receipts } = block;
    return transactionJson(raw, toHex(receipts[i]!.sender), common, { hash, header, index: i });
  };
  return {
    eth_blockNumber: () => quantity(chain.head.header.number),
    eth_getBlockByNumber: ([number, full]) =>
      number === "pending" ? pendingBlock(chain, full === true) : show(at(number), full),
    eth_getBlockByHash: ([hash, full]) => show(byHash(hash), full),
    eth_getBlockTransactionCountByNumber: ([number]) => count(at(number)),
    eth_getBlockTransactionCountByHash: ([hash]) => count(byHash(hash)),
    eth_getTransactionByBlockNumberAndIndex: ([number, index]) => inBlock(at(number), index),
    eth_getTransactionByBlockHashAndIndex: ([hash, index]) => inBlock(byHash(hash), index),
    eth_getBlockReceipts: ([block]) => {
      const found = at(block);
      return found === undefined ? null : found.raws.map((_, i) => receiptJson(found, i, common));
    },
    eth_getUncleCountByBlockNumber: ([number]) => (at(number) === undefined ? null : "0x0"),
    eth_getUncleCountByBlockHash: ([hash]) => (byHash(hash) === undefined ? null : "0x0"),
    eth_getUncleByBlockNumberAndIndex: notThere,
    eth_getUncleByBlockHashAndIndex: notThere,
  };
}

function transactionMethods(chain: EmbeddedChain): Methods {
  const { store, common } = chain;
  return {
    async eth_sendRawTransaction([raw]) {
      return await chain.submit(parseData(raw, "the transaction"));
    },
    eth_getTransactionByHash([value]) {
      const hash = parseHash(value, "hash");
      const place = store.find(hash);
      if (place === undefined) {
        const waiting = chain.pool.get(hash);
        if (waiting === undefined) return null;
        return transactionJson(waiting.raw, waiting.sender, common, undefined);
      }
      const { hash: block, header, raws, receipts } = store.block(place.number)!;
      const sender = toHex(receipts[place.position]!.sender);
      const within = { hash: block, header, index: place.position };
      return transactionJson(raws[place.position]!, sender, common, within);
    },
    eth_getTransactionReceipt([hash]) {
      const place = store.find(parseHash(hash, "hash"));
      if (place === undefined) return null;
      return receiptJson(store.block(place.number)!, place.position, common);
    },
    eth_getRawTransactionByHash([value]) {
      const hash = parseHash(value, "hash");
      const place = store.find(hash);
      const raw =
        place === undefined
          ? chain.pool.get(hash)?.raw
          : store.block(place.number)!.raws[place.position];
      return raw === undefined ? null : toHex(raw);
    },
    txpool_status() {
      let pending = 0;
      for (const { sender, nonce } of chain.pool) if (nonce < chain.pendingNonce(sender)) pending++;
      return { pending: quantity(pending), queued: quantity(chain.pool.size - pending) };
    },
  };
}

function stateMethods(chain: EmbeddedChain): Methods {
  const calls = new Calls(chain);
  const at = (block: unknown): ChainState => {
    const { header } = requireHeader(chain, block);
    return header.number === chain.head.header.number
      ? chain.view
      : chain.stateAt(header.state_root);
  };
  return {
    eth_getBalance: ([address, block]) =>
      quantity(at(block).accountOf(parseAddress(address, "address"))?.balance ?? 0n),
    eth_getTransactionCount([address, block]) {
      const key = parseAddress(address, "address");
      if (block === "pending") return quantity(chain.pendingNonce(key));
      return quantity(at(block).accountOf(key)?.nonce ?? 0n);
    },
    eth_getCode: ([address, block]) => toHex(at(block).codeOf(parseAddress(address, "address"))),
    eth_getStorageAt: ([address, slot, block]) =>
      wordJson(
        at(block).storageOf(parseAddress(address, "address"), word(parseQuantity(slot, "slot"))),
      ),
    eth_getProof([address, slots, block]) {
      const key = parseAddress(address, "address");
      if (!Array.isArray(slots) || slots.length > CHAIN_LIMITS.proof_slots)
        throw badParams(`slots is no list, or has more than ${CHAIN_LIMITS.proof_slots} of them`);
      const places = slots.map((slot) => word(parseQuantity(slot, "slot")));
      const state = at(block);
      const account = state.accountOf(key);
      const proof = state.prove(key, places);
      return {
        address: key,
        balance: quantity(account?.balance ?? 0n),
        nonce: quantity(account?.nonce ?? 0n),
        codeHash: toHex(account?.codeHash ?? new Uint8Array(32)),
        storageHash: toHex(account?.storageRoot ?? EMPTY_ROOT),
        accountProof: proof.account.map(toHex),
        storageProof: places.map((place, i) => ({
          key: slots[i],
          value: quantity(BigInt(wordJson(state.storageOf(key, place)))),
          proof: proof.slots[i]!.map(toHex),
        })),
      };
    },
    async eth_call([call, block, overrides]) {
      const place = parsePlace(chain, block, overrides);
      const request = parseCall(call, place.setting.base_fee);
      return toHex(await calls.call(place, request));
    },
    async eth_estimateGas([call, block, overrides]) {
      const place = parsePlace(chain, block, overrides);
      const request = parseCall(call, place.setting.base_fee);
      return quantity(await calls.estimate(place, request));
    },
  };
}

function logMethods(chain: EmbeddedChain): Methods {
  const filters = new Filters(chain);
  const id = ([value]: Params) => quantity(parseQuantity(value, "filter"));
  return {
    eth_getLogs: ([filter]) =>
      findLogs(chain, { ...parseChoice(filter), ...parseRange(chain, filter) }),
    eth_newFilter: ([filter]) => filters.newLogs(filter),
    eth_newBlockFilter: () => filters.newBlocks(),
    eth_newPendingTransactionFilter: () => filters.newWaiting(),
    eth_uninstallFilter: (params) => filters.remove(id(params)),
    eth_getFilterChanges: (params) => filters.changes(id(params)),
    eth_getFilterLogs: (params) => filters.logs(id(params)),
  };
}

function factMethods(chain: EmbeddedChain): Methods {
  const gasPrice = () => chain.nextSetting().base_fee + suggestedTip(chain);
  return {
    eth_chainId: () => quantity(chain.chain_id),
    net_version: () => String(chain.chain_id),
    net_listening: () => true,
    net_peerCount: () => "0x0",
    web3_clientVersion: () => `magnet/v${packageJson.version}`,
    web3_sha3: ([data]) => toHex(prevrandaoAfter(parseData(data, "data"))),
    eth_syncing: () => false,
    eth_accounts: () => [],
    eth_gasPrice: () => quantity(gasPrice()),
    eth_maxPriorityFeePerGas: () => quantity(suggestedTip(chain)),
    eth_blobBaseFee: () => "0x1",
    eth_feeHistory: (params) => feeHistory(chain, params),
  };
}

/** Every method of the chain. */
export function rpcMethods(chain: EmbeddedChain): Methods {
  return {
    ...factMethods(chain),
    ...blockMethods(chain),
    ...transactionMethods(chain),
    ...stateMethods(chain),
    ...logMethods(chain),
    ...(chain.allow_time_travel ? timeMethods(chain) : {}),
  };
}

const TIME_METHODS = /^(?:evm|anvil)_/;

/** Runs a method by name. Throws RpcError for whatever the caller did wrong. */
export async function callMethod(
  methods: Methods,
  method: string,
  params: unknown,
): Promise<unknown> {
  const found = Object.hasOwn(methods, method) ? methods[method] : undefined;
  if (found === undefined) {
    const why = TIME_METHODS.test(method)
      ? " (methods that move time need --allow-time-travel)"
      : "";
    throw new RpcError(
      "method_not_found",
      `the method ${method.slice(0, 80)} does not exist${why}`,
    );
  }
  if (params !== undefined && params !== null && !Array.isArray(params))
    throw badParams("the parameters are no list");
  return found((params as unknown[] | undefined) ?? []);
}
