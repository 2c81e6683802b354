/**
 * `magnet chain data`: data sets on the ledger. A contributor registers the hash of a set and pays
 * the fee; who finds it false or harmful disputes it within the window; later it is confirmed and
 * the fee is split. `measure` runs the reference run that tells how good a set is.
 */
import { formatMag } from "../../chain/amounts.ts";
import { formatChainTime } from "../../chain/chain-time.ts";
import type { Ledger } from "../../chain/client/ledger.ts";
import { MagnetError } from "../../core/errors.ts";
import { readSmallText } from "../../core/read-file.ts";
import { type Context, defineCommand, defineGroup } from "../frame/command.ts";
import { table } from "../frame/output.ts";
import { usageError } from "../frame/strict.ts";
import { hashFile } from "./hash-file.ts";
import { parseNumber } from "./jobs.ts";
import { CHAIN_FLAGS } from "./options.ts";
import { newest, openSession, type Sending, withSending } from "./session.ts";

/** In the order of the contract. */
const STATES = [...(["none", "pending", "challenged", "confirmed", "rejected"] as const)];
/** Larger sets are measured by pieces of them, which must be read first. */
const SET_BYTES_MAX = 1 << 30;
const DOCUMENT_BYTES_MAX = 1 << 20;

async function describe(ledger: Ledger, id: bigint) {
  const record = await ledger.read("dataRegistry", "recordOf", [id]);
  return {
    id: Number(id),
    state: STATES[record.state] ?? "none",
    contributor: record.contributor.toLowerCase(),
    content_hash: record.contentHash.slice(2),
    size_bytes: Number(record.sizeBytes),
    uri: record.uri,
    fee: record.fee,
    registered_at: Number(record.registeredAt),
    challenge_end: Number(record.challengeEnd),
  };
}
type Record = Awaited<ReturnType<typeof describe>>;

const recordText = (record: Record) =>
  [
    `record       ${record.id}, ${record.state}`,
    `content      ${record.content_hash} (${record.size_bytes} bytes)`,
    `where        ${record.uri === "" ? "not said" : record.uri}`,
    `contributor  ${record.contributor}`,
    `fee          ${formatMag(record.fee)} MAG`,
    `disputed     until ${formatChainTime(record.challenge_end)}`,
  ].join("\n");

function show({ out }: Context, sending: Sending, record: Record): undefined {
  out.result("chain_data", { ...record, transactions: sending.sent }, () => recordText(record));
  return undefined;
}

/** A record by its number, or by the file it is of. */
async function idOf(ledger: Ledger, given: string): Promise<bigint> {
  if (/^\d+$/.test(given)) return parseNumber(given);
  const { hash } = await hashFile(given);
  const id = await ledger.read("dataRegistry", "recordByHash", [`0x${hash}`]);
  if (id > 0n) return id;
  throw new MagnetError("UNKNOWN_RECORD", `${given} is not registered (${hash})`, {
    hint: "magnet chain data register FILE; the file must be the same to the byte",
    exit: "chain",
  });
}

const register = defineCommand({
  summary: "Registers a data set by its hash, as an active node, and pays the fee",
  details:
    "The set itself stays where --uri says; nobody can be paid for one that they cannot show. Whoever\nfinds it false or harmful disputes it within the window: magnet chain dispute open --offence bad_data.",
  examples: [
    {
      command: "magnet chain data register set.jsonl --uri https://a.example/set.jsonl",
      does: "once",
    },
  ],
  args: { file: { value: "FILE", summary: "the data set" } },
  flags: {
    ...CHAIN_FLAGS,
    uri: { type: "string", value: "URI", default: "", summary: "where others find it" },
  },
  async run(context, { args, flags }) {
    const { hash, size_bytes } = await hashFile(args.file);
    if (size_bytes === 0)
      throw usageError("BAD_VALUE", `${args.file} is empty`, "name the data set");
    return await withSending(context, flags, async (sending, { ledger }) => {
      const { dataFee } = await ledger.read("params", "current", []);
      await sending.approve(ledger.address("dataRegistry"), dataFee);
      await sending.send(
        ledger.call("dataRegistry", "registerData", [`0x${hash}`, BigInt(size_bytes), flags.uri]),
      );
      return show(context, sending, await describe(ledger, await idOf(ledger, args.file)));
    });
  },
});

const confirm = defineCommand({
  summary: "Confirms a record after its window: the fee is split",
  details: "Anyone may do it once the time has come.",
  examples: [{ command: "magnet chain data confirm 3", does: "or: confirm set.jsonl" }],
  args: { record: { value: "ID|FILE", summary: "number of the record, or the set" } },
  flags: CHAIN_FLAGS,
  async run(context, { args, flags }) {
    return await withSending(context, flags, async (sending, { ledger }) => {
      const id = await idOf(ledger, args.record);
      await sending.send(ledger.call("dataRegistry", "confirm", [id]));
      return show(context, sending, await describe(ledger, id));
    });
  },
});

