/** `magnet join`: makes this machine a node and keeps it running. */
import fs from "node:fs";
import path from "node:path";
import { keyStorageOf } from "../agent/key-place.ts";
import { type NetworkFile, networkFileSchema, readNetworkFile } from "../agent/network-file.ts";
import { type RunningNode, startNode } from "../agent/runtime.ts";
import { chooseTier } from "../agent/tier.ts";
import { systemClock } from "../core/clock.ts";
import type { ConfigValues } from "../core/config-schema.ts";
import { MagnetError } from "../core/errors.ts";
import { systemRandom } from "../core/random.ts";
import { TIER_ALIASES } from "../core/tiers.ts";
import { serveControl } from "../http/control-server.ts";
import { nodeControl } from "../http/node-control.ts";
import type { Identity } from "../network/identity.ts";
import { openIdentity, wasExported } from "../network/key-storage.ts";
import { defineCommand } from "./frame/command.ts";

/** Longest wait for the parts of a node to close after a signal. */
const CLOSE_DEADLINE_MS = 5000;

/** "wss://host:port" or "host:port", as the transport takes it. */
const hostPortOf = (address: string): string => address.replace(/^wss:\/\//, "").replace(/\/$/, "");

function splitListen(listen: string): { host: string; port: number } {
  const at = listen.lastIndexOf(":");
  return { host: listen.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(listen.slice(at + 1)) };
}

/**
 * The network to join: the file named, else the one joined before, else a new network of this node
 * alone. It is kept in the data folder, so that the next start needs no flag.
 */
function networkFor(
  values: ConfigValues,
  identity: Identity,
): { network: NetworkFile; file: string } {
  const kept = path.join(values.node.data_dir, "network.json");
  if (values.network.file !== "") {
    const network = readNetworkFile(values.network.file);
    if (path.resolve(values.network.file) !== path.resolve(kept))
      fs.copyFileSync(values.network.file, kept);
    return { network, file: values.network.file };
  }
  if (fs.existsSync(kept)) return { network: readNetworkFile(kept), file: kept };
  const alone = networkFileSchema.parse({
    schema: "magnet.network/1",
    id: values.network.name,
    roster: [identity.public_key],
  });
  fs.writeFileSync(kept, `${JSON.stringify(alone, null, 2)}\n`, { mode: 0o600 });
  return { network: alone, file: kept };
}

/** One node per data folder: two would vote twice with one key. */
function lockDataDir(data_dir: string): () => void {
  const file = path.join(data_dir, "node.pid");
  const isRunning = (pid: number) => {
    try {
      process.kill(pid, 0);
      return fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes("join");
    } catch {
      return false; // no such process, or not ours to see: the lock is left over
    }
  };
  const holder = fs.existsSync(file) ? Number(fs.readFileSync(file, "utf8")) : 0;
  if (holder > 0 && holder !== process.pid && isRunning(holder))
    throw new MagnetError(
      "NODE_RUNNING",
      `a node already runs on ${data_dir} (process ${holder})`,
      {
        hint: "magnet node stop ends it; a second node needs its own --data-dir",
      },
    );
  fs.writeFileSync(file, String(process.pid), { mode: 0o600 });
  return () => fs.rmSync(file, { force: true });
}

function writeReadyFile(file: string, node: RunningNode, control_url: string): void {
  const { identity } = node.options;
  const content = {
    schema: "magnet.ready/1",
    node_id: identity.node_id,
    public_key: identity.public_key,
    address: `wss://${node.transport.advertised ?? node.transport.address}`,
    control_url,
    pid: process.pid,
  };
  fs.writeFileSync(`${file}.tmp`, `${JSON.stringify(content)}\n`);
  fs.renameSync(`${file}.tmp`, file);
}

export const join = defineCommand({
  summary: "Makes this machine a node of a network and keeps it running",
  details:
    "Without --network it joins the network of its data folder again, or starts a network of its own.\nThe key and the certificate are made on the first start.",
  examples: [
    { command: "magnet join", does: "a network of this machine alone" },
    {
      command: "magnet join --network net.json --peer wss://10.0.0.5:7700",
      does: "join through a known peer",
    },
  ],
  args: {},
  graceful: true,
  flags: {
    tier: {
      type: "choice",
      options: ["auto", ...Object.keys(TIER_ALIASES)],
      summary: "what this machine contributes; auto takes what it is good for",
    },
    network: { type: "string", value: "FILE", summary: "network file (magnet network create)" },
    peer: { type: "list", value: "WSS", summary: "address of a node to knock at" },
    listen: { type: "string", value: "HOST:PORT", summary: "where peers connect to; port 0: any" },
    advertise: { type: "string", value: "HOST:PORT", summary: "address that others are told" },
    threads: { type: "integer", min: 0, max: 4096, summary: "threads for training; 0: all" },
    "max-disk": { type: "string", value: "SIZE", summary: "disk space magnet may use" },
    "ready-file": { type: "string", value: "PATH", summary: "written once the node is up" },
  },
  async run(context, { flags }) {
    const { out, signal } = context;
    const config = await context.config({
      "node.tier": flags.tier,
      "network.file": flags.network,
      "network.peers": flags.peer.length > 0 ? flags.peer : undefined,
      "node.listen": flags.listen,
      "node.advertise": flags.advertise,
      "node.max_disk": flags.max_disk,
      "training.threads": flags.threads,
    });
    const { values } = config;
    const { data_dir } = values.node;
    fs.mkdirSync(data_dir, { recursive: true, mode: 0o700 });
    const unlock = lockDataDir(data_dir);
    try {
      const choice = chooseTier(values.node.tier);
      const storage = keyStorageOf(values, process.env);
      const { identity } = openIdentity(storage, systemRandom);
      const { network, file } = networkFor(values, identity);
      const node = await startNode({
        data_dir,
        network,
        identity,
        listen: splitListen(values.node.listen),
        advertise: values.node.advertise === "" ? null : values.node.advertise,
        tier: choice.tier,
        peers: values.network.peers.map(hostPortOf),
        threads: values.training.threads,
        max_disk_bytes: values.node.max_disk,
        clock: systemClock,
        random: systemRandom,
      });
      const stopped = Promise.withResolvers<void>();
      signal.addEventListener("abort", () => stopped.resolve(), { once: true });
      const control = serveControl(nodeControl(node, stopped.resolve), {
        data_dir,
        random: systemRandom,
      });
      if (flags.ready_file !== undefined) writeReadyFile(flags.ready_file, node, control.url);
      const in_roster = network.roster.includes(identity.public_key);
      const banner = {
        node_id: identity.node_id,
        public_key: identity.public_key,
        tier: choice.tier,
        tier_reason: choice.why,
        network: network.id,
        network_file: file,
        in_roster,
        address: `wss://${node.transport.address}`,
        control_url: control.url,
        data_dir,
        key_backed_up: wasExported(storage),
      };
      out.record("join", banner, () =>
        [
          `node      ${banner.node_id}`,
          `tier      ${choice.tier} (${choice.why})`,
          `network   ${network.id}, ${network.roster.length} member(s)${in_roster ? "" : ", this node is no member: it follows without a vote"}`,
          `address   ${banner.address}`,
          `data      ${data_dir}`,
          ...(banner.key_backed_up
            ? []
            : ["key       not backed up: magnet keys export --out FILE"]),
          "ready",
        ].join("\n"),
      );
      await stopped.promise;
      const closed = Promise.all([control.close(), node.close()]);
      await Promise.race([closed, Bun.sleep(CLOSE_DEADLINE_MS)]);
    } finally {
      unlock();
    }
    return undefined;
  },
});
