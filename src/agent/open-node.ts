/**
 * The parts of a node that face the network, opened from its options: transport and state machine.
 */
import path from "node:path";
import { roomLog } from "../core/log.ts";
import { walletVerifier } from "../network/auth.ts";
import { blobGet } from "../network/bulk-messages.ts";
import { openCertificate } from "../network/certificate.ts";
import { openPeerDatabase } from "../network/peer-database.ts";
import { PinStore } from "../network/tls-pins.ts";
import { createTransport, type Transport } from "../network/transport.ts";
import { roundProofRequest } from "./ledger/round-proof.ts";
import { networkConfigHash } from "./network-file.ts";
import { createNode, type NodeMachine } from "./node.ts";
import { protocol } from "./protocol.ts";
import { researchRequests } from "./research/messages.ts";
import type { NodeOptions } from "./runtime.ts";
import { trainingAuditRequests } from "./training-audits/messages.ts";

/** Listens; the peer database is to be closed after the transport. Throws PORT_IN_USE. */
export function openNetwork(options: NodeOptions): {
  transport: Transport;
  closeDatabase: () => void;
} {
  const { data_dir, identity, network, clock, random } = options;
  const database = openPeerDatabase(path.join(data_dir, "peers.sqlite"));
  try {
    const certificate = openCertificate(data_dir, identity, walletVerifier, random, clock);
    const transport = createTransport({
      identity,
      network: { id: network.id, config_hash: networkConfigHash(network) },
      listen: options.listen,
      ...(options.advertise === null ? {} : { advertise: options.advertise }),
      tier: options.tier,
      specs: protocol,
      requests: [blobGet, roundProofRequest, ...trainingAuditRequests, ...researchRequests],
      certificate,
      pins: new PinStore(database),
      clock,
      random,
      log: roomLog("network"),
    });
    return { transport, closeDatabase: () => database.close() };
  } catch (error) {
    database.close();
    throw error;
  }
}

/** The node in its initial state. */
export function makeMachine(options: NodeOptions, transport: Transport): NodeMachine {
  const { identity, network, random, tier } = options;
  const knocked = options.peers.map((address) => ({ address }));
  return createNode({
    signer: identity,
    verifier: walletVerifier,
    random,
    roster: network.roster,
    roster_hash: networkConfigHash(network),
    tier,
    address: transport.advertised,
    bootstrap: [...knocked, ...network.bootstrap],
    timing: network.timing,
  });
}
