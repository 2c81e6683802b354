/** Shapes of single values in reports, records and messages of the ledger. */
import { z } from "zod";

/** Largest amount or score: it must fit a uint128 with room for sums in a uint256. */
export const AMOUNT_MAX = 2n ** 128n - 1n;

/** A whole number as a decimal string without sign or leading zeros, up to 2^128 - 1. */
export const decimalSchema = z
  .string()
  .max(39)
  .regex(/^(0|[1-9][0-9]*)$/)
  .refine((text) => BigInt(text) <= AMOUNT_MAX);

export const addressSchema = z
  .string()
  .regex(/^0x[0-9a-f]{40}$/)
  .transform((text) => text as `0x${string}`);

/** 32 bytes of the chain: "0x" and 64 lower-case hex digits. */
export const wordSchema = z
  .string()
  .regex(/^0x[0-9a-f]{64}$/)
  .transform((text) => text as `0x${string}`);

/** Epochs are counted from the ledger's genesis. */
export const epochSchema = z
  .int()
  .min(0)
  .max(2 ** 40);
