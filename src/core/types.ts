/** Distinct types for the identifiers that must not be mixed up. */
declare const brand: unique symbol;
type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** "node-" and 16 hex digits: a label for people; every check compares the full public key. */
export type NodeId = Brand<string, "NodeId">;
/** Compressed secp256k1 public key, 66 lower-case hex digits: the identity. */
export type PublicKey = Brand<string, "PublicKey">;
/** SHA-256, 64 lower-case hex digits. */
export type Hash = Brand<string, "Hash">;
/** CIDv1 (raw, sha2-256, base32) of an object's manifest. */
export type Cid = Brand<string, "Cid">;
/** Number of a DiLoCo round, from 0. */
export type Round = Brand<number, "Round">;
