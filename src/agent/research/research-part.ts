/**
 * A node's part in research: it hands out trials of its user, and runs those of others where its
 * user allows that. Only members of the network's roster are served: whoever the network did not
 * admit gets no CPU of it.
 */
import fs from "node:fs/promises";
import path from "node:path";
import type { Clock } from "../../core/clock.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { Signer } from "../../network/signer.ts";
import type { Transport } from "../../network/transport.ts";
import { BlobStore } from "../../storage/blobs.ts";
import { hostDisk } from "../../storage/disk.ts";
import { blobFetcher, dropOldParts } from "../blob-fetcher.ts";
import { PublishedBlobs } from "../published-blobs.ts";
import { researchDrop, researchOffer, researchTrial } from "./messages.ts";
import { readJob } from "./research-job.ts";
import { TaskFiles } from "./task-files.ts";
import { TrialDispatcher } from "./trial-dispatcher.ts";
import { type ResearchOffer, TrialExecutor } from "./trial-executor.ts";

export interface ResearchPartOptions {
  readonly data_dir: string;
  readonly signer: Signer;
  readonly network: Hash;
  readonly roster: readonly PublicKey[];
  readonly transport: Transport;
  readonly offer: ResearchOffer;
  readonly max_disk_bytes: number;
  readonly clock: Clock;
}

/** A node that runs no trials of others; its user's own are handed out all the same. */
export const NO_RESEARCH: ResearchOffer = { workers: 0, trial_cpu_s: 0, self: [], version: "" };

/** Of the node's disk: data of tasks and outputs of trials. */
const DISK_SHARE = 0.5;

export class ResearchPart {
  private constructor(
    readonly offer: ResearchOffer,
    readonly blobs: BlobStore,
    readonly published: PublishedBlobs,
    readonly tasks: TaskFiles,
    readonly dispatcher: TrialDispatcher,
    readonly executor: TrialExecutor,
  ) {}

  static async open(options: ResearchPartOptions): Promise<ResearchPart> {
    const { transport, offer, signer, network, roster, clock } = options;
    const folder = path.join(options.data_dir, "research");
    const quota_bytes = Math.floor(options.max_disk_bytes * DISK_SHARE);
    const store = path.join(folder, "store");
    // Nothing of an earlier life names what it left here, and the quota would count it for ever.
    await fs.rm(store, { recursive: true, force: true });
    const blobs = await BlobStore.open({ folder: store, disk: hostDisk, quota_bytes });
    const published = new PublishedBlobs(blobs);
    const fetch_dir = path.join(folder, "fetch");
    await dropOldParts(fetch_dir, clock.now_ms());
    const fetchBlob = blobFetcher(transport, blobs, fetch_dir, quota_bytes);
    const tasks = new TaskFiles({ folder, blobs, published, fetchBlob, clock });
    const executor = new TrialExecutor({ offer, signer, blobs, published, tasks, clock });
    const dropBlob = async (hash: Hash) => {
      if (published.size(hash) === null) await blobs.delete(hash);
    };
    const dispatcher = new TrialDispatcher({ signer, network, transport, fetchBlob, dropBlob });
    const member = (from: PublicKey): void => {
      if (!roster.includes(from))
        throw new MagnetError("NOT_A_MEMBER", "trials are run for members of the network only");
    };
    transport.handle(researchOffer.request.type, async () => ({
      workers: offer.workers,
      trial_cpu_s: offer.trial_cpu_s,
      version: offer.version,
    }));
    transport.handle(researchTrial.request.type, async (from, body) => {
      member(from);
      const { job: text, signature } = researchTrial.request.schema.parse(body);
      return executor.ask({ text, signature }, readJob({ text, signature }, from, network));
    });
    transport.handle(researchDrop.request.type, async (from, body) => {
      member(from);
      await executor.forget(researchDrop.request.schema.parse(body).job_id, from);
      return {};
    });
    return new ResearchPart(offer, blobs, published, tasks, dispatcher, executor);
  }

  close(): Promise<void> {
    return this.executor.close();
  }
}
