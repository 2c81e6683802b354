/** The error of a failed dial, with what the user can do about it. */
import { MagnetError } from "../core/errors.ts";
import type { HandshakeRefusal } from "./handshake.ts";

/** Every call after `close`. */
export const closedError = () =>
  new MagnetError("TRANSPORT_CLOSED", "this node's network is closed");

/**
 * Errors of a dial by the refusal's code, which a peer may have chosen: unknown ones are
 * PEER_REFUSED.
 */
export function dialError(address: string, { code, message }: HandshakeRefusal): MagnetError {
  const hint = DIAL_HINTS[code];
  const isRetryable = code === "HANDSHAKE_FAILED" || code === "BARRED";
  return new MagnetError(hint ? code : "PEER_REFUSED", `${address}: ${message}`, {
    hint: hint ?? "look into that node's log",
    retryable: isRetryable,
    exit: isRetryable ? "unreachable" : "auth",
  });
}

const TRUST_HINT = "if the change is legitimate: magnet peers trust reset ID";
const DIAL_HINTS: Record<string, string> = {
  PROTOCOL_VERSION: "update magnet on both machines",
  WRONG_NETWORK: "that node belongs to another network",
  NETWORK_CONFIG: "join both nodes with the same network file",
  SAME_IDENTITY: "a node does not dial itself; a copied data folder needs a key of its own",
  PEER_IDENTITY: "somebody else answers at that address; do not trust it",
  CERTIFICATE_MISMATCH: "somebody may listen in between; try from another network",
  CERTIFICATE_CHANGED: TRUST_HINT,
  PEER_CHANGED: TRUST_HINT,
  IDENTITY_IN_USE: "one wallet key runs one node: stop the other process",
  BARRED: "wait five minutes",
  HANDSHAKE_MALFORMED: "is it a magnet node?",
  HANDSHAKE_FAILED: "is it a magnet node, and is it not overloaded?",
};
