/**
 * The rules that blocks are executed by: Cancun, whatever the block's number, with the chain's own
 * id. The same rules as anvil's under `--hardfork cancun`; the differential test holds both to them.
 */
import { type Common, createCustomCommon, Hardfork, Mainnet } from "@ethereumjs/common";
import type { Genesis } from "./genesis.ts";
import { pointEvaluation } from "./point-evaluation.ts";

/** The EVM library's view of the rules. */
export function commonRules(chain_id: number): Common {
  return createCustomCommon({ chainId: chain_id, name: "magnet" }, Mainnet, {
    hardfork: Hardfork.Cancun,
    customCrypto: { kzg: pointEvaluation },
  });
}

/** EIP-1559: the elasticity and the largest change from block to block. */
const ELASTICITY = 2n;
const CHANGE_DENOMINATOR = 8n;

/** The base fee of the block after `parent`. EIP-1559's formula; 0 for ever where gas is free. */
export function nextBaseFee(
  genesis: Pick<Genesis, "fees">,
  parent: { base_fee: bigint; gas_used: bigint; gas_limit: bigint },
): bigint {
  if (genesis.fees === "free") return 0n;
  const target = parent.gas_limit / ELASTICITY;
  if (parent.gas_used === target) return parent.base_fee;
  const away = parent.gas_used - target;
  const size = away < 0n ? -away : away;
  const change = (parent.base_fee * size) / target / CHANGE_DENOMINATOR;
  if (away < 0n) return parent.base_fee - change;
  return parent.base_fee + (change > 0n ? change : 1n);
}
