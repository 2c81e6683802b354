/** `magnet join`: makes this machine a node and keeps it running. */
import fs from "node:fs";
import packageJson from "../../package.json" with { type: "json" };
import { closeAll } from "../agent/close-all.ts";
import { lockDataDir } from "../agent/data-lock.ts";
import { joinedNetwork } from "../agent/joined-network.ts";
import { keyStorageOf } from "../agent/key-place.ts";
import type { LedgerJoin } from "../agent/ledger/ledger-part.ts";
import type { NetworkFile } from "../agent/network-file.ts";
import { type RunningNode, startNode } from "../agent/runtime.ts";
import { chooseTier } from "../agent/tier.ts";
import { parseMag } from "../chain/amounts.ts";
import { systemClock } from "../core/clock.ts";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { roomLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { TIER_ALIASES } from "../core/tiers.ts";
import { serveControl } from "../http/control-server.ts";
import { nodeControl } from "../http/node-control.ts";
import { parseDevice } from "../native/device.ts";
import { openIdentity, wasExported } from "../network/key-storage.ts";
import { defineCommand } from "./frame/command.ts";
import { stdinClosed, writeReadyFile } from "./ready-file.ts";
import { selfCommand } from "./self-command.ts";

const log = roomLog("main");

/** Longest wait for the parts of a node to close after a signal. */
const CLOSE_DEADLINE_MS = 5000;

/** "wss://host:port" or "host:port", as the transport takes it. */
const hostPortOf = (address: string): string => address.replace(/^wss:\/\//, "").replace(/\/$/, "");

function splitListen(listen: string): { host: string; port: number } {
  const at = listen.lastIndexOf(":");
  return { host: listen.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(listen.slice(at + 1)) };
}

const readyContent = ({ options, transport }: RunningNode, control_url: string) => ({
  node_id: options.identity.node_id,
  public_key: options.identity.public_key,
  address: `wss://${transport.advertised ?? transport.address}`,
  control_url,
});

interface Facts {
  network_file: string;
  control_url: string;
  tier_reason: string;
  key_backed_up: boolean;
}

interface StakeFlags {
  bond: string | undefined;
  seat: string | undefined;
  no_claim: boolean;
}

/**
 * How the node takes part in its network's ledger. Throws BAD_AMOUNT, and NO_LEDGER where something
 * of it was asked for and cannot be.
 */
function ledgerJoin(
  network: NetworkFile,
  rpc_url: string,
  { bond, seat, no_claim }: StakeFlags,
): { ledger?: LedgerJoin } {
  const amount = (text: string | undefined) => (text === undefined ? null : parseMag(text));
  const stake = { bond: amount(bond), seat: amount(seat) };
  if (network.ledger && rpc_url !== "") return { ledger: { rpc_url, stake, claims: !no_claim } };
  if (stake.bond !== null || stake.seat !== null)
    throw new MagnetError(
      "NO_LEDGER",
      network.ledger ? "--bond and --seat need an RPC" : "the network file names no ledger",
      {
        hint: network.ledger ? "name it with --rpc URL" : "magnet chain deploy puts one into it",
        exit: "config",
      },
    );
  return {};
}

const isMember = ({ options }: RunningNode): boolean =>
  options.network.roster.includes(options.identity.public_key);

function banner(node: RunningNode, facts: Facts): Record<string, unknown> {
  const { identity, network, tier, data_dir } = node.options;
  return {
    node_id: identity.node_id,
    public_key: identity.public_key,
    tier,
    tier_reason: facts.tier_reason,
    device: node.device.text,
    network: network.id,
    network_file: facts.network_file,
    in_roster: isMember(node),
    address: `wss://${node.transport.address}`,
    control_url: facts.control_url,
    data_dir,
    key_backed_up: facts.key_backed_up,
    ledger: node.ledger && { rpc: node.ledger.ledger.rpc.name, account: node.ledger.address },
  };
}

function ledgerText({ ledger, options }: RunningNode): string {
  if (ledger) return `${ledger.ledger.rpc.name}, account ${ledger.address}`;
  return options.network.ledger ? "no part in it: --rpc URL" : "none in this network";
}

function bannerText(node: RunningNode, facts: Facts): string {
  const { identity, network, tier, data_dir } = node.options;
  const vote = isMember(node) ? "" : ", this node is no member: it follows without a vote";
  return [
    `node      ${identity.node_id}`,
    `tier      ${tier} (${facts.tier_reason})`,
    `device    ${node.device.text}`,
    `network   ${network.id}, ${network.roster.length} member(s)${vote}`,
    `address   wss://${node.transport.address}`,
    `data      ${data_dir}`,
    `ledger    ${ledgerText(node)}`,
    ...(facts.key_backed_up ? [] : ["key       not backed up: magnet keys export --out FILE"]),
    "ready",
  ].join("\n");
}

/**
 * Serves the control interface until a signal, `magnet node stop`, or a failure, which is thrown.
 */
async function runUntilStopped(
  node: RunningNode,
  signal: AbortSignal,
  announce: (control_url: string) => void,
): Promise<void> {
  const stopped = Promise.withResolvers<MagnetError | undefined>();
  const stop = () => stopped.resolve(undefined);
  const parts: (() => unknown)[] = [() => node.close()];
  let failure: MagnetError | undefined;
  try {
    const { data_dir } = node.options;
    const control = serveControl(nodeControl(node, stop), { data_dir, random: systemRandom });
    parts.push(() => control.close());
    announce(control.url);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    failure = await Promise.race([stopped.promise, node.failure]);
  } finally {
    const closed = closeAll(parts).then(
      () => true,
      (error) => {
        log.warn("close_failed", { reason: toMagnetError(error).message });
        return true;
      },
    );
    if (!(await Promise.race([closed, Bun.sleep(CLOSE_DEADLINE_MS)])))
      log.warn("close_took_too_long", { deadline_ms: CLOSE_DEADLINE_MS });
  }
  if (failure) throw failure;
}

export const join = defineCommand({
  summary: "Makes this machine a node of a network and keeps it running",
  details:
    "Without --network it joins the network of its data folder again, or starts a network of its own.\nThe key and the certificate are made on the first start. SIGTERM, SIGINT and `magnet node stop` end it\nwith exit code 0; a second signal ends it at once with 130.",
  examples: [
    { command: "magnet join", does: "a network of this machine alone" },
    { command: "magnet join --tier gpu", does: "only as a node that trains on a GPU" },
    {
      command: "magnet join --network net.json --peer wss://10.0.0.5:7700",
      does: "join through a known peer",
    },
    {
      command: "magnet join --rpc http://127.0.0.1:8545 --bond 30",
      does: "take part in the network's ledger",
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
    device: {
      type: "string",
      value: "auto|cpu|cuda[:N]",
      summary: "where it trains; auto takes a GPU that computes what the CPU does",
    },
    network: { type: "string", value: "FILE", summary: "network file (magnet network create)" },
    peer: { type: "list", value: "WSS", summary: "address of a node to knock at" },
    listen: { type: "string", value: "HOST:PORT", summary: "where peers connect to; port 0: any" },
    advertise: { type: "string", value: "HOST:PORT", summary: "address that others are told" },
    threads: { type: "integer", min: 0, max: 64, summary: "threads for training; 0: all" },
    "max-disk": { type: "string", value: "SIZE", summary: "disk space magnet may use" },
    rpc: {
      type: "string",
      value: "URL",
      summary: "RPC of the ledger's chain; without it the node takes no part in the ledger",
    },
    bond: {
      type: "string",
      value: "MAG",
      summary: "register, and raise the bond to this amount",
    },
    seat: { type: "string", value: "MAG", summary: "take a notary's seat with this bond" },
    research: {
      type: "integer",
      min: 0,
      max: 256,
      value: "WORKERS",
      summary: "run so many trials of research for other members at once",
    },
    "research-cpu": {
      type: "number",
      min: 0.1,
      max: 1e6,
      value: "SECONDS",
      summary: "CPU that one such trial may use",
    },
    "no-claim": { type: "boolean", summary: "leave rewards on the ledger (magnet chain claim)" },
    attached: {
      type: "boolean",
      summary: "leave when stdin closes: with the program that started it",
    },
    "ready-file": { type: "string", value: "PATH", summary: "written once the node is up" },
  },
  async run(context, { flags }) {
    const { out, signal } = context;
    if (flags.device !== undefined) parseDevice(flags.device); // its message names the flag
    const config = await context.config({
      "node.tier": flags.tier,
      "node.device": flags.device,
      "network.file": flags.network,
      "network.peers": flags.peer.length > 0 ? flags.peer : undefined,
      "node.listen": flags.listen,
      "node.advertise": flags.advertise,
      "node.max_disk": flags.max_disk,
      "training.threads": flags.threads,
      "chain.rpc": flags.rpc,
      "research.workers": flags.research,
      "research.trial_cpu": flags.research_cpu,
    });
    const { values } = config;
    const { data_dir } = values.node;
    if (fs.statSync(data_dir, { throwIfNoEntry: false })?.isDirectory() === false)
      throw new MagnetError("NOT_A_FOLDER", `${data_dir}: is not a folder`, {
        hint: "name a folder with --data-dir",
      });
    fs.mkdirSync(data_dir, { recursive: true, mode: 0o700 });
    const unlock = lockDataDir(data_dir);
    try {
      const choice = await chooseTier(values.node.tier, parseDevice(values.node.device));
      const storage = keyStorageOf(values, process.env);
      const { identity } = openIdentity(storage, systemRandom);
      const { network, file } = joinedNetwork({
        data_dir,
        file: values.network.file,
        name: values.network.name,
        public_key: identity.public_key,
      });
      const node = await startNode({
        data_dir,
        network,
        identity,
        listen: splitListen(values.node.listen),
        advertise: values.node.advertise === "" ? null : values.node.advertise,
        tier: choice.tier,
        device: choice.device,
        peers: values.network.peers.map(hostPortOf),
        threads: values.training.threads,
        max_disk_bytes: values.node.max_disk,
        clock: systemClock,
        random: systemRandom,
        research: {
          workers: values.research.workers,
          trial_cpu_s: values.research.trial_cpu,
          self: selfCommand(),
          version: packageJson.version,
        },
        ...ledgerJoin(network, values.chain.rpc, flags),
      });
      const announce = (control_url: string) => {
        if (flags.ready_file !== undefined)
          writeReadyFile(flags.ready_file, readyContent(node, control_url));
        const key_backed_up = wasExported(storage);
        const facts = { network_file: file, control_url, tier_reason: choice.why, key_backed_up };
        out.record("join", banner(node, facts), () => bannerText(node, facts));
      };
      const until = flags.attached ? AbortSignal.any([signal, stdinClosed()]) : signal;
      await runUntilStopped(node, until, announce);
    } finally {
      unlock();
    }
    return undefined;
  },
});
