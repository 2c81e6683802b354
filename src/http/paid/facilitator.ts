/**
 * The facilitator in this process (x402's word for who verifies and settles a payment): x402's own
 * scheme "exact" over EIP-3009 does both, with our hands on the chain. No outside service is asked.
 * A result is one of three: paid, refused for certain (nothing was taken), or not known yet; the
 * last is never taken for one of the others.
 */

import type { PaymentPayload, PaymentRequirements } from "@x402/core/types";
import { ExactEvmScheme } from "@x402/evm/exact/facilitator";
import {
  type Address,
  type Hash,
  type Hex,
  isAddressEqual,
  parseAbi,
  parseEventLogs,
  recoverTypedDataAddress,
} from "viem";
import { MagnetError } from "../../core/errors.ts";
import { ApiError, busy } from "../serve/api-error.ts";
import { type ChainCaller, type ContractCall, isUnreachable } from "./chain-caller.ts";
import { SEARCH_MARGIN_BLOCKS, SETTLE_GAS } from "./limits.ts";
import type { Till } from "./offer.ts";
import { type Payment, PaymentRefused } from "./payment-header.ts";
import type { PaymentRecord } from "./payment-store.ts";

const TOKEN = parseAbi([
  "function balanceOf(address) view returns (uint256)",
  "function authorizationState(address, bytes32) view returns (bool)",
  "event Transfer(address indexed from, address indexed to, uint256 value)",
  "event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce)",
]);

/** What a customer is told to wait while the chain does not answer. */
const CHAIN_RETRY_S = 5;

export const chainDown = (cause?: unknown) =>
  new ApiError(
    503,
    "chain_unreachable",
    "payments cannot be checked now: the chain does not answer",
    {
      headers: { "retry-after": String(CHAIN_RETRY_S) },
      cause,
    },
  );

const noGas = (cause: unknown) =>
  new ApiError(503, "facilitator_out_of_gas", "the server cannot pay for settling now", {
    headers: { "retry-after": "60" },
    cause,
  });

/** The payment may or may not be taken: it is looked up again when the request is repeated. */
const pending = () =>
  busy(
    503,
    "settlement_pending",
    "the payment is not confirmed yet: send this very request again, with the same payment",
    CHAIN_RETRY_S,
  );

export type Settlement = { transaction: Hash };
/** What the chain says of a claimed payment. */
export type Lookup = { paid: Settlement } | "unused" | "used_otherwise";

const USED = "the authorization was used or cancelled before";
/** x402's reasons in the words of our codes; what is not here keeps its name. */
const REASONS: Record<string, [code: string, message: string]> = {
  invalid_exact_evm_signature: ["bad_signature", "the payer did not sign this authorization"],
  invalid_exact_evm_payload_authorization_valid_before: [
    "authorization_expired",
    "the authorization is no longer valid; sign a new one",
  ],
  invalid_exact_evm_payload_authorization_valid_after: [
    "authorization_not_valid_yet",
    "the authorization is not valid yet",
  ],
  invalid_exact_evm_nonce_already_used: ["payment_used", USED],
  invalid_exact_evm_insufficient_balance: ["insufficient_funds", "the payer has too few tokens"],
};

/** What one verification or settlement met on its way; x402 keeps only names of failures. */
interface Call {
  unreachable?: unknown;
  refused?: unknown;
  sent?: Hash;
}

export class Facilitator {
  /** Code at the addresses of a payment: asked for once, not by each of x402's four checks. */
  readonly #codes = new WeakMap<Payment, Map<string, Promise<Hex | undefined>>>();

  constructor(
    readonly chain: ChainCaller,
    private readonly till: Till,
  ) {}

