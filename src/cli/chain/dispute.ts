/** `magnet chain dispute`: what is before the notaries: list, show, open, vote, resolve. */
import { formatMag } from "../../chain/amounts.ts";
import { formatChainTime } from "../../chain/chain-time.ts";
import type { Ledger } from "../../chain/client/ledger.ts";
import { voteOf } from "../../chain/ledger/digests.ts";
import { type Address, type Hex, OFFENCES } from "../../chain/ledger/ledger-types.ts";
import { sha256, sha256Hex } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import { readSmallFile } from "../../core/read-file.ts";
import { lengthPrefixed } from "../../network/auth.ts";
import type { Signer } from "../../network/signer.ts";
import { defineCommand, defineGroup } from "../frame/command.ts";
import { table } from "../frame/output.ts";
import { usageError } from "../frame/strict.ts";
import { CHAIN_FLAGS } from "./options.ts";
import { openSession, parseAccount, type Sending, type Session, withSending } from "./session.ts";

const PHASES = [
  "none",
  "drawing",
  "vote_commit",
  "vote_reveal",
  "guilty",
  "dismissed",
  "inconclusive",
] as const;
/** What a person can bring before the panel; the chain judges the others by itself. */
const CHALLENGES = ["false_tier", "bad_data", "bad_root"] as const;
/** Evidence is a document, not an archive. */
const EVIDENCE_BYTES_MAX = 64 << 20;

async function describe(ledger: Ledger, id: number) {
  // Phases follow the clock: of the next block, since a chain that mines on demand stands still.
  const dispute = await ledger.read("disputes", "disputeOf", [BigInt(id)], "pending");
  if (dispute.phase === 0)
    throw new MagnetError("UNKNOWN_DISPUTE", `there is no dispute ${id}`, {
      hint: "magnet chain dispute list",
      exit: "chain",
    });
  return {
    id,
    offence: OFFENCES[dispute.offence]!,
    phase: PHASES[dispute.phase]!,
    accused: dispute.accused.toLowerCase() as Address,
    challenger: dispute.challenger.toLowerCase() as Address,
    subject: dispute.subject,
    draw_block: Number(dispute.drawBlock),
    commit_end: Number(dispute.commitEnd),
    reveal_end: Number(dispute.revealEnd),
    guilty_votes: dispute.guiltyVotes,
    innocent_votes: dispute.innocentVotes,
    challenger_bond: dispute.challengerBond,
  };
}

/** SHA-256 of the evidence, which stands in the event of the challenge only. */
async function evidenceOf(ledger: Ledger, id: number): Promise<string> {
  const from = BigInt(ledger.deployment.block);
  const [made] = await ledger.events("disputes", "Challenged", { from, args: { id: BigInt(id) } });
  return made!.args.evidenceHash.slice(2);
}

type Described = Awaited<ReturnType<typeof describe>>;

const isOpen = ({ phase }: Described) =>
  phase === "drawing" || phase === "vote_commit" || phase === "vote_reveal";
const subjectText = ({ offence, subject }: Described) =>
  offence === "bad_data" && BigInt(subject) >> 255n === 1n
    ? `job ${BigInt(subject) & ((1n << 255n) - 1n)}`
    : `${offence === "bad_data" ? "record" : "epoch"} ${BigInt(subject)}`;

const list = defineCommand({
  summary: "Lists disputes, newest first",
  examples: [{ command: "magnet chain dispute list --open", does: "those not decided yet" }],
  args: {},
  flags: {
    ...CHAIN_FLAGS,
    open: { type: "boolean", summary: "only those that are not decided" },
    limit: { type: "integer", min: 1, max: 1000, default: 20, summary: "how many to look at" },
  },
  async run(context, { flags }) {
    const { ledger } = await openSession(context, flags);
    const count = Number(await ledger.read("disputes", "disputeCount", []));
    const disputes: Described[] = [];
    for (let id = count; id > Math.max(0, count - flags.limit); id--)
      disputes.push(await describe(ledger, id));
    const shown = flags.open ? disputes.filter(isOpen) : disputes;
    context.out.result("chain_disputes", { count, disputes: shown }, () =>
      shown.length === 0
        ? "no disputes"
        : table(
            ["id", "offence", "accused", "subject", "phase", "guilty", "innocent"],
            shown.map((d) => [
              ...[d.id, d.offence, d.accused, subjectText(d), d.phase],
              ...[d.guilty_votes, d.innocent_votes],
            ]),
          ),
    );
    return undefined;
  },
});

