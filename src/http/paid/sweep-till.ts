/**
 * Empties a server's till: `Revenue.sweep` splits what lies in it between the server, the treasury
 * and the burn. Anyone may call it; the server does, now and then.
 */
import { type Address, type Hash, parseAbi } from "viem";
import { MagnetError } from "../../core/errors.ts";
import type { ChainCaller } from "./chain-caller.ts";
import { SWEEP_GAS } from "./limits.ts";

const ABI = parseAbi([
  "function sweep(address server) returns (uint256)",
  "function balanceOf(address) view returns (uint256)",
]);

export interface Swept {
  amount: bigint;
  transaction: Hash;
}

/** What was split; undefined where the till was empty. Fails with viem's errors, or SWEEP_FAILED. */
export async function sweepTill(
  chain: ChainCaller,
  { revenue, till, asset }: { revenue: Address; till: Address; asset: Address },
): Promise<Swept | undefined> {
  const balance = { address: asset, abi: ABI, functionName: "balanceOf", args: [till] };
  const amount = (await chain.read(balance)) as bigint;
  if (amount === 0n) return undefined;
  const args = [chain.account.address];
  const call = { address: revenue, abi: ABI, functionName: "sweep", args };
  const transaction = await chain.send(call, SWEEP_GAS);
  const { status } = await chain.receipt(transaction);
  if (status === "success") return { amount, transaction };
  throw new MagnetError("SWEEP_FAILED", `Revenue refused to sweep (${transaction})`, {
    hint: "someone else may have emptied the till a moment before: look again",
    exit: "chain",
    retryable: true,
  });
}
