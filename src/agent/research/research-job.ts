/**
 * One trial as a job of the network: the task by the hashes of its document and data, and the
 * trial's specification. Signed by the node that wants it; its result by the node that computed it,
 * so that a wrong one has an author. Equal jobs have equal results but for the measured times.
 */
import { z } from "zod";
import { canonicalJson, sha256, sha256Hex } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import { lengthPrefixed, walletVerifier } from "../../network/auth.ts";
import type { Signer } from "../../network/signer.ts";
import { hashSchema, publicKeySchema } from "../../network/wire-types.ts";
import { outcomeRecordSchema } from "../../research/trials/outcome-record.ts";
import { trialSpecSchema } from "../../research/trials/protocol.ts";
import { DOCUMENT_BYTES_MAX, FILE_BYTES_MAX, FILES_MAX, OUTPUT_BYTES_MAX } from "./limits.ts";

/** The last part of a path, as it is given to the data's copy: no folder, nothing hidden. */
export const FILE_NAME = /^[\w][\w.+ -]{0,199}$/;

export const taskRefSchema = z.strictObject({
  document: z.strictObject({
    hash: hashSchema,
    size_bytes: z.int().min(1).max(DOCUMENT_BYTES_MAX),
  }),
  /** In the order of the document's `data`. */
  files: z
    .array(
      z.strictObject({
        name: z.string().regex(FILE_NAME),
        hash: hashSchema,
        size_bytes: z.int().min(0).max(FILE_BYTES_MAX),
      }),
    )
    .min(1)
    .max(FILES_MAX),
  /** The seed that the command line gave instead of the document's. */
  seed: z.int().nullable(),
});
export type TaskRef = z.infer<typeof taskRefSchema>;

const jobSchema = z.strictObject({
  schema: z.literal("magnet.research_job/1"),
  /** Hash of the network's configuration: a job of another network is none here. */
  network: hashSchema,
  submitter: publicKeySchema,
  task: taskRefSchema,
  spec: trialSpecSchema,
  cpu_limit_s: z.number().positive().max(1e9),
});
export type ResearchJob = z.infer<typeof jobSchema>;

const resultSchema = z.strictObject({
  schema: z.literal("magnet.research_result/1"),
  job_id: hashSchema,
  node: publicKeySchema,
  /** "lost": the worker was; "refused": this node cannot run it, another may. */
  kind: z.enum(["done", "failed", "timed_out", "lost", "refused"]),
  record: outcomeRecordSchema.nullable(),
  outputs_bytes: z.int().min(0).max(OUTPUT_BYTES_MAX),
  error: z.string().max(1000).nullable(),
  log: z.string().max(16_384).nullable(),
  cpu_s: z.number().min(0).max(1e9),
});
export type ResearchResult = z.infer<typeof resultSchema>;

export interface SignedText {
  readonly text: string;
  readonly signature: string;
}

const digestOf = (schema: string, text: string): Uint8Array => sha256(lengthPrefixed(schema, text));

const signed = (signer: Signer, value: ResearchJob | ResearchResult): SignedText => {
  const text = canonicalJson(value);
  return { text, signature: signer.sign(digestOf(value.schema, text)) };
};

export const jobId = (text: string): Hash => sha256Hex(text) as Hash;
export const signJob = (signer: Signer, job: Omit<ResearchJob, "schema" | "submitter">) =>
  signed(signer, { schema: "magnet.research_job/1", submitter: signer.public_key, ...job });
export const signResult = (signer: Signer, result: Omit<ResearchResult, "schema" | "node">) =>
  signed(signer, { schema: "magnet.research_result/1", node: signer.public_key, ...result });

function read<T extends { schema: string }>(
  schema: z.ZodType<T>,
  { text, signature }: SignedText,
  author: PublicKey,
  what: string,
): T {
  const bad = (why: string) =>
    new MagnetError("RESEARCH_INVALID", `the ${what} is unusable: ${why}`, {
      hint: "the peer runs another version, or is hostile",
      exit: "verification",
    });
  let value: T;
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    if (!parsed.success)
      throw bad(`${parsed.error.issues[0]!.path.join(".")}: ${parsed.error.issues[0]!.message}`);
    value = parsed.data;
    if (canonicalJson(value) !== text) throw bad("it is not in canonical form");
  } catch (error) {
    throw error instanceof MagnetError ? error : bad("it is no JSON");
  }
  if (!walletVerifier.verify(digestOf(value.schema, text), signature, author))
    throw bad("its signature does not fit");
  return value;
}

/** A job that came from `from`, for this network. Throws RESEARCH_INVALID. */
export function readJob(message: SignedText, from: PublicKey, network: Hash): ResearchJob {
  const job = read(jobSchema, message, from, "job");
  if (job.submitter !== from || job.network !== network)
    throw new MagnetError("RESEARCH_INVALID", "the job is of another node or network");
  return job;
}

/** The result of a job that was asked of `from`. Throws RESEARCH_INVALID. */
export function readResult(message: SignedText, from: PublicKey, job_id: Hash): ResearchResult {
  const result = read(resultSchema, message, from, "result");
  if (result.node !== from || result.job_id !== job_id)
    throw new MagnetError("RESEARCH_INVALID", "the result is of another node or job");
  if ((result.kind === "done") !== (result.record !== null))
    throw new MagnetError("RESEARCH_INVALID", "a result has a record when the trial is done");
  return result;
}
