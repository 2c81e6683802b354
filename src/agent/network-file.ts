/**
 * The network file: who may vote and with which parameters. Its network-wide part is hashed into
 * the handshake, so nodes with different rules never talk past each other; bootstrap addresses are
 * local advice and stay outside the hash.
 */
import { z } from "zod";
import { deploymentSchema } from "../chain/client/deployment.ts";
import { canonicalJson, sha256Hex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import { readSmallText } from "../core/read-file.ts";
import type { Hash, PublicKey } from "../core/types.ts";

/** A network file is a few kilobytes even with 1,000 members. */
const FILE_LIMIT_BYTES = 4 << 20;
/** Above this many voters the leader's quadratic acknowledgements need another protocol. */
const ROSTER_MAX = 1024;

const publicKeySchema = z
  .string()
  .regex(/^0[23][0-9a-f]{64}$/, "a compressed secp256k1 public key in lower-case hexadecimal")
  .transform((key) => key as PublicKey);

export const networkFileSchema = z.strictObject({
  schema: z.literal("magnet.network/1"),
  /** Name that separates networks; part of every signature. */
  id: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "lower-case letters, digits and dashes"),
  /** Roster generation 0: the members that elect leaders and certify merges. */
  roster: z.array(publicKeySchema).min(1).max(ROSTER_MAX),
  timing: z
    .strictObject({
      heartbeat_ms: z.int().min(50).max(60_000).default(1000),
      suspect_ms: z.int().min(100).max(600_000).default(5000),
      dead_ms: z.int().min(200).max(3_600_000).default(15_000),
      /** delta of the election: view v waits delta * 2^v. */
      view_timeout_ms: z.int().min(200).max(600_000).default(5000),
      /** After a quorum of commitments, how long the leader waits for the others. */
      grace_ms: z.int().min(0).max(3_600_000).default(10_000),
      /** How long a shard holder may be silent before its shards are rebuilt elsewhere. */
      repair_after_ms: z.int().min(500).max(86_400_000).default(120_000),
    })
    .prefault({}),
  storage: z
    .strictObject({
      data_shards: z.int().min(1).max(128).default(4),
      parity_shards: z.int().min(1).max(64).default(2),
    })
    .prefault({}),
  /** Where contributions are counted and paid (magnet chain deploy); absent: nowhere. */
  ledger: deploymentSchema.optional(),
  /** Where to knock first; not part of the configuration hash. */
  bootstrap: z
    .array(z.strictObject({ address: z.string().max(256), public_key: publicKeySchema.optional() }))
    .max(256)
    .default([]),
});
export type NetworkFile = z.infer<typeof networkFileSchema>;

/** Hash over everything that must be equal on every node. */
export function networkConfigHash(network: NetworkFile): Hash {
  const { bootstrap: _local, ...shared } = network;
  return sha256Hex(canonicalJson({ ...shared, roster: [...shared.roster].sort() })) as Hash;
}

/** Reads and checks a network file; every problem names the file and the field. */
export function readNetworkFile(file: string): NetworkFile {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readSmallText(file, FILE_LIMIT_BYTES));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new MagnetError("NETWORK_FILE_INVALID", `${file} is not JSON`, {
      hint: "make one with: magnet network create",
      exit: "config",
      cause: error,
    });
  }
  const result = networkFileSchema.safeParse(parsed);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    throw new MagnetError(
      "NETWORK_FILE_INVALID",
      `${file}: ${issue.path.join(".") || "document"}: ${issue.message}`,
      { hint: "compare with the output of: magnet network create", exit: "config" },
    );
  }
  if (new Set(result.data.roster).size !== result.data.roster.length)
    throw new MagnetError("NETWORK_FILE_INVALID", `${file}: the roster names a key twice`, {
      hint: "each member has one key and one vote",
      exit: "config",
    });
  return result.data;
}
