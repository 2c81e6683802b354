/**
 * Who is there: known peers, heartbeats over connections, suspicion and death at fixed limits,
 * exchange of signed records, and redials with backoff (paper 12; first form of SWIM: no indirect
 * probes yet). A state machine without I/O. It judges liveness for this node only; nothing here
 * changes the roster. Every table has a limit: a newcomer beyond it is not tracked, roster members
 * always are.
 */
import { z } from "zod";
import type { Random } from "../core/random.ts";
import type { Tier } from "../core/tiers.ts";
import type { PublicKey } from "../core/types.ts";
import { DialPlan } from "./dial-plan.ts";
import type { BroadcastEffect, LogEffect, PersistEffect, SendEffect } from "./effects.ts";
import type { NodeStatus, PeerRecord } from "./membership-messages.ts";
import { peerRecordSchema, RECORDS_PER_MESSAGE } from "./membership-messages.ts";
import { signRecord } from "./peer-record.ts";
import type { Message } from "./protocol.ts";
import { RecordIntake } from "./record-intake.ts";
import type { Signer, Verifier } from "./signer.ts";

/** Peers tracked at one time, connected or not; 1,024 members and as many others. */
export const PEERS_MAX = 2048;
/** Records are exchanged with one peer in turn, once in so many heartbeats. */
const EXCHANGE_EVERY = 10;
/** Records kept on disk: roster members come first, as they are tracked first. */
const DURABLE_MAX = 1024;
const durableSchema = z.strictObject({ records: z.array(peerRecordSchema).max(DURABLE_MAX) });

export type Liveness = "alive" | "suspect" | "dead";

/** What this node knows of another. */
export interface Peer {
  public_key: PublicKey;
  /** Null until a connection or a record told. */
  tier: Tier | null;
  connected: boolean;
  /** When it last said anything; for one never heard, when it became known. */
  heard_ms: number;
  liveness: Liveness;
  /** Since when it is not both connected and alive; null while it is. */
  lost_since_ms: number | null;
  status: NodeStatus | null;
  record: PeerRecord | null;
}

export interface MembershipParams {
  signer: Signer;
  verifier: Verifier;
  random: Random;
  roster: readonly PublicKey[];
  tier: Tier;
  address: string | null;
  bootstrap: readonly { address: string; public_key?: PublicKey | undefined }[];
  heartbeat_ms: number;
  suspect_ms: number;
  dead_ms: number;
}

export type MembershipEvent =
  | { type: "start"; persisted: unknown }
  | { type: "tick"; status: NodeStatus }
  | { type: "peer_up"; public_key: PublicKey; tier: Tier; dialed: string | null }
  | { type: "peer_down"; public_key: PublicKey; reason: string }
  | { type: "dial_failed"; address: string; reason: string }
  | { type: "message"; from: PublicKey; message: Message };

export type MembershipEffect =
  | SendEffect
  | BroadcastEffect
  | LogEffect
  | PersistEffect<"peers">
  | { type: "dial"; address: string; public_key: PublicKey | null };

export class Membership {
  readonly peers = new Map<PublicKey, Peer>();
  readonly #params: MembershipParams;
  readonly #roster: ReadonlySet<PublicKey>;
  readonly #dials: DialPlan;
  #record: PeerRecord | null = null;
  #sequence = 0;
  #heartbeat_at = 0;
  #exchange_turn = 0;
  readonly #intake: RecordIntake;
  /** A record was learned since the durable copy was written. */
  #learned = false;

  constructor(params: MembershipParams) {
    this.#params = params;
    this.#roster = new Set(params.roster);
    const { signer, verifier, heartbeat_ms } = params;
    this.#dials = new DialPlan(signer.public_key, params.address, params.random);
    this.#intake = new RecordIntake(signer.public_key, verifier, EXCHANGE_EVERY * heartbeat_ms);
  }

