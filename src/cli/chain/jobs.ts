/**
 * `magnet chain jobs`: research jobs in escrow. The requester locks the reward with the hash of a
 * specification; one active node takes the job and hands in the hash of its result; the reward is
 * paid when the requester accepts it, or lets the review pass without contesting.
 */
import { formatMag, parseMag } from "../../chain/amounts.ts";
import { formatChainTime } from "../../chain/chain-time.ts";
import type { Call, Ledger } from "../../chain/client/ledger.ts";
import { parseDuration } from "../../core/duration.ts";
import { MagnetError } from "../../core/errors.ts";
import { type Context, defineCommand, defineGroup } from "../frame/command.ts";
import { table } from "../frame/output.ts";
import { usageError } from "../frame/strict.ts";
import { hashFile } from "./hash-file.ts";
import { CHAIN_FLAGS, type ChainFlags } from "./options.ts";
import { newest, openSession, type Sending, type Session, withSending } from "./session.ts";

/** A reward that is locked for longer is a slip. */
const WITHIN_MS_MAX = 3_650 * 86_400_000;
/** In the order of the contract. */
const STATES = [
  ...(["none", "open", "taken", "submitted", "paid", "refunded", "contested"] as const),
];
type State = (typeof STATES)[number];

const ID = { value: "ID", summary: "number of the job" } as const;
/** Numbers of jobs and records. Throws BAD_VALUE. */
export function parseNumber(text: string): bigint {
  if (/^[1-9]\d{0,14}$/.test(text)) return BigInt(text);
  throw usageError("BAD_VALUE", `"${text.slice(0, 32)}" is no number`, "for example 3");
}

/** A job as it is shown; 0 and empty words are null. */
async function describe(ledger: Ledger, id: bigint) {
  const job = await ledger.read("revenue", "jobOf", [id]);
  const state: State = STATES[job.state] ?? "none";
  const given = (word: string) => (/^0x0*$/.test(word) ? null : word.slice(2).toLowerCase());
  const worker = given(job.worker);
  return {
    id: Number(id),
    state,
    requester: job.requester.toLowerCase(),
    worker: worker === null ? null : `0x${worker}`,
    reward: job.reward,
    deadline: Number(job.deadline),
    review_end: job.reviewEnd === 0n ? null : Number(job.reviewEnd),
    before_panel: job.held,
    spec_hash: given(job.specHash),
    result_hash: given(job.resultHash),
  };
}
type Job = Awaited<ReturnType<typeof describe>>;

/** What comes next, and from whom. */
function nextOf(job: Job): string {
  const review = job.review_end === null ? "" : formatChainTime(job.review_end);
  if (job.before_panel) return "the panel decides";
  switch (job.state) {
    case "open":
      return `to be taken until ${formatChainTime(job.deadline)}`;
    case "taken":
      return `result due until ${formatChainTime(job.deadline)}`;
    case "submitted":
      return `requester accepts or contests until ${review}`;
    case "contested":
      return `requester brings it before the panel until ${review}`;
    default:
      return "done";
  }
}

function jobText(job: Job): string {
  const rows: [string, string | null][] = [
    ["job", `${job.id}, ${job.state}: ${nextOf(job)}`],
    ["reward", `${formatMag(job.reward)} MAG`],
    ["requester", job.requester],
    ["worker", job.worker],
    ["spec", job.spec_hash],
    ["result", job.result_hash],
  ];
  const shown = rows.filter(([, value]) => value !== null);
  return shown.map(([name, value]) => `${name.padEnd(10)} ${value}`).join("\n");
}

/** Sends one call about a job and shows what the job is then. */
const acting = (
  context: Context,
  flags: ChainFlags,
  id: bigint,
  call: (ledger: Ledger) => Call | Promise<Call>,
): Promise<undefined> =>
  withSending(context, flags, async (sending, { ledger }) => {
    await sending.send(await call(ledger));
    return show(context, sending, await describe(ledger, id));
  });

function show({ out }: Context, sending: Sending, job: Job): undefined {
  out.result("chain_job", { ...job, transactions: sending.sent }, () => jobText(job));
  return undefined;
}

/** Seconds from now, by the chain. Throws BAD_VALUE. */
async function deadlineOf({ ledger }: Session, text: string): Promise<bigint> {
  const ms = parseDuration(text);
  if (ms === undefined || ms < 1000 || ms > WITHIN_MS_MAX)
    throw usageError(
      "BAD_VALUE",
      `--within cannot be "${text}"`,
      "a time such as 2h or 7d, ten years at most",
    );
  return BigInt((await ledger.time()) + Math.ceil(ms / 1000));
}

