/** Every message type that a node understands, with its schema and limit: the whole protocol. */
import { ledgerMessages } from "../chain/ledger/messages.ts";
import { roundMessages } from "../diloco/round-messages.ts";
import { electionMessages } from "../network/election-messages.ts";
import { membershipMessages } from "../network/membership-messages.ts";
import type { MessageSpec } from "../network/protocol.ts";
import { storageMessages } from "../storage/messages.ts";
import { auditReceiptMessage } from "./ledger/audit-receipts.ts";
import { trainingAuditMessages } from "./training-audits/messages.ts";

/** All message declarations of the node's machines; types are unique. */
export const protocol: readonly MessageSpec[] = [
  ...membershipMessages,
  ...electionMessages,
  ...roundMessages,
  ...storageMessages,
  ...ledgerMessages,
  auditReceiptMessage,
  ...trainingAuditMessages,
];