  step(event: MembershipEvent, now_ms: number): MembershipEffect[] {
    const out: MembershipEffect[] = [];
    switch (event.type) {
      case "start":
        this.#start(event.persisted, now_ms);
        break;
      case "tick":
        this.#tick(event.status, now_ms, out);
        break;
      case "peer_up":
        this.#peerUp(event, now_ms, out);
        break;
      case "peer_down":
        this.#peerDown(event.public_key, event.reason, now_ms, out);
        break;
      case "dial_failed":
        this.#dials.failed(event.address, now_ms);
        break;
      case "message":
        this.#message(event.from, event.message, now_ms);
        break;
    }
    return out;
  }

  /** True for this node itself and for a peer that is connected and not suspected. */
  reachable(key: PublicKey): boolean {
    if (key === this.#params.signer.public_key) return true;
    const peer = this.peers.get(key);
    return peer !== undefined && peer.lost_since_ms === null;
  }

  /** Since when the peer is not reachable; null while it is. */
  lostSince(key: PublicKey): number | null {
    if (key === this.#params.signer.public_key) return null;
    return this.peers.get(key)?.lost_since_ms ?? null;
  }

  /** True once the peer was silent for the whole limit. */
  dead(key: PublicKey): boolean {
    return this.peers.get(key)?.liveness === "dead";
  }

  /** Roster members reachable now, this node included if it is one. */
  reachableMembers(): number {
    let count = 0;
    for (const key of this.#params.roster) if (this.reachable(key)) count++;
    return count;
  }

  #start(persisted: unknown, now_ms: number): void {
    const { signer, roster, tier, address, bootstrap } = this.#params;
    this.#record = signRecord(signer, { tier, address, issued_ms: now_ms });
    for (const key of roster) if (key !== signer.public_key) this.#track(key, now_ms);
    for (const entry of bootstrap)
      this.#dials.add(entry.address, entry.public_key ?? null, now_ms, true);
    // Only addresses worth trying: an unreadable copy costs no more than asking again.
    const records = durableSchema.safeParse(persisted);
    if (records.success)
      for (const record of this.#intake.stored(records.data.records, now_ms))
        this.#learn(record, now_ms);
    this.#learned = false;
  }

  #track(key: PublicKey, now_ms: number): Peer | undefined {
    const known = this.peers.get(key);
    if (known) return known;
    if (key === this.#params.signer.public_key) return undefined;
    if (this.peers.size >= PEERS_MAX && !this.#roster.has(key) && !this.#evict()) return undefined;
    const peer: Peer = {
      public_key: key,
      tier: null,
      connected: false,
      heard_ms: now_ms,
      liveness: "suspect",
      lost_since_ms: now_ms,
      status: null,
      record: null,
    };
    this.peers.set(key, peer);
    return peer;
  }

  /** Makes room by forgetting the longest silent stranger; false if all are connected. */
  #evict(): boolean {
    let oldest: Peer | undefined;
    for (const peer of this.peers.values()) {
      if (peer.connected || this.#roster.has(peer.public_key)) continue;
      if (!oldest || peer.heard_ms < oldest.heard_ms) oldest = peer;
    }
    if (!oldest) return false;
    this.#dials.forget(oldest.public_key);
    this.#intake.forget(oldest.public_key);
    return this.peers.delete(oldest.public_key);
  }

  #peerUp(
    event: { public_key: PublicKey; tier: Tier; dialed: string | null },
    now_ms: number,
    out: MembershipEffect[],
  ): void {
    const peer = this.#track(event.public_key, now_ms);
    if (!peer) return;
    Object.assign(peer, {
      connected: true,
      tier: event.tier,
      heard_ms: now_ms,
      liveness: "alive",
      lost_since_ms: null,
    });
    if (event.dialed !== null) this.#dials.connected(event.dialed, event.public_key);
    this.#sendRecords(peer, out);
    out.push(log("info", "peer_up", { peer: peer.public_key }));
  }

  #peerDown(key: PublicKey, reason: string, now_ms: number, out: MembershipEffect[]): void {
    const peer = this.peers.get(key);
    if (!peer?.connected) return;
    peer.connected = false;
    peer.liveness = "suspect";
    peer.lost_since_ms ??= now_ms;
    out.push(log("info", "peer_down", { peer: key, reason }));
  }

  #message(from: PublicKey, message: Message, now_ms: number): void {
    const peer = this.peers.get(from);
    if (!peer) return;
    peer.heard_ms = now_ms;
    if (peer.connected) {
      peer.liveness = "alive";
      peer.lost_since_ms = null;
    }
    if (message.type === "membership.heartbeat")
      peer.status = (message.body as { status: NodeStatus }).status;
    else if (message.type === "membership.records")
      this.#learnAll(from, (message.body as { records: PeerRecord[] }).records, now_ms);
  }

  #learnAll(from: PublicKey, records: readonly PeerRecord[], now_ms: number): void {
    const known = (key: PublicKey) => this.peers.get(key)?.record ?? null;
    for (const record of this.#intake.of(from, records, known, now_ms)) this.#learn(record, now_ms);
  }

  /** Takes in a record that was checked. */
  #learn(record: PeerRecord, now_ms: number): void {
    const key = record.public_key;
    const peer = this.#track(key, now_ms);
    if (!peer) return;
    peer.record = record;
    this.#learned = true;
    peer.tier ??= record.tier;
    if (record.address !== null)
      this.#dials.add(record.address, key, now_ms, this.#roster.has(key));
  }

