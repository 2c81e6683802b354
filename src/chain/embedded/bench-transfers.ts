/** Signed transfers for measuring a chain: from keys that are no secret, to addresses never seen. */
import { createFeeMarket1559Tx } from "@ethereumjs/tx";
import { createAddressFromPrivateKey } from "@ethereumjs/util";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { type Hex, toHex, word } from "./hex.ts";
import { commonRules } from "./rules.ts";

export interface BenchKey {
  private_key: Uint8Array;
  address: Hex;
}

/** Keys made of their numbers: they hold nothing but a benchmark's coins. */
export function benchKeys(count: number): BenchKey[] {
  return Array.from({ length: count }, (_, i) => {
    const private_key = keccak_256(word(BigInt(i + 1)));
    return { private_key, address: createAddressFromPrivateKey(private_key).toString() };
  });
}

/** Transfers number `first` to `first + count`: the keys take turns, each with rising nonces. */
export function signedTransfers(options: {
  keys: readonly BenchKey[];
  count: number;
  chain_id: number;
  first: number;
}): Hex[] {
  const { keys, count, chain_id, first } = options;
  const common = commonRules(chain_id);
  return Array.from({ length: count }, (_, i) => {
    const number = first + i;
    const to = toHex(keccak_256(word(BigInt(number))).slice(12));
    const fees = { maxFeePerGas: 0n, maxPriorityFeePerGas: 0n };
    const nonce = BigInt(Math.floor(number / keys.length));
    const tx = createFeeMarket1559Tx(
      { chainId: BigInt(chain_id), nonce, to, value: 1n, gasLimit: 21_000n, ...fees },
      { common },
    );
    return toHex(tx.sign(keys[number % keys.length]!.private_key).serialize());
  });
}

/** The transfers as one JSON-RPC batch. */
export const batchBody = (raws: readonly string[]): string =>
  JSON.stringify(
    raws.map((raw, id) => ({
      jsonrpc: "2.0",
      id,
      method: "eth_sendRawTransaction",
      params: [raw],
    })),
  );
