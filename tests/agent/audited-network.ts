/** Real nodes whose every contribution is audited, and how their audits stand. */
import type { NodeOptions } from "../../src/agent/runtime.ts";
import type { AuditCounts } from "../../src/agent/training-audits/book.ts";
import type { AuditOptions } from "../../src/agent/training-audits/training-audits.ts";
import { type Member, TestNetwork, until } from "./real-nodes.ts";

/** For what takes a few rounds, on a machine that does other things too. */
export const AUDIT_LIMIT_MS = 120_000;
/** Everything is audited, and claims are answered soon. */
export const AUDITS: AuditOptions = { share: 1, poll_ms: 200 };

export async function auditedNetwork(
  members: number,
  seed: number,
  audits: AuditOptions = {},
  /** Of the first member. */
  overrides: Partial<NodeOptions> = {},
): Promise<TestNetwork> {
  const network = new TestNetwork(members, 0, seed);
  const options = { audits: { ...AUDITS, ...audits } };
  const [first, ...others] = network.members;
  await first!.start([], { ...options, ...overrides });
  for (const member of others) await member.start([first!], options);
  await until("everyone to be seen by everyone", () =>
    network.members.every(({ running }) => running.transport.peers().length === members - 1),
  );
  return network;
}

export const countsOf = ({ running }: Member): AuditCounts => running.audits.book.counts();

export const sumOf = (members: readonly Member[], key: keyof AuditCounts): number =>
  members.reduce((sum, member) => sum + countsOf(member)[key], 0);

/** Whether this member leaves the other one's commitments out. */
export const leavesOut = (member: Member, { identity }: Member): boolean =>
  member.running.audits
    .status()
    .left_out.some(({ public_key }) => public_key === identity.public_key);