  /** The scheme with our hands, for one payment. */
  #scheme(payment: Payment, call: Call, onSent: (hash: Hash) => void): ExactEvmScheme {
    const codes = this.#codes.get(payment) ?? new Map<string, Promise<Hex | undefined>>();
    this.#codes.set(payment, codes);
    const noted = async <T>(work: Promise<T>): Promise<T> => {
      try {
        return await work;
      } catch (error) {
        if (isUnreachable(error)) call.unreachable = error;
        else call.refused = error;
        throw error;
      }
    };
    const { chain } = this;
    return new ExactEvmScheme({
      getAddresses: () => [chain.account.address],
      readContract: (args) => noted(chain.read(args)),
      getCode: ({ address }) => {
        const known = codes.get(address) ?? noted(chain.client.getCode({ address }));
        codes.set(address, known);
        return known;
      },
      // Payers are keys: nothing is asked of a contract.
      verifyTypedData: async ({ address, ...signed }) =>
        isAddressEqual(await recoverTypedDataAddress(signed as never), address),
      async writeContract(args) {
        const hash = await noted(chain.send(args as ContractCall, SETTLE_GAS));
        call.sent = hash;
        onSent(hash);
        return hash;
      },
      sendTransaction: () => Promise.reject(new Error("no other transactions are sent")),
      waitForTransactionReceipt: ({ hash }) => noted(chain.receipt(hash)),
    });
  }

  /** Checks a payment against the chain. Throws PaymentRefused, or 503. */
  async verify(payment: Payment, accepts: PaymentRequirements): Promise<void> {
    const call: Call = {};
    const answer = await this.#scheme(payment, call, () => undefined)
      .verify(payloadOf(payment, accepts), accepts)
      .catch((error: unknown) => ({ isValid: false, invalidReason: String(error) }));
    if (answer.isValid) return;
    if (call.unreachable !== undefined) throw chainDown(call.unreachable);
    throw await this.#refusal(payment, answer.invalidReason ?? "refused");
  }

  /** x402 asks a helper contract why; a chain without it is asked directly. */
  async #refusal(payment: Payment, reason: string): Promise<PaymentRefused> {
    const known = REASONS[reason];
    if (known) return new PaymentRefused(known[0], known[1]);
    const { payer, nonce, value } = payment;
    try {
      if (await this.#used(payer, nonce)) return new PaymentRefused("payment_used", USED);
      const balance = await this.#read<bigint>("balanceOf", [payer]);
      if (balance < value)
        return new PaymentRefused(
          "insufficient_funds",
          `the payer has ${balance} and the request costs ${value} base units`,
        );
    } catch (error) {
      throw chainDown(error);
    }
    return new PaymentRefused("payment_refused", `the token refuses the payment (${reason})`);
  }

  /** Moves the money. Throws PaymentRefused where nothing was taken, or 503 where it is not known. */
  async settle(
    payment: Payment,
    accepts: PaymentRequirements,
    onSent: (hash: Hash) => void,
  ): Promise<Settlement> {
    const call: Call = {};
    const result = await this.#scheme(payment, call, onSent)
      .settle(payloadOf(payment, accepts), accepts)
      .catch((error: unknown) => ({
        ...{ success: false as const, errorReason: String(error) },
        transaction: "",
      }));
    if (result.success) return { transaction: result.transaction as Hash };
    if (call.unreachable !== undefined) throw call.sent ? pending() : chainDown(call.unreachable);
    if (result.errorReason === "settlement_pending") throw pending();
    if (call.sent === undefined && !(await this.#hasGas())) throw noGas(call.refused);
    throw await this.#refusal(payment, result.errorReason ?? "refused");
  }

  /** Nodes word the lack of gas in many ways: the balance says it in one. */
  async #hasGas(): Promise<boolean> {
    const { client, account } = this.chain;
    try {
      const [balance, price] = await Promise.all([
        client.getBalance({ address: account.address }),
        client.getGasPrice(),
      ]);
      return balance >= price * SETTLE_GAS;
    } catch (error) {
      throw chainDown(error);
    }
  }

  /** What became of a claimed payment. Fails with viem's errors where the chain is silent. */
  async lookup(record: PaymentRecord): Promise<Lookup> {
    const payer = record.payer as Address;
    if (!(await this.#used(payer, record.nonce as Hex))) return "unused";
    const from = BigInt(record.block) - SEARCH_MARGIN_BLOCKS;
    const [used] = await this.chain.client.getContractEvents({
      address: this.till.asset,
      abi: TOKEN,
      eventName: "AuthorizationUsed",
      args: { authorizer: payer, nonce: record.nonce as Hex },
      fromBlock: from > 0n ? from : 0n,
    });
    if (used === undefined) return "used_otherwise"; // cancelled, or before it was shown to us
    const receipt = await this.chain.client.getTransactionReceipt({ hash: used.transactionHash });
    const moves = parseEventLogs({ abi: TOKEN, eventName: "Transfer", logs: receipt.logs });
    const ours = moves.some(
      ({ address, args }) =>
        isAddressEqual(address, this.till.asset) &&
        isAddressEqual(args.from, payer) &&
        isAddressEqual(args.to, record.pay_to as Address) &&
        args.value === BigInt(record.amount),
    );
    return ours ? { paid: { transaction: used.transactionHash } } : "used_otherwise";
  }

  #used(payer: Address, nonce: Hex): Promise<boolean> {
    return this.#read("authorizationState", [payer, nonce]);
  }

  async #read<T>(functionName: string, args: readonly unknown[]): Promise<T> {
    const address = this.till.asset;
    return (await this.chain.read({ address, abi: TOKEN, functionName, args })) as T;
  }
}

const payloadOf = (payment: Payment, accepts: PaymentRequirements): PaymentPayload => ({
  x402Version: 2,
  accepted: accepts,
  payload: {
    signature: payment.signature,
    authorization: {
      from: payment.payer,
      to: payment.to,
      value: payment.value.toString(),
      validAfter: payment.valid_after.toString(),
      validBefore: payment.valid_before.toString(),
      nonce: payment.nonce,
    },
  },
});

/** Throws unless the RPC is of this chain and the token is one that can be paid with. */
export async function checkTill(chain: ChainCaller, till: Till): Promise<void> {
  const fail = (code: string, message: string, hint: string, cause?: unknown) =>
    new MagnetError(code, message, { hint, exit: "chain", cause });
  let id: number;
  try {
    id = await chain.client.getChainId();
  } catch (cause) {
    throw fail("CHAIN_UNREACHABLE", "the chain does not answer", "check --rpc", cause);
  }
  if (id !== till.chain_id)
    throw fail(
      "WRONG_CHAIN",
      `the RPC is of chain ${id}, the token is on chain ${till.chain_id}`,
      "give the RPC of the network's own chain",
    );
  try {
    const probe = [till.server, `0x${"0".repeat(64)}`];
    const call = {
      address: till.asset,
      abi: TOKEN,
      functionName: "authorizationState",
      args: probe,
    };
    await chain.read(call);
  } catch (cause) {
    throw fail(
      "BAD_TOKEN",
      `${till.asset} is no token with EIP-3009 on this chain`,
      "give the address of the network's MagToken",
      cause,
    );
  }
}
