/**
 * Receipts of storage audits: after every shard that a holder was found to have, the auditor tells it
 * so under its signature, and the holder puts these receipts into its report. Who may audit whom in
 * an epoch is drawn from the epoch's number, so that a holder cannot pick a friend; of a receipt's
 * size nothing is believed either: it follows from the promoted state that the shard is a part of.
 */
import { z } from "zod";
import type { Address, LedgerPlace } from "../../chain/ledger/ledger-types.ts";
import { addressSchema, epochSchema } from "../../chain/ledger/scalars.ts";
import { sha256, sha256Hex } from "../../core/bytes.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import { lengthPrefixed } from "../../network/auth.ts";
import { defineMessage } from "../../network/protocol.ts";
import type { Signer, Verifier } from "../../network/signer.ts";
import { publicKeySchema, signatureSchema } from "../../network/wire-types.ts";

/** Nodes that may audit one holder in one epoch. */
export const AUDITORS_PER_HOLDER = 3;

export const auditReceiptSchema = z.strictObject({
  epoch: epochSchema,
  holder: addressSchema,
  auditor: publicKeySchema,
  /** "<round>/<state hash>" of the promoted state that was cut into shards. */
  object: z.string().regex(/^\d{1,10}\/[0-9a-f]{64}$/),
  shard_index: z.int().min(0).max(255),
  size_bytes: z
    .int()
    .min(1)
    .max(2 ** 40),
  /** Seconds of storage that the auditor's samples of this shard in this epoch stand for. */
  held_s: z
    .int()
    .min(1)
    .max(86_400 * 7),
  signature: signatureSchema,
});
export type AuditReceipt = z.infer<typeof auditReceiptSchema>;

/** To the holder; a later receipt for the same shard stands for all before it. */
export const auditReceiptMessage = defineMessage({
  type: "ledger.audit",
  schema: auditReceiptSchema,
  limit_bytes: 1024,
  why: "an address, a key, a name, three numbers and a signature",
});

type Unsigned = Omit<AuditReceipt, "signature">;

function receiptDigest(place: LedgerPlace, receipt: Unsigned): Uint8Array {
  const { epoch, holder, object, shard_index, size_bytes, held_s } = receipt;
  const where = `${place.chain_id} ${place.epochs} ${epoch}`;
  const what = `${object} ${shard_index} ${size_bytes} ${held_s}`;
  return sha256(lengthPrefixed("magnet audit/1", where, holder, what));
}

export const signAuditReceipt = (
  place: LedgerPlace,
  receipt: Unsigned,
  signer: Signer,
): AuditReceipt => ({ ...receipt, signature: signer.sign(receiptDigest(place, receipt)) });

export const auditReceiptHolds = (
  place: LedgerPlace,
  receipt: AuditReceipt,
  verifier: Verifier,
): boolean => verifier.verify(receiptDigest(place, receipt), receipt.signature, receipt.auditor);

/** Name of a promoted state in a receipt. */
export const objectName = (round: number, state_hash: Hash): string => `${round}/${state_hash}`;

/** Who may audit `holder` in an epoch: rendezvous hashing over the active nodes, itself left out. */
export function auditorsOf(
  place: LedgerPlace,
  epoch: number,
  holder: Address,
  nodes: readonly { address: Address }[],
): Address[] {
  const rank = (auditor: Address) =>
    sha256Hex(`magnet auditor/1 ${place.chain_id} ${place.epochs} ${epoch} ${holder} ${auditor}`);
  return nodes
    .map(({ address }) => ({ address, value: rank(address) }))
    .filter(({ address }) => address !== holder)
    .sort((a, b) => (a.value < b.value ? -1 : 1))
    .slice(0, AUDITORS_PER_HOLDER)
    .map(({ address }) => address);
}

export const nodeIdHash = (public_key: PublicKey): Hash =>
  sha256Hex(Buffer.from(public_key, "hex")) as Hash;
