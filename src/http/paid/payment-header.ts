/**
 * The PAYMENT-SIGNATURE header of x402 version 2, read strictly: base64 of JSON of exactly the shape
 * of an EIP-3009 authorization. What does not fit this server's offer is refused here, before
 * anything is asked of the chain, so that garbage costs next to nothing.
 */
import { isAddressEqual } from "viem";
import { z } from "zod";
import { ApiError, badRequest } from "../serve/api-error.ts";
import { PAYMENT_HEADER_CHARS_MAX, VALID_FOR_MAX_S, VALID_MARGIN_S } from "./limits.ts";
import { networkOf, type Till } from "./offer.ts";

const hexAddress = z.string().regex(/^0x[0-9a-fA-F]{40}$/);
const address = hexAddress.transform((text) => text.toLowerCase() as `0x${string}`);
const uint = z
  .string()
  .regex(/^(0|[1-9][0-9]{0,77})$/)
  .transform(BigInt)
  .refine((value) => value < 1n << 256n);
const hex = (bytes: number) =>
  z
    .string()
    .regex(new RegExp(`^0x[0-9a-fA-F]{${2 * bytes}}$`))
    .transform((text) => text.toLowerCase() as `0x${string}`);

const authorizationSchema = z.object({
  from: address,
  to: address,
  value: uint,
  validAfter: uint,
  validBefore: uint,
  nonce: hex(32),
});
const payloadSchema = z.object({
  x402Version: z.literal(2),
  accepted: z.object({
    scheme: z.string(),
    network: z.string(),
    asset: hexAddress,
    amount: z.string(),
  }),
  payload: z.object({ authorization: authorizationSchema, signature: hex(65) }),
});

/** An authorization that fits the offer. Addresses and bytes are in lower case. */
export interface Payment {
  payer: `0x${string}`;
  nonce: `0x${string}`;
  to: `0x${string}`;
  value: bigint;
  valid_after: bigint;
  valid_before: bigint;
  signature: `0x${string}`;
}

const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/** A header's JSON. Throws 400 `bad_payment` where it is none. */
export function decodeHeader(text: string, chars_max: number, code = "bad_payment"): unknown {
  if (text.length > chars_max) throw badRequest(code, "the payment header is too long");
  if (!BASE64.test(text)) throw badRequest(code, "the payment header is not base64");
  try {
    return JSON.parse(Buffer.from(text, "base64").toString("utf8"));
  } catch {
    throw badRequest(code, "the payment header holds no JSON");
  }
}

/** The payment in a header, whatever it is for. Throws 400 `bad_payment`. */
export function parsePayment(text: string): Payment & { accepted: Accepted } {
  const parsed = payloadSchema.safeParse(decodeHeader(text, PAYMENT_HEADER_CHARS_MAX));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const at = issue?.path.map(String).join(".") || "the payment";
    throw badRequest("bad_payment", `${at.slice(0, 80)}: not as x402 version 2 has it`);
  }
  const { accepted, payload } = parsed.data;
  const { from, to, value, validAfter, validBefore, nonce } = payload.authorization;
  return {
    ...{ payer: from, nonce, to, value, signature: payload.signature, accepted },
    ...{ valid_after: validAfter, valid_before: validBefore },
  };
}
type Accepted = z.infer<typeof payloadSchema>["accepted"];

/** A payment that cannot be taken; answered with 402 and the offer. */
export class PaymentRefused extends ApiError {
  constructor(code: string, message: string) {
    super(402, code, message, { type: "invalid_request_error" });
  }
}

/** Throws PaymentRefused unless the payment is for this till, this amount and this moment. */
export function checkPayment(
  payment: ReturnType<typeof parsePayment>,
  till: Till,
  amount: bigint,
  now_s: number,
): void {
  const { accepted, to, value, valid_after, valid_before } = payment;
  const network = networkOf(till);
  const refuse = (code: string, message: string): never => {
    throw new PaymentRefused(code, message);
  };
  if (accepted.scheme !== "exact") refuse("wrong_scheme", "only the scheme exact is taken");
  if (accepted.network !== network)
    refuse("wrong_network", `the payment is for ${accepted.network.slice(0, 64)}, not ${network}`);
  if (!isAddressEqual(accepted.asset as `0x${string}`, till.asset))
    refuse("wrong_asset", `the payment is in another token than ${till.asset}`);
  if (!isAddressEqual(to, till.pay_to))
    refuse("wrong_recipient", `the payment goes to ${to}, not to ${till.pay_to}`);
  if (value !== amount || accepted.amount !== amount.toString())
    refuse("wrong_amount", `the payment is ${value}, this request costs ${amount}`);
  const now = BigInt(now_s);
  if (valid_before < now + BigInt(VALID_MARGIN_S))
    refuse("authorization_expired", "the authorization is no longer valid; sign a new one");
  if (valid_after > now)
    refuse("authorization_not_valid_yet", "the authorization is not valid yet");
  if (valid_before > now + BigInt(VALID_FOR_MAX_S))
    refuse("authorization_too_long", "the authorization is valid for more than a day");
}