  #tick(status: NodeStatus, now_ms: number, out: MembershipEffect[]): void {
    for (const peer of this.peers.values()) this.#judge(peer, now_ms, out);
    for (const dial of this.#dials.due((key) => this.peers.get(key)?.connected === true, now_ms))
      out.push({ type: "dial", ...dial });
    if (now_ms < this.#heartbeat_at) return;
    this.#heartbeat_at = now_ms + this.#params.heartbeat_ms;
    const body = { sequence: this.#sequence++, status };
    out.push({ type: "broadcast", message: { type: "membership.heartbeat", body } });
    if (this.#sequence % EXCHANGE_EVERY !== 0) return;
    this.#exchange(out);
    this.#persist(out);
  }

  /** Keeps the members' and some others' addresses, in case every bootstrap node is gone. */
  #persist(out: MembershipEffect[]): void {
    if (!this.#learned) return;
    this.#learned = false;
    const records = [...this.peers.values()].flatMap((peer) => peer.record ?? []);
    const value = { records: records.slice(0, DURABLE_MAX) };
    out.push({ type: "persist", key: "peers", value });
  }

  #judge(peer: Peer, now_ms: number, out: MembershipEffect[]): void {
    const silent_ms = now_ms - peer.heard_ms;
    const { suspect_ms, dead_ms } = this.#params;
    if (peer.liveness === "alive" && silent_ms > suspect_ms) {
      peer.liveness = "suspect";
      peer.lost_since_ms ??= now_ms;
      out.push(log("info", "peer_suspect", { peer: peer.public_key, silent_ms }));
    }
    if (peer.liveness === "suspect" && silent_ms > dead_ms) {
      peer.liveness = "dead";
      out.push(log("info", "peer_dead", { peer: peer.public_key, silent_ms }));
    }
  }

  /** Shares records with one connected peer, each in turn, so that missed ones spread later. */
  #exchange(out: MembershipEffect[]): void {
    const connected = [...this.peers.values()].filter((peer) => peer.connected);
    const peer = connected[this.#exchange_turn++ % Math.max(1, connected.length)];
    if (peer) this.#sendRecords(peer, out);
  }

  #sendRecords(to: Peer, out: MembershipEffect[]): void {
    const others: PeerRecord[] = [];
    for (const peer of this.peers.values())
      if (peer.record && peer !== to && peer.liveness !== "dead") others.push(peer.record);
    const room = RECORDS_PER_MESSAGE - 1;
    // A table larger than one message goes out in turns of `room` records.
    const offset = others.length > room ? (this.#exchange_turn * room) % others.length : 0;
    const records = [...others.slice(offset), ...others.slice(0, offset)].slice(0, room);
    if (this.#record) records.unshift(this.#record);
    if (records.length > 0)
      out.push({
        type: "send",
        to: to.public_key,
        message: { type: "membership.records", body: { records } },
      });
  }
}

const log = (level: LogEffect["level"], event: string, fields: LogEffect["fields"]): LogEffect => ({
  type: "log",
  level,
  event,
  fields,
});