const ID = { value: "ID", summary: "number of the dispute" } as const;
function parseId(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw usageError("BAD_VALUE", `"${text}" is no dispute's number`, "magnet chain dispute list");
}

const show = defineCommand({
  summary: "Shows one dispute with its panel",
  examples: [{ command: "magnet chain dispute show 3", does: "phase, votes, panel, windows" }],
  args: { id: ID },
  flags: CHAIN_FLAGS,
  async run(context, { args, flags }) {
    const { ledger } = await openSession(context, flags);
    const dispute = await describe(ledger, parseId(args.id));
    const panel = await ledger.read("disputes", "panelOf", [BigInt(dispute.id)]);
    const evidence_hash = await evidenceOf(ledger, dispute.id);
    const time = (seconds: number) => (seconds === 0 ? "-" : `${formatChainTime(seconds)}Z`);
    context.out.result("chain_dispute", { ...dispute, evidence_hash, panel }, () =>
      [
        `dispute ${dispute.id}: ${dispute.offence}, ${subjectText(dispute)}, ${dispute.phase}`,
        `accused     ${dispute.accused}`,
        `challenger  ${dispute.challenger}, ${formatMag(dispute.challenger_bond)} MAG`,
        `evidence    SHA-256 ${evidence_hash}`,
        `votes       until ${time(dispute.commit_end)}, revealed until ${time(dispute.reveal_end)}`,
        `counted     ${dispute.guilty_votes} guilty, ${dispute.innocent_votes} innocent`,
        `panel       ${panel.length === 0 ? "not drawn" : panel.join(" ")}`,
      ].join("\n"),
    );
    return undefined;
  },
});

const open = defineCommand({
  summary: "Accuses a node before a panel of notaries",
  details:
    "Stakes the challenger's bond: it is lost where the panel dismisses the case, and half of what the\naccused is slashed comes on top where it does not. The evidence stays with you; its hash is kept.",
  examples: [
    {
      command:
        "magnet chain dispute open --offence bad_root --accused 0xab... --subject 12 --evidence record.json",
      does: "against the proposer of epoch 12",
    },
  ],
  args: {},
  flags: {
    ...CHAIN_FLAGS,
    offence: { type: "choice", options: CHALLENGES, required: true, summary: "what for" },
    accused: { type: "string", value: "KEY|ADDRESS", required: true, summary: "who" },
    subject: {
      type: "string",
      value: "N",
      required: true,
      summary: "epoch, number of the data record, or job:N",
    },
    evidence: { type: "string", value: "FILE", required: true, summary: "what proves it" },
  },
  async run(context, { flags }) {
    const match = /^(job:)?(\d{1,15})$/.exec(flags.subject);
    if (match === null)
      throw usageError("BAD_VALUE", `--subject cannot be "${flags.subject}"`, "12, or job:3");
    const number = BigInt(match[2]!) | (match[1] === undefined ? 0n : 1n << 255n);
    const subject: Hex = `0x${number.toString(16).padStart(64, "0")}`;
    const accused = parseAccount(flags.accused);
    const evidence_hash = sha256Hex(readSmallFile(flags.evidence, EVIDENCE_BYTES_MAX));
    return await withSending(context, flags, async (sending, { ledger }) => {
      const { challengerBond } = await ledger.read("params", "current", []);
      const offence = OFFENCES.indexOf(flags.offence);
      const hash: Hex = `0x${evidence_hash}`;
      await sending.approve(ledger.address("disputes"), challengerBond);
      const entry = await sending.send(
        ledger.call("disputes", "challenge", [offence, accused, subject, hash]),
      );
      const block = BigInt(entry.block_number!);
      const made = await ledger.events("disputes", "Challenged", { from: block, to: block });
      const own = made.find((event) => event.transactionHash === entry.tx_hash)!;
      const dispute = await describe(ledger, Number(own.args.id));
      const data = { ...dispute, evidence_hash, transactions: sending.sent };
      context.out.result("chain_dispute", data, `dispute ${dispute.id}, ${dispute.phase}`);
      return undefined;
    });
  },
});

/**
 * Drawn from the wallet, so that nothing has to be kept between vote and reveal: ECDSA here is
 * deterministic (RFC 6979), and nobody else can make this signature.
 */
