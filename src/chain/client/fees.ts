/** What a transaction offers per unit of gas: EIP-1559, or a plain price where the chain has none. */
import type { Hex } from "viem";
import type { Rpc } from "./rpc.ts";
import { RpcFailure } from "./rpc.ts";

export interface Fees {
  /** Wei; the gas price where `tip` is undefined. */
  max_fee: bigint;
  tip: bigint | undefined;
}

/** Pools ask for 10% more of a replacement; a quarter more gets somewhere in a few steps. */
const BUMP_PERCENT = 25n;

/** The chain's own suggestion: twice the base fee lasts for six full blocks in a row. */
export async function suggestFees(rpc: Rpc): Promise<Fees> {
  const block = await rpc.request<{ baseFeePerGas?: Hex }>("eth_getBlockByNumber", [
    "latest",
    false,
  ]);
  if (block.baseFeePerGas === undefined)
    return { max_fee: BigInt(await rpc.request<Hex>("eth_gasPrice")), tip: undefined };
  const tip = await suggestTip(rpc);
  return { max_fee: 2n * BigInt(block.baseFeePerGas) + tip, tip };
}

async function suggestTip(rpc: Rpc): Promise<bigint> {
  try {
    return BigInt(await rpc.request<Hex>("eth_maxPriorityFeePerGas"));
  } catch (error) {
    if (!(error instanceof RpcFailure)) throw error;
    return 10n ** 9n; // the method is no part of the standard; 1 gwei is what clients default to
  }
}

const raise = (fee: bigint) => (fee * (100n + BUMP_PERCENT)) / 100n + 1n;
const larger = (a: bigint, b: bigint) => (a > b ? a : b);

/** Fees that replace `previous`: a quarter more, or the suggestion where that is higher. */
export function raiseFees(previous: { max_fee: bigint; tip: bigint }, suggested: Fees): Fees {
  const max_fee = larger(raise(previous.max_fee), suggested.max_fee);
  if (suggested.tip === undefined) return { max_fee, tip: undefined };
  return { max_fee, tip: larger(raise(previous.tip), suggested.tip) };
}
