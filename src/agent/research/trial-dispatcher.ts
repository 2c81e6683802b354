/**
 * Hands trials of this machine's user to other nodes and waits for their results. A node that is
 * not reached for a while has lost its trial; that is told to the run, which gives it to another.
 * What a node answers is checked: its signature, that it belongs to the job, and that the outputs
 * are those that the result names.
 */
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import { nodeIdOf } from "../../network/identity.ts";
import type { Signer } from "../../network/signer.ts";
import type { Transport } from "../../network/transport.ts";
import type { TrialSpec } from "../../research/types.ts";
import type { FetchBlob } from "../blob-fetcher.ts";
import {
  ANSWER_TIMEOUT_MS,
  JOB_BYTES_MAX,
  LOST_MS,
  OUTPUTS_KEPT,
  POLL_MS,
  RETRY_MS,
} from "./limits.ts";
import { researchDrop, researchOffer, researchTrial } from "./messages.ts";
import {
  jobId,
  type ResearchResult,
  readResult,
  type SignedText,
  signJob,
  type TaskRef,
} from "./research-job.ts";

export interface DispatcherOptions {
  readonly signer: Signer;
  readonly network: Hash;
  readonly transport: Transport;
  readonly fetchBlob: FetchBlob;
  /** Outputs that the run has had time to take. */
  dropBlob(hash: Hash): Promise<void>;
}

/** A node that takes trials. */
export interface OfferedNode {
  readonly public_key: PublicKey;
  readonly node_id: string;
  readonly workers: number;
  readonly trial_cpu_s: number;
  readonly version: string;
}

export interface DispatchRequest {
  readonly node: PublicKey;
  readonly task: TaskRef;
  readonly spec: TrialSpec;
  readonly cpu_limit_s: number;
  readonly signal?: AbortSignal;
}

/** Points for a result that is none: two of them and the peer is barred. */
const FALSE_RESULT_POINTS = 50;
const OFFER_TIMEOUT_MS = 5000;

export class TrialDispatcher {
  readonly #options: DispatcherOptions;
  /** Outputs that were fetched, oldest first. */
  readonly #fetched = new Set<Hash>();

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** Connected nodes that take trials now. */
  async nodes(): Promise<OfferedNode[]> {
    const { transport } = this.#options;
    const asked = transport.peers().map(async ({ public_key, node_id }) => {
      const type = researchOffer.request.type;
      const answer = await transport
        .request(public_key, type, {}, { timeout_ms: OFFER_TIMEOUT_MS })
        .catch(() => null); // an older version, or gone: it takes none
      const offer = researchOffer.response.schema.safeParse(answer);
      return offer.success && offer.data.workers > 0
        ? [{ public_key, node_id, ...offer.data }]
        : [];
    });
    const nodes = (await Promise.all(asked)).flat();
    return nodes.sort((a, b) => (a.public_key < b.public_key ? -1 : 1));
  }

  /**
   * Runs one trial on a node; its outputs are in the store when this returns. Throws NODE_LOST
   * (retryable), RESEARCH_INVALID where the node lies, INTERRUPTED.
   */
  async run({ node, task, spec, cpu_limit_s, signal }: DispatchRequest): Promise<ResearchResult> {
    const { signer, network, transport } = this.#options;
    const job = signJob(signer, {
      ...{ network, task, cpu_limit_s },
      spec: spec as unknown as Parameters<typeof signJob>[1]["spec"],
    });
    if (job.text.length > JOB_BYTES_MAX)
      throw new MagnetError("RESEARCH_INVALID", "the trial's configuration is too long to be sent");
    const job_id = jobId(job.text);
    try {
      const result = await this.#await(node, job, job_id, signal);
      await this.#fetchOutputs(result, node);
      return result;
    } catch (error) {
      const known = toMagnetError(error);
      if (known.code === "RESEARCH_INVALID")
        transport.penalize(node, FALSE_RESULT_POINTS, "false_research_result");
      throw known;
    } finally {
      const drop = transport.request(
        ...([
          node,
          researchDrop.request.type,
          { job_id },
          { timeout_ms: OFFER_TIMEOUT_MS },
        ] as const),
      );
      drop.catch(() => undefined); // else its lease ends
    }
  }

  /** Asks until the node says how the trial ended. */
  async #await(
    node: PublicKey,
    { text, signature }: SignedText,
    job_id: Hash,
    signal?: AbortSignal,
  ): Promise<ResearchResult> {
    const { transport } = this.#options;
    let heard_ms = performance.now();
    for (;;) {
      signal?.throwIfAborted();
      const began_ms = performance.now();
      try {
        const answer = researchTrial.response.schema.parse(
          await transport.request(
            ...([node, researchTrial.request.type, { job: text, signature }] as const),
            { timeout_ms: ANSWER_TIMEOUT_MS, signal },
          ),
        );
        heard_ms = performance.now();
        if (answer.state === "ended") {
          const signed = { text: answer.result, signature: answer.signature };
          return readResult(signed, node, job_id);
        }
      } catch (error) {
        signal?.throwIfAborted();
        const known = toMagnetError(error);
        if (known.code === "RESEARCH_INVALID" || !known.retryable) throw known;
        if (performance.now() > heard_ms + LOST_MS)
          throw new MagnetError("NODE_LOST", `${nodeIdOf(node)} is gone: ${known.message}`, {
            hint: "its trial is given to another node",
            retryable: true,
            exit: "unreachable",
          });
      }
      // A node that answers at once has no free place, or is not there: no busy loop.
      const wait_ms = Math.max(0, began_ms + Math.min(RETRY_MS, POLL_MS) - performance.now());
      if (wait_ms > 0) await Bun.sleep(wait_ms);
    }
  }

  async #fetchOutputs({ record, outputs_bytes }: ResearchResult, node: PublicKey): Promise<void> {
    if (!record?.outputs_hash) return;
    const { fetchBlob, dropBlob } = this.#options;
    const hash = record.outputs_hash as Hash;
    this.#fetched.delete(hash);
    this.#fetched.add(hash);
    await fetchBlob(hash, [node], { size_bytes: outputs_bytes });
    // The run reads them at once and keeps them itself: here they would fill the quota.
    for (const old of this.#fetched) {
      if (this.#fetched.size <= OUTPUTS_KEPT) break;
      this.#fetched.delete(old);
      await dropBlob(old);
    }
  }
}