const saltOf = (signer: Signer, { deployment }: Session, id: number): Hex => {
  const { chain_id, contracts } = deployment;
  const text = `${chain_id} ${contracts.disputes} ${id}`;
  return `0x${sha256Hex(signer.sign(sha256(lengthPrefixed("magnet vote salt/1", text))))}`;
};

/** Votes, or opens the vote, by the dispute's phase. */
async function voteNow(
  sending: Sending,
  session: Session,
  dispute: Described,
  guilty: boolean,
): Promise<"committed" | "revealed"> {
  const { ledger, deployment } = session;
  const { id, phase } = dispute;
  const salt = saltOf(sending.identity, session, id);
  const { chain_id, contracts } = deployment;
  const place = { chain_id, epochs: contracts.epochs, disputes: contracts.disputes };
  const times = { genesis_s: deployment.genesis, epoch_seconds: deployment.epoch_seconds };
  if (phase === "vote_commit") {
    const vote = voteOf({ ...place, ...times }, { id, notary: sending.address, guilty, salt });
    await sending.send(ledger.call("disputes", "commitVote", [BigInt(id), vote]));
    return "committed";
  }
  if (phase === "vote_reveal") {
    await sending.send(ledger.call("disputes", "revealVote", [BigInt(id), guilty, salt]));
    return "revealed";
  }
  throw new MagnetError("WRONG_PHASE", `dispute ${id} is in the phase ${phase}`, {
    hint: phase === "drawing" ? "its panel is not drawn yet" : "it is decided",
    exit: "chain",
  });
}

const vote = defineCommand({
  summary: "Votes on a dispute as a notary of its panel; again to open the vote",
  details:
    "Votes are sealed until all are cast. Run it once while the panel votes and once, with the same\nverdict, while votes are opened: `dispute show` tells the phase. A node that runs votes by itself.",
  examples: [{ command: "magnet chain dispute vote 3 --verdict guilty", does: "twice" }],
  args: { id: ID },
  flags: {
    ...CHAIN_FLAGS,
    verdict: {
      type: "choice",
      options: ["guilty", "innocent"],
      required: true,
      summary: "by the evidence",
    },
  },
  async run(context, { args, flags }) {
    const id = parseId(args.id);
    return await withSending(context, flags, async (sending, session) => {
      const dispute = await describe(session.ledger, id);
      const done = await voteNow(sending, session, dispute, flags.verdict === "guilty");
      const data = { id, vote: done, verdict: flags.verdict, transactions: sending.sent };
      const next = done === "committed" ? "; run it again to open it once votes are opened" : "";
      context.out.result("chain_vote", data, `vote on dispute ${id} ${done}${next}`);
      return undefined;
    });
  },
});

/** Who signed the settlement that a dispute is about: they do not judge it. */
async function signersOf(ledger: Ledger, { offence, subject }: Described): Promise<Address[]> {
  if (offence !== "bad_root") return [];
  const from = BigInt(ledger.deployment.block);
  const args = { epoch: BigInt(subject) };
  const settled = await ledger.events("epochs", "Settled", { from, args });
  return [...(settled.at(-1)?.args.signers ?? [])];
}

const advance = defineCommand({
  summary: "Draws the panel of a dispute, or counts its votes, whichever is due",
  details: "Anyone may; nodes that run do it by themselves.",
  examples: [{ command: "magnet chain dispute advance 3", does: "the next step of dispute 3" }],
  args: { id: ID },
  flags: CHAIN_FLAGS,
  async run(context, { args, flags }) {
    const id = parseId(args.id);
    return await withSending(context, flags, async (sending, { ledger }) => {
      const before = await describe(ledger, id);
      const call =
        before.phase === "drawing"
          ? ledger.call("disputes", "drawPanel", [BigInt(id), await signersOf(ledger, before)])
          : ledger.call("disputes", "resolve", [BigInt(id)]);
      await sending.send(call);
      const after = await describe(ledger, id);
      const data = { ...after, transactions: sending.sent };
      context.out.result("chain_dispute", data, `dispute ${id}: ${before.phase} -> ${after.phase}`);
      return undefined;
    });
  },
});

export const dispute = defineGroup(
  "disputes before the notaries: list, show, open, vote, advance",
  {
    list,
    show,
    open,
    vote,
    advance,
  },
);
