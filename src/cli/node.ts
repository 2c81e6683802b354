/**
 * `magnet node` and `magnet peers`, `rounds`, `storage`: what the node on this data folder says.
 */
import { formatBytes } from "../core/bytes.ts";
import { connectControl } from "../http/control-client.ts";
import type { Arguments, Context } from "./frame/command.ts";
import { defineCommand, defineGroup } from "./frame/command.ts";
import { table } from "./frame/output.ts";

const NONE: Arguments = {};

/** The control interface of the node on the configured data folder. */
export async function controlOf(context: Context) {
  const { values } = await context.config();
  return connectControl(values.node.data_dir);
}

interface Status {
  node_id: string;
  network: string;
  tier: string;
  device: string;
  address: string;
  phase: string;
  reason: string;
  hint: string;
  round: number;
  view: number;
  leader_id: string;
  alive: number;
  quorum: number;
  state_hash: string | null;
  job: { job_id: string; job_round: number; rounds: number } | null;
  training: { step: number; steps: number; loss: number } | null;
  wire_bytes_in: number;
  wire_bytes_out: number;
  stored_bytes: number;
  audits: Audits;
}

/** Audits of training: of other nodes by this one, and `asked`: of this one by others. */
interface Audits {
  due: number;
  passed: number;
  wrong: number;
  not_served: number;
  asked: number;
  left_out: { job_id: string; node_id: string }[];
}

function auditsText({ due, passed, wrong, not_served, asked, left_out }: Audits): string {
  const made = `${passed} passed, ${wrong} wrong, ${not_served} not served, ${due} due`;
  const nodes = [...new Set(left_out.map(({ node_id }) => node_id))];
  const out = nodes.length > 0 ? `; left out: ${nodes.join(", ")}` : "";
  return `${made}; asked for its own ${asked} times${out}`;
}

const short = (hash: string | null) => (hash === null ? "none yet" : hash.slice(0, 16));

function statusText(s: Status): string {
  const job = s.job
    ? `${short(s.job.job_id)}, round ${s.job.job_round + 1} of ${s.job.rounds}`
    : "none";
  const training =
    s.training && s.phase === "training"
      ? [
          [
            "training",
            `step ${s.training.step} of ${s.training.steps}, loss ${s.training.loss.toFixed(3)}`,
          ],
        ]
      : [];
  const rows = [
    ["node", `${s.node_id} (${s.tier}) in ${s.network}`],
    ["trains on", s.device],
    ["address", `wss://${s.address}`],
    ["phase", `${s.phase}: ${s.reason}`],
    ...training,
    ["job", job],
    ["members", `${s.alive} reachable, ${s.quorum} needed`],
    ["leader", `${s.leader_id} (round ${s.round}, view ${s.view})`],
    ["state", short(s.state_hash)],
    ["traffic", `${formatBytes(s.wire_bytes_in)} in, ${formatBytes(s.wire_bytes_out)} out`],
    ["stored", formatBytes(s.stored_bytes)],
    ["audits", auditsText(s.audits)],
    ["hint", s.hint],
  ];
  return rows.map(([name, value]) => `${name!.padEnd(9)} ${value}`).join("\n");
}

const status = defineCommand({
  summary: "What the node does, and what it waits for",
  examples: [{ command: "magnet node status --json", does: "for scripts" }],
  args: NONE,
  flags: {},
  async run(context) {
    const data = (await (await controlOf(context)).get("/v1/status")) as Status;
    context.out.result("node_status", data, () => statusText(data));
    return undefined;
  },
});

const stop = defineCommand({
  summary: "Ends the node on this data folder",
  examples: [{ command: "magnet node stop", does: "it leaves the network and exits" }],
  args: NONE,
  flags: {},
  async run(context) {
    await (await controlOf(context)).post("/v1/stop");
    context.out.result("node_stop", { stopping: true }, "stopping");
    return undefined;
  },
});

export const node = defineGroup("the node that runs on this data folder", { status, stop });

interface Peer {
  node_id: string;
  address: string | null;
  tier: string;
  score: number;
  bytes_in: number;
  bytes_out: number;
}

const listPeers = defineCommand({
  summary: "Lists the connected peers",
  examples: [{ command: "magnet peers list", does: "who is connected" }],
  args: NONE,
  flags: {},
  async run(context) {
    const data = (await (await controlOf(context)).get("/v1/peers")) as { peers: Peer[] };
    context.out.result("peers_list", data, () =>
      data.peers.length === 0
        ? "no peer is connected"
        : table(
            ["node", "tier", "address", "score", "in", "out"],
            data.peers.map((p) => [
              p.node_id,
              p.tier,
              p.address ?? "not reachable",
              p.score,
              formatBytes(p.bytes_in),
              formatBytes(p.bytes_out),
            ]),
          ),
    );
    return undefined;
  },
});

export const peers = defineGroup("peers of this node: list", { list: listPeers });

interface Round {
  round: number;
  leader: string;
  view: number;
  contributors: string[];
  loss_merged: number | null;
  state_hash: string;
  took_ms: number;
}

const listRounds = defineCommand({
  summary: "Lists the rounds that this node has seen promoted",
  examples: [{ command: "magnet rounds list", does: "losses, leaders and durations" }],
  args: NONE,
  flags: {},
  async run(context) {
    const data = (await (await controlOf(context)).get("/v1/rounds")) as { rounds: Round[] };
    context.out.result("rounds_list", data, () =>
      data.rounds.length === 0
        ? "no round was promoted since this node started"
        : table(
            ["round", "view", "contributors", "loss", "seconds", "state"],
            data.rounds.map((r) => [
              r.round,
              r.view,
              r.contributors.length,
              r.loss_merged === null ? "-" : r.loss_merged.toFixed(4),
              (r.took_ms / 1000).toFixed(1),
              short(r.state_hash),
            ]),
          ),
    );
    return undefined;
  },
});

export const rounds = defineGroup("rounds of training and merging: list", { list: listRounds });

interface StoredObject {
  cid: string;
  size_bytes: number;
  live: number;
  needed: number;
  total: number;
  priority: string;
  holders: string[][];
}

const storageStatus = defineCommand({
  summary: "Health of every erasure-coded object, worst first",
  examples: [{ command: "magnet storage status", does: "live shards of each checkpoint" }],
  args: NONE,
  flags: {},
  async run(context) {
    const data = (await (await controlOf(context)).get("/v1/storage")) as {
      objects: StoredObject[];
    };
    context.out.result("storage_status", data, () =>
      data.objects.length === 0
        ? "no object is stored in this network"
        : table(
            ["object", "size", "live", "needed", "state"],
            data.objects.map((o) => [
              o.cid,
              formatBytes(o.size_bytes),
              `${o.live} of ${o.total}`,
              o.needed,
              o.priority,
            ]),
          ),
    );
    return undefined;
  },
});

export const storage = defineGroup("the network's store: status", { status: storageStatus });