const create = defineCommand({
  summary: "Offers a job: locks its reward with the hash of its specification",
  details:
    "The specification stays with you: publish it where nodes find it; its SHA-256 on the chain says\nwhich text was meant. A job that nobody finishes in time is refunded (chain jobs settle).",
  examples: [
    {
      command: "magnet chain jobs create --spec task.md --reward 25 --within 7d",
      does: "25 MAG for a result within a week",
    },
  ],
  args: {},
  flags: {
    ...CHAIN_FLAGS,
    spec: { type: "string", value: "FILE", required: true, summary: "what is to be done" },
    reward: { type: "string", value: "MAG", required: true, summary: "locked until it is settled" },
    within: { type: "string", value: "TIME", required: true, summary: "for the result, e.g. 7d" },
  },
  async run(context, { flags }) {
    const reward = parseMag(flags.reward);
    const spec = await hashFile(flags.spec);
    return await withSending(context, flags, async (sending, session) => {
      const { ledger } = session;
      const deadline = await deadlineOf(session, flags.within);
      await sending.approve(ledger.address("revenue"), reward);
      const entry = await sending.send(
        ledger.call("revenue", "createJob", [`0x${spec.hash}`, reward, deadline]),
      );
      const block = BigInt(entry.block_number!);
      const made = await ledger.events("revenue", "JobCreated", { from: block, to: block });
      const own = made.find((event) => event.transactionHash === entry.tx_hash)!;
      return show(context, sending, await describe(ledger, own.args.id));
    });
  },
});

const take = defineCommand({
  summary: "Takes an open job, as an active node",
  examples: [{ command: "magnet chain jobs take 3", does: "then: chain jobs submit" }],
  args: { id: ID },
  flags: CHAIN_FLAGS,
  run: (context, { args, flags }) => {
    const id = parseNumber(args.id);
    return acting(context, flags, id, (ledger) => ledger.call("revenue", "takeJob", [id]));
  },
});

const submit = defineCommand({
  summary: "Hands in a result: its hash goes on the chain, the file to the requester",
  examples: [
    { command: "magnet chain jobs submit 3 --result answer.tar", does: "before the deadline" },
  ],
  args: { id: ID },
  flags: {
    ...CHAIN_FLAGS,
    result: { type: "string", value: "FILE", required: true, summary: "what was found" },
  },
  async run(context, { args, flags }) {
    const id = parseNumber(args.id);
    const { hash } = await hashFile(flags.result);
    return acting(context, flags, id, (ledger) =>
      ledger.call("revenue", "submitResult", [id, `0x${hash}`]),
    );
  },
});

const accept = defineCommand({
  summary: "Accepts a result: the reward is paid at once",
  details: "With --result the file must be the one whose hash was handed in.",
  examples: [
    { command: "magnet chain jobs accept 3 --result answer.tar", does: "after a look at it" },
  ],
  args: { id: ID },
  flags: {
    ...CHAIN_FLAGS,
    result: { type: "string", value: "FILE", summary: "the result that you have" },
  },
  async run(context, { args, flags }) {
    const id = parseNumber(args.id);
    const had = flags.result === undefined ? undefined : await hashFile(flags.result);
    return acting(context, flags, id, async (ledger) => {
      const { result_hash } = await describe(ledger, id);
      if (had !== undefined && had.hash !== result_hash) throw otherResult(flags.result!);
      return ledger.call("revenue", "acceptResult", [id]);
    });
  },
});

const otherResult = (file: string) =>
  new MagnetError("RESULT_DIFFERS", `${file} is not the result that was handed in`, {
    hint: "ask the worker for the file of that hash, or contest the job",
    exit: "verification",
  });

const contest = defineCommand({
  summary: "Contests a result within its review; then bring it before the panel",
  details:
    "The reason's hash goes on the chain. Open the dispute within the next window, or the worker is paid:\nmagnet chain dispute open --offence bad_data --subject job:ID --accused WORKER --evidence FILE.",
  examples: [{ command: "magnet chain jobs contest 3 --reason why.md", does: "by the requester" }],
  args: { id: ID },
  flags: {
    ...CHAIN_FLAGS,
    reason: { type: "string", value: "FILE", required: true, summary: "what is wrong with it" },
  },
  async run(context, { args, flags }) {
    const id = parseNumber(args.id);
    const { hash } = await hashFile(flags.reason);
    return acting(context, flags, id, (ledger) =>
      ledger.call("revenue", "contestResult", [id, `0x${hash}`]),
    );
  },
});

const settle = defineCommand({
  summary: "Pays a job after its review, or refunds one that was not finished in time",
  details: "Anyone may do it once the time has come.",
  examples: [{ command: "magnet chain jobs settle 3", does: "after the review window" }],
  args: { id: ID },
  flags: CHAIN_FLAGS,
  run: (context, { args, flags }) => {
    const id = parseNumber(args.id);
    return acting(context, flags, id, (ledger) => ledger.call("revenue", "settleJob", [id]));
  },
});

const list = defineCommand({
  summary: "Lists jobs, newest first",
  examples: [{ command: "magnet chain jobs list --state open", does: "what can be taken" }],
  args: {},
  flags: {
    ...CHAIN_FLAGS,
    state: { type: "choice", options: STATES.slice(1), summary: "only these" },
    limit: { type: "integer", min: 1, max: 1000, default: 20, summary: "how many to look at" },
  },
  async run(context, { flags }) {
    const { ledger } = await openSession(context, flags);
    const count = await ledger.read("revenue", "jobCount", []);
    const shown = await newest(count, flags, (id) => describe(ledger, id));
    context.out.result("chain_jobs", { count: Number(count), jobs: shown }, () =>
      table(
        ["job", "state", "reward", "next"],
        shown.map((job) => [job.id, job.state, `${formatMag(job.reward)} MAG`, nextOf(job)]),
      ),
    );
    return undefined;
  },
});

export const jobs = defineGroup(
  "research jobs in escrow: create, take, submit, accept, contest, settle, list",
  { create, take, submit, accept, contest, settle, list },
);
