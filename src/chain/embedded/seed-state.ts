/** Block 0: the accounts of the genesis, written into an empty state. */
import { Account, Address } from "@ethereumjs/util";
import type { SealedBlock } from "./execute.ts";
import type { Genesis } from "./genesis.ts";
import { type Header, headerHash, ZERO_WORD } from "./header.ts";
import { fromHex } from "./hex.ts";
import { BLOOM_BYTES } from "./receipt.ts";
import type { ChainState } from "./state.ts";
import { EMPTY_ROOT } from "./trie.ts";

/** Writes the allocation into the state and flushes it. */
export async function genesisBlock(genesis: Genesis, state: ChainState): Promise<SealedBlock> {
  for (const [address, { balance, nonce = 0n, code, storage = {} }] of Object.entries(
    genesis.alloc,
  )) {
    const place = new Address(fromHex(address));
    await state.putAccount(place, new Account(nonce, balance));
    if (code !== undefined && code !== "0x") await state.putCode(place, fromHex(code));
    for (const [slot, value] of Object.entries(storage))
      await state.putStorage(place, fromHex(slot), fromHex(value));
  }
  const header: Header = {
    ...{ parent_hash: ZERO_WORD, state_root: state.flush(), transactions_root: EMPTY_ROOT },
    ...{ receipts_root: EMPTY_ROOT, logs_bloom: new Uint8Array(BLOOM_BYTES), number: 0n },
    ...{ gas_limit: genesis.gas_limit, gas_used: 0n, timestamp: genesis.timestamp },
    ...{ prevrandao: ZERO_WORD, base_fee: genesis.base_fee },
  };
  return { header, hash: headerHash(header), transactions: [], receipts: [] };
}
