/** Building blocks of message schemas: every field from a peer has a shape and a length. */
import { z } from "zod";
import type { Hash, PublicKey } from "../core/types.ts";

/** SHA-256 as 64 lower-case hex digits. */
export const hashSchema = z
  .string()
  .regex(/^[0-9a-f]{64}$/)
  .transform((text) => text as Hash);

/** Compressed secp256k1 key as 66 lower-case hex digits. */
export const publicKeySchema = z
  .string()
  .regex(/^0[23][0-9a-f]{64}$/)
  .transform((text) => text as PublicKey);

/** 65-byte recoverable signature as 130 lower-case hex digits. */
export const signatureSchema = z.string().regex(/^[0-9a-f]{130}$/);

/** Rounds are numbered from 0 over all jobs of a network and never reused. */
export const roundSchema = z
  .int()
  .min(0)
  .max(2 ** 31);

/** A view lasts a view timeout at least, later ones 32 of them: so many take months. */
export const viewSchema = z
  .int()
  .min(0)
  .max(2 ** 20);

/** Largest network: above it the leader's quadratic acknowledgements need another protocol. */
export const ROSTER_MAX = 1024;

/** Milliseconds since the Unix epoch, up to the year 2255. */
export const timeSchema = z.int().min(0).max(9e12);
