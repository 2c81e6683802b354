/** What `magnet serve --paid` sells by: its prices, the network's ledger, the node's key. */
import { parseMag } from "../../chain/amounts.ts";
import { systemClock } from "../../core/clock.ts";
import type { Config } from "../../core/config.ts";
import { MagnetError } from "../../core/errors.ts";
import { roomLog } from "../../core/log.ts";
import type { PaidApi } from "../../http/paid/open-paid.ts";
import { DEFAULT_PRICE, type PriceList, readPriceList } from "../../http/paid/prices.ts";
import { usageError } from "../frame/strict.ts";

export const PAID_FLAGS = {
  paid: { type: "boolean", summary: "sell answers through x402: who brings no key pays" },
  prices: { type: "string", value: "FILE", summary: "price list (docs/paid-api.md)" },
  price: { type: "string", value: "MAG", summary: "of a request (0.001)" },
  "price-per-token": { type: "string", value: "MAG", summary: "of a token asked for (0)" },
  rpc: { type: "string", value: "URL", summary: "of the chain with the network's ledger" },
  network: { type: "string", value: "FILE", summary: "network file that names the ledger" },
  "sweep-every": {
    type: "integer",
    min: 0,
    max: 2_592_000,
    default: 3600,
    summary: "seconds between splits of the income; 0: by command",
  },
} as const;

export interface PaidFlags {
  paid: boolean;
  prices: string | undefined;
  price: string | undefined;
  price_per_token: string | undefined;
  sweep_every: number;
}

/** Prices by the flags; a file's own come before them. Throws BAD_AMOUNT, BAD_PRICES. */
export function pricesOf({ prices, price, price_per_token }: PaidFlags): PriceList {
  const base = {
    ...DEFAULT_PRICE,
    ...(price === undefined ? {} : { request: parseMag(price) }),
    ...(price_per_token === undefined ? {} : { output_token: parseMag(price_per_token) }),
  };
  if (prices === undefined) return { all: base, models: new Map() };
  return readPriceList(prices, base);
}

/** Throws unless the flags of selling come with --paid. */
export function checkPaidFlags(flags: PaidFlags): void {
  const { paid, prices, price, price_per_token } = flags;
  if (paid || (prices ?? price ?? price_per_token) === undefined) return;
  throw usageError("MISSING_FLAG", "prices are of a server that sells", "add --paid");
}

/** Opens the paid API of the configuration. viem and x402 are loaded only here. */
export async function openPaid(
  { values }: Pick<Config, "values">,
  flags: PaidFlags,
): Promise<PaidApi> {
  const { ledgerPlace } = await import("../ledger-place.ts");
  const { keyStorageOf } = await import("../../agent/key-place.ts");
  const { loadIdentity } = await import("../../network/key-storage.ts");
  const { ledgerAccount } = await import("../../chain/client/account.ts");
  const { openPaidApi } = await import("../../http/paid/open-paid.ts");
  const prices = pricesOf(flags);
  const { ledger, rpc_url } = ledgerPlace(values);
  if (rpc_url === undefined)
    throw new MagnetError("NO_RPC", "the chain's RPC is not known", {
      hint: "give --rpc URL, or set chain.rpc",
      exit: "config",
    });
  return openPaidApi({
    ...{ rpc_url, prices, chain_id: ledger.chain_id, asset: ledger.contracts.mag_token },
    revenue: ledger.contracts.revenue,
    account: ledgerAccount(loadIdentity(keyStorageOf(values, process.env))),
    data_dir: values.node.data_dir,
    sweep_every_s: flags.sweep_every,
    ...{ clock: systemClock, log: roomLog("http") },
  });
}
