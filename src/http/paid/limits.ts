/** Limits of the paid API, each with its reason and with what happens at it. */

/** A payment header: an authorization and what it accepts, as base64 of JSON. 400 beyond. */
export const PAYMENT_HEADER_CHARS_MAX = 8 << 10;
/** A redemption header: two names, a time and a signature. 400 beyond. */
export const CREDIT_HEADER_CHARS_MAX = 4 << 10;
/** A serving receipt is a few hundred bytes. 413 beyond. */
export const RECEIPT_BYTES_MAX = 8 << 10;
/** Payments in verification or settlement at once: each costs calls to the chain. 503 beyond. */
export const SETTLING_MAX = 64;
/** Time that a customer's authorization must still be valid: settling takes a block or two. */
export const VALID_MARGIN_S = 6;
/** How long an authorization may be valid. An endless one could be used when nobody expects it. */
export const VALID_FOR_MAX_S = 86_400;
/** What the offer asks for: long enough to settle on a slow chain. */
export const PAYMENT_TIMEOUT_S = 120;
/** Wait for a transaction's receipt; then the payment stays open and is looked up again. */
export const CONFIRMATION_MS = 60_000;
/** One call to the chain. */
export const RPC_TIMEOUT_MS = 10_000;
/** How often the chain's health, open payments and the facilitator's gas are looked at. */
export const WATCH_MS = 5_000;
/** Blocks before the claim from which a settlement is searched: it cannot be older. */
export const SEARCH_MARGIN_BLOCKS = 64n;
/** A redemption's signature is good for this long at most: it is made for one request. */
export const REDEMPTION_VALID_S_MAX = 600;
/** Tokens that an answer may have where the request names no limit and the price is per token. */
export const DEFAULT_MAX_TOKENS = 256;
/**
 * Gas limit of one settlement, which takes 56,000 to 92,000 by the state of the slots. It is not
 * estimated again: the verification has just run the same call.
 */
export const SETTLE_GAS = 120_000n;
/** Gas limit of a sweep: the till's first one deploys it. Treasury and burn are two transfers. */
export const SWEEP_GAS = 500_000n;
/** Fees are asked for this often at most; twice the base fee holds for longer on any chain. */
export const FEES_MS = 2_000;
