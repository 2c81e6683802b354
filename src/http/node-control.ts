/** What the control interface shows of a running node, and what it lets its local user do. */
import fs from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { jobSpecSchema } from "../agent/job.ts";
import { jobOfferOf } from "../agent/job-registry.ts";
import type { LedgerPart } from "../agent/ledger/ledger-part.ts";
import { describeEpoch, describeLedger } from "../agent/ledger/ledger-view.ts";
import type { RunningNode } from "../agent/runtime.ts";
import { MagnetError } from "../core/errors.ts";
import type { Cid, Hash } from "../core/types.ts";
import { nodeIdOf } from "../network/identity.ts";
import { BlobStore } from "../storage/blobs.ts";
import { hostDisk } from "../storage/disk.ts";
import type { NodeControl } from "./control-server.ts";
import { researchControl } from "./research-control.ts";

const submitSchema = z.strictObject({
  job: jobSpecSchema,
  /** Local path of each blob that the job names. */
  files: z.record(z.string().regex(/^[0-9a-f]{64}$/), z.string().max(4096)),
});
const restoreSchema = z.strictObject({
  cid: z.string().max(128),
  /** New folder that receives the object. */
  folder: z.string().max(4096),
});

/** Throws REQUEST_INVALID with the field's name. */
function checked<T>(schema: z.ZodType<T>, request: unknown): T {
  const result = schema.safeParse(request);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const field = issue.path.join(".") || "request";
  throw new MagnetError("REQUEST_INVALID", `${field}: ${issue.message}`, { exit: "usage" });
}

const NO_HASH = "0".repeat(64) as Hash;

/** Why the network does not take a job. */
function refused(node: RunningNode, job_id: Hash): MagnetError {
  const id = job_id.slice(0, 12);
  if (node.machine.round.parts.jobs.isFinished(job_id))
    return new MagnetError("JOB_FINISHED", `job ${id} has ended in this network`, {
      hint: "a job is its settings and data: change its name or seed to run it again",
    });
  return new MagnetError("JOB_REFUSED", `job ${id} is not taken: too many jobs wait`, {
    hint: "submit it when one of them has ended",
    retryable: true,
    exit: "retry",
  });
}

async function submitJob(node: RunningNode, request: unknown): Promise<object> {
  const { job, files } = checked(submitSchema, request);
  if (!node.machine.view().in_roster)
    throw new MagnetError("NOT_A_MEMBER", "only members of the network start jobs", {
      hint: "submit the job on a node whose key is in the network file's roster",
    });
  for (const hash of [job.tokenizer_hash, job.train_hash, job.heldout_hash] as Hash[]) {
    const file = files[hash];
    if (!node.blobs.has(hash)) {
      if (file === undefined)
        throw new MagnetError("BLOB_MISSING", `the job names ${hash.slice(0, 12)} without a file`);
      await node.blobs.put(Bun.file(file).stream(), hash);
    }
    node.published.publish(hash);
  }
  const base_hash = await node.jobs.prepare(jobOfferOf(job, NO_HASH), []);
  const offer = jobOfferOf(job, base_hash);
  node.published.publish(base_hash);
  node.feed({ type: "job_started", job: offer });
  if (!node.machine.round.parts.jobs.get(offer.job_id)) throw refused(node, offer.job_id);
  return { job_id: offer.job_id, base_hash };
}

/**
 * Restores into a store of its own, so that every byte comes from shards and none from a local
 * copy.
 */
async function restoreObject(node: RunningNode, request: unknown): Promise<object> {
  const { cid, folder } = checked(restoreSchema, request);
  const health = node.machine.keeper.health().find((object) => object.cid === cid);
  const target = await BlobStore.open({ folder, disk: hostDisk });
  const found = health && (await node.checkpoints.restore(cid as Cid, health.holders, target));
  if (!found)
    throw new MagnetError("NOT_FOUND", `no object ${cid} is known here`, {
      hint: "magnet storage status lists the objects",
    });
  const file = target.pathOf(found.hash);
  return { content_hash: found.hash, file, size_bytes: (await fs.stat(file)).size };
}

/** Audits of training, with nodes by the names that people see. */
function auditsOf({ audits }: RunningNode): object {
  const { left_out, ...counts } = audits.status();
  const named = left_out.map(({ job_id, public_key }) => ({
    job_id,
    node_id: nodeIdOf(public_key),
  }));
  return { ...counts, left_out: named };
}

function status(node: RunningNode, started_ms: number): object {
  const { options, transport, machine } = node;
  const { identity, clock } = options;
  const traffic = transport.stats();
  return {
    node_id: identity.node_id,
    public_key: identity.public_key,
    network: options.network.id,
    tier: options.tier,
    device: node.device.text,
    address: transport.address,
    advertised: transport.advertised,
    uptime_ms: clock.now_ms() - started_ms,
    ...machine.view(),
    leader_id: nodeIdOf(machine.view().leader),
    training: node.progress,
    wire_bytes_in: traffic.bytes_in,
    wire_bytes_out: traffic.bytes_out,
    stored_bytes: node.blobs.used_bytes,
    audits: auditsOf(node),
  };
}

/** Throws NO_LEDGER where the node takes no part in one. */
function ledgerOf({ ledger, options }: RunningNode): LedgerPart {
  if (ledger) return ledger;
  const hasOne = options.network.ledger !== undefined;
  throw new MagnetError(
    "NO_LEDGER",
    hasOne ? "this node was started without an RPC" : "this network has no ledger",
    {
      hint: hasOne
        ? "start it with --rpc URL (setting chain.rpc)"
        : "magnet chain deploy makes one and puts it into the network file",
      exit: "config",
    },
  );
}

export function nodeControl(node: RunningNode, stop: () => void): NodeControl {
  const started_ms = node.options.clock.now_ms();
  return {
    status: () => status(node, started_ms),
    peers: () => ({ peers: node.transport.peers() }),
    rounds: () => ({ rounds: node.history.records }),
    storage: () => ({
      objects: node.machine.keeper.health().map((object) => ({
        ...object,
        content_hash: node.checkpoints.manifestOf(object.cid)?.content_hash ?? null,
        holders: object.holders.map((keys) => keys.map(nodeIdOf)),
      })),
    }),
    ledger: () => describeLedger(ledgerOf(node)),
    ledgerEpoch: (epoch) => describeEpoch(ledgerOf(node), epoch),
    submitJob: (request) => submitJob(node, request),
    blobPath: (hash) =>
      node.blobs.has(hash as Hash) ? path.resolve(node.blobs.pathOf(hash as Hash)) : undefined,
    restoreObject: (request) => restoreObject(node, request),
    research: researchControl(node),
    stop,
  };
}
