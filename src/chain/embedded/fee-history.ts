/** eth_feeHistory and the prices that wallets suggest from it. */
import { createTxFromRLP } from "@ethereumjs/tx";
import type { EmbeddedChain } from "./chain.ts";
import { parseQuantity, quantity } from "./hex.ts";
import { CHAIN_LIMITS } from "./limits.ts";
import { findBlock, type Params } from "./params.ts";
import type { Json } from "./render.ts";
import { badParams, refused } from "./rpc-error.ts";
import { nextBaseFee } from "./rules.ts";
import type { StoredBlock } from "./store.ts";
import { effectivePrice } from "./transaction.ts";

/** 1 gwei, what anvil suggests; nothing where gas is free. */
export const suggestedTip = (chain: EmbeddedChain): bigint =>
  chain.genesis.fees === "free" ? 0n : 1_000_000_000n;

function percentilesOf(value: unknown): number[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length > CHAIN_LIMITS.fee_history_percentiles)
    throw badParams("rewardPercentiles is no list, or too long");
  value.forEach((p, i) => {
    if (typeof p !== "number" || p < 0 || p > 100 || (i > 0 && p < value[i - 1]))
      throw badParams("rewardPercentiles are rising numbers from 0 to 100");
  });
  return value as number[];
}

/** Tips of the block at the percentiles of its gas, as EIP-1559's clients weigh them. */
function tipsAt(
  chain: EmbeddedChain,
  block: StoredBlock,
  percentiles: readonly number[],
): string[] {
  const { base_fee, gas_used } = block.header;
  const tips = block.raws
    .map((raw, i) => {
      const tx = createTxFromRLP(raw, { common: chain.common });
      const fees =
        "maxFeePerGas" in tx
          ? { max_fee: tx.maxFeePerGas, max_tip: tx.maxPriorityFeePerGas }
          : { max_fee: tx.gasPrice, max_tip: tx.gasPrice };
      return { tip: effectivePrice(fees, base_fee) - base_fee, gas: block.receipts[i]!.gas_used };
    })
    .sort((a, b) => (a.tip < b.tip ? -1 : a.tip > b.tip ? 1 : 0));
  return percentiles.map((percentile) => {
    const wanted = (Number(gas_used) * percentile) / 100;
    let sum = 0;
    const found = tips.find(({ gas }) => {
      sum += Number(gas);
      return sum >= wanted;
    });
    return quantity((found ?? tips.at(-1))?.tip ?? 0n);
  });
}

export function feeHistory(chain: EmbeddedChain, params: Params): Json {
  const wanted = parseQuantity(params[0], "blockCount");
  const newest = findBlock(chain, params[1]);
  if (newest === undefined) throw refused("request beyond head block");
  const percentiles = percentilesOf(params[2]);
  const count = Math.min(Number(wanted), CHAIN_LIMITS.fee_history_blocks, newest + 1);
  if (count === 0) return { oldestBlock: "0x0", gasUsedRatio: [], baseFeePerGas: [] };
  const oldest = newest - count + 1;
  const base_fees: string[] = [];
  const ratios: number[] = [];
  const rewards: string[][] = [];
  let next = 0n;
  for (let number = oldest; number <= newest; number++) {
    const { header } = chain.store.header(number)!;
    base_fees.push(quantity(header.base_fee));
    ratios.push(Number(header.gas_used) / Number(header.gas_limit));
    if (percentiles.length > 0)
      rewards.push(tipsAt(chain, chain.store.block(number)!, percentiles));
    next = nextBaseFee(chain.genesis, header);
  }
  return {
    oldestBlock: quantity(oldest),
    baseFeePerGas: [...base_fees, quantity(next)],
    gasUsedRatio: ratios,
    baseFeePerBlobGas: new Array(count + 1).fill("0x1"),
    blobGasUsedRatio: new Array(count).fill(0),
    ...(percentiles.length > 0 ? { reward: rewards } : {}),
  };
}
