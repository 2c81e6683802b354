/**
 * What an answer costs: a price list of the server's, and the quote of one request. A quote is
 * known before the work begins, since it is paid before: it counts the tokens that the answer may
 * have at most, not those that it will have. Amounts are base units of the token.
 */
import { z } from "zod";
import { formatMag, parseMag } from "../../chain/amounts.ts";
import { MagnetError } from "../../core/errors.ts";
import { readSmallText } from "../../core/read-file.ts";

export interface Price {
  /** Of every request. */
  request: bigint;
  /** Of every token that the answer may have. */
  output_token: bigint;
  /** Of every started KiB of the request. */
  input_kib: bigint;
}

/** Prices of all models, and of single ones by their id. */
export interface PriceList {
  all: Price;
  models: ReadonlyMap<string, Price>;
}

/** What a request may use. */
export interface Usage {
  model: string;
  /** Of all choices together. */
  output_tokens: number;
  input_bytes: number;
}

/** Price of one request. Never 0: a payment of nothing is none. */
export function quote(list: PriceList, { model, output_tokens, input_bytes }: Usage): bigint {
  const price = list.models.get(model) ?? list.all;
  const kib = BigInt(Math.ceil(input_bytes / 1024));
  const sum = price.request + price.output_token * BigInt(output_tokens) + price.input_kib * kib;
  return sum > 0n ? sum : 1n;
}

const PRICE_BYTES_MAX = 1 << 20;
const tokens = z.string().max(64).optional();
const priceSchema = z.strictObject({ request: tokens, output_token: tokens, input_kib: tokens });
const listSchema = z.strictObject({
  all: priceSchema.optional(),
  models: z.record(z.string().min(1).max(256), priceSchema).default({}),
});

/** 0.001 MAG a request: small, and not nothing. */
export const DEFAULT_PRICE: Price = { request: 10n ** 15n, output_token: 0n, input_kib: 0n };

/** What a part leaves out is taken from `rest`. */
function priceOf(given: z.infer<typeof priceSchema>, rest: Price): Price {
  const part = (name: keyof Price) => {
    const text = given[name];
    return text === undefined ? rest[name] : parseMag(text);
  };
  return {
    request: part("request"),
    output_token: part("output_token"),
    input_kib: part("input_kib"),
  };
}

/** A price list's JSON: amounts in MAG as texts. Throws BAD_PRICES naming the file. */
export function readPriceList(file: string, base: Price): PriceList {
  try {
    const { all, models } = listSchema.parse(JSON.parse(readSmallText(file, PRICE_BYTES_MAX)));
    const ours = priceOf(all ?? {}, base);
    const entries = Object.entries(models).map(([id, p]) => [id, priceOf(p, ours)] as const);
    return { all: ours, models: new Map(entries) };
  } catch (cause) {
    if (cause instanceof MagnetError && cause.code !== "BAD_AMOUNT") throw cause;
    const issue = cause instanceof z.ZodError ? cause.issues[0] : undefined;
    const what = issue ? `${issue.path.join(".")}: ${issue.message}` : (cause as Error).message;
    throw new MagnetError("BAD_PRICES", `${file} is no price list: ${what}`, {
      hint: 'for example {"all": {"request": "0.001"}, "models": {"large": {"output_token": "0.0001"}}}',
      exit: "config",
      cause,
    });
  }
}

/** As the offer shows it. */
export const priceDocument = (price: Price): Record<keyof Price, string> => ({
  request: price.request.toString(),
  output_token: price.output_token.toString(),
  input_kib: price.input_kib.toString(),
});

/** For people. */
export function priceText({ request, output_token, input_kib }: Price): string {
  const parts = [`${formatMag(request)} MAG a request`];
  if (output_token > 0n) parts.push(`${formatMag(output_token)} a token asked for`);
  if (input_kib > 0n) parts.push(`${formatMag(input_kib)} a KiB sent`);
  return parts.join(", ");
}