const list = defineCommand({
  summary: "Lists registered data sets, newest first",
  examples: [{ command: "magnet chain data list --state pending", does: "what can be disputed" }],
  args: {},
  flags: {
    ...CHAIN_FLAGS,
    state: { type: "choice", options: STATES.slice(1), summary: "only these" },
    limit: { type: "integer", min: 1, max: 1000, default: 20, summary: "how many to look at" },
  },
  async run(context, { flags }) {
    const { ledger } = await openSession(context, flags);
    const count = await ledger.read("dataRegistry", "recordCount", []);
    const shown = await newest(count, flags, (id) => describe(ledger, id));
    context.out.result("chain_data_list", { count: Number(count), records: shown }, () =>
      table(
        ["record", "state", "bytes", "content", "disputed until"],
        shown.map((one) => [
          ...[one.id, one.state, one.size_bytes],
          ...[one.content_hash.slice(0, 16), formatChainTime(one.challenge_end)],
        ]),
      ),
    );
    return undefined;
  },
});

/** The reference that a result must be measured against: the named file, or the built-in text. */
async function referenceOf(file: string | undefined): Promise<Uint8Array> {
  if (file !== undefined) return readSet(file);
  const { embeddedCorpus } = await import("../demo/corpus.ts");
  return Buffer.concat((await embeddedCorpus()).map(({ bytes }) => bytes));
}

async function readSet(file: string): Promise<Uint8Array> {
  const { size_bytes } = await hashFile(file);
  if (size_bytes > SET_BYTES_MAX)
    throw new MagnetError("DATA_TOO_LARGE", `${file} has ${size_bytes} bytes`, {
      hint: `measure a part of at most ${SET_BYTES_MAX} bytes`,
    });
  return new Uint8Array(await Bun.file(file).arrayBuffer());
}

/** Throws MEASURE_DIFFERS unless a document of an earlier run says the same. */
function mustAgree(found: object, file: string): void {
  let claimed: { [name: string]: unknown };
  try {
    claimed = JSON.parse(readSmallText(file, DOCUMENT_BYTES_MAX));
  } catch (cause) {
    throw new MagnetError("BAD_DOCUMENT", `${file} is no result of chain data measure`, {
      hint: "give what magnet chain data measure --json printed",
      exit: "usage",
      cause,
    });
  }
  const differing = Object.entries(found)
    .filter(([name, value]) => JSON.stringify(claimed[name]) !== JSON.stringify(value))
    .map(([name]) => name);
  if (differing.length === 0) return;
  throw new MagnetError("MEASURE_DIFFERS", `${file} claims another ${differing.join(", ")}`, {
    hint: "the run is the same to the last bit everywhere: the claim is false, or of other files",
    exit: "verification",
  });
}

const measure = defineCommand({
  summary: "Measures a data set: the loss drop of the reference run with it and without it",
  details:
    "A fixed small model is trained six times (three seeds, with and without the set): about 20 seconds of\none core. The result is the same to the last bit on every machine, so anyone can check a claim with\n--expect; exit 6 where it is false.",
  examples: [
    { command: "magnet chain data measure set.txt --json > result.json", does: "measure" },
    { command: "magnet chain data measure set.txt --expect result.json", does: "check a claim" },
  ],
  args: { file: { value: "FILE", summary: "the data set" } },
  flags: {
    reference: { type: "string", value: "FILE", summary: "reference text (built in)" },
    expect: { type: "string", value: "FILE", summary: "a result that must come out again" },
    threads: { type: "integer", min: 0, max: 64, default: 0, summary: "0: all; changes no result" },
  },
  graceful: true,
  async run(context, { args, flags }) {
    const { measureDataQuality } = await import("../../model/data-quality.ts");
    const { out, signal } = context;
    const { threads } = flags;
    const set = await readSet(args.file);
    const reference = await referenceOf(flags.reference);
    const bar = out.progress({ label: "reference runs", total: 6, unit: "runs" });
    const found = await measureDataQuality({
      ...{ set, reference, threads, signal },
      onProgress: ({ done }) => bar.update(done),
    }).finally(() => bar.end());
    if (flags.expect !== undefined) mustAgree(found, flags.expect);
    const drops = found.loss_drops_micronats.map((drop) => (drop / 1e6).toFixed(6)).join(", ");
    out.result(
      "chain_data_measure",
      { ...found, agrees: flags.expect === undefined ? null : true },
      () =>
        [
          `loss drop  ${drops} nats per byte (seeds 1, 2, 3)`,
          `set        ${found.content_hash} (${found.size_bytes} bytes)`,
          `reference  ${found.reference_hash}`,
          ...(flags.expect === undefined ? [] : ["the claim is true"]),
        ].join("\n"),
    );
    return undefined;
  },
});

export const data = defineGroup("data sets on the ledger: register, confirm, list, measure", {
  register,
  confirm,
  list,
  measure,
});
