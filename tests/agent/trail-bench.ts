/** Workers of one job without a network, each with its disk and its trails, for tests of trails. */
import path from "node:path";
import { jobId } from "../../src/agent/job.ts";
import { JobRunner } from "../../src/agent/job-runner.ts";
import type { PreparedJob } from "../../src/agent/prepare-job.ts";
import type { PointArrays } from "../../src/agent/trail/audit-stretch.ts";
import type { Trail } from "../../src/agent/trail/trail.ts";
import { TrailStore } from "../../src/agent/trail/trail-store.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";
import type { TrainedResult, TrainTask } from "../../src/diloco/round-types.ts";
import { type ChosenDevice, ON_CPU } from "../../src/native/device.ts";
import { BlobStore } from "../../src/storage/blobs.ts";
import { hostDisk } from "../../src/storage/disk.ts";
import { makeFolder } from "./real-nodes.ts";

export const STRANGER = `03${"0".repeat(64)}` as PublicKey;
const keyOf = (i: number) => `02${String(i).padStart(64, "0")}` as PublicKey;
export const never = new AbortController().signal;

export interface WorkerOptions {
  device?: ChosenDevice;
  quota_bytes?: number;
}

export class Worker {
  readonly folder = makeFolder();
  readonly public_key: PublicKey;
  runner!: JobRunner;
  trails!: TrailStore;
  blobs!: BlobStore;
  base_hash!: Hash;
  onStep: (step: number) => void = () => undefined;

  private constructor(
    readonly prepared: PreparedJob,
    readonly index: number,
    readonly options: WorkerOptions,
  ) {
    this.public_key = keyOf(index);
  }

  static async start(prepared: PreparedJob, index: number, options: WorkerOptions = {}) {
    const worker = new Worker(prepared, index, options);
    await worker.open();
    worker.base_hash = await worker.runner.initialState();
    return worker;
  }

  /** Also after `close`: a restart on the same disk. */
  async open(): Promise<void> {
    const { prepared, folder, options, public_key } = this;
    const { job, files } = prepared;
    this.blobs = await BlobStore.open({ folder: path.join(folder, "store"), disk: hostDisk });
    for (const [hash, file] of Object.entries(files))
      if (!this.blobs.has(hash as Hash))
        await this.blobs.put(Bun.file(file).stream(), hash as Hash);
    this.trails = await TrailStore.open({
      folder: path.join(folder, "trails"),
      quota_bytes: options.quota_bytes ?? 1 << 28,
      public_key,
      isMember: (key) => key !== STRANGER,
    });
    const { blobs, trails } = this;
    const shared = { job_id: jobId(job), job, blobs, trails, threads: 1 };
    this.runner = await JobRunner.open({
      ...{ ...shared, device: options.device ?? ON_CPU },
      onStep: ({ step }) => this.onStep(step),
    });
  }

  close(): void {
    this.runner.close();
  }

  taskOf(job_round: number, previous_trail: Hash | null): TrainTask {
    const { job } = this.prepared;
    return {
      announce_hash: String(job_round).repeat(64) as Hash,
      ...{ round: job_round, job_id: jobId(job), job_round, base_hash: this.base_hash },
      ...{ inner_steps: job.inner_steps, data_seed: 77 + job_round, slice_index: this.index },
      ...{ slice_count: 4, deadline_ms: 60_000, previous_trail },
    };
  }

  train(job_round: number, previous_trail: Hash | null, signal = never): Promise<TrainedResult> {
    return this.runner.train(this.taskOf(job_round, previous_trail), signal);
  }

  trailOf({ trail_hash }: TrainedResult): Trail {
    const trail = trail_hash && this.trails.trail(trail_hash);
    if (!trail) throw new Error("there is no trail");
    return trail;
  }

  /** An array of points as a peer would fetch it, once its trail is open. */
  async fetch(hash: Hash): Promise<Float32Array> {
    const bytes = await this.trails.read(hash, 0, this.trails.size(hash)!);
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  }

  async point(trail: Trail, i: number): Promise<PointArrays> {
    const { params, moments } = trail.points[i]!;
    const both = await this.fetch(moments);
    const n = both.length / 2;
    return { params: await this.fetch(params), m: both.slice(0, n), v: both.slice(n) };
  }
}
