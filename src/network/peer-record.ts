/** A node's signed, dated statement of where it can be reached. */
import { canonicalJson, sha256 } from "../core/bytes.ts";
import type { PeerRecord } from "./membership-messages.ts";
import type { Signer, Verifier } from "./signer.ts";

type Unsigned = Omit<PeerRecord, "signature">;

/** The address is free text, so the fields go through JSON: no two records share an encoding. */
const digest = ({ public_key, address, tier, issued_ms }: Unsigned): Uint8Array =>
  sha256("magnet/peer-record/1\n", canonicalJson({ public_key, address, tier, issued_ms }));

/** Signs this node's own record. */
export function signRecord(signer: Signer, fields: Omit<Unsigned, "public_key">): PeerRecord {
  const unsigned: Unsigned = { ...fields, public_key: signer.public_key };
  return { ...unsigned, signature: signer.sign(digest(unsigned)) };
}

/** True if the node that the record names signed it. */
export const verifyRecord = (verifier: Verifier, record: PeerRecord): boolean =>
  verifier.verify(digest(record), record.signature, record.public_key);
