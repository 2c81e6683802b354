/**
 * The node: membership, election, round and storage keeper composed into one state machine,
 * `step(event, now_ms) -> effects`, without clock, socket, disk or randomness of its own. The
 * runtime drives it in a process, the simulator drives a thousand of it in one.
 */

import type { PublicKey } from "../core/types.ts";
import { RoundMachine } from "../diloco/round.ts";
import { Election } from "../network/election.ts";
import { Membership, type Peer } from "../network/membership.ts";
import type { NodeStatus } from "../network/membership-messages.ts";
import type { ReceivedMessage } from "../network/protocol.ts";
import { Keeper } from "../storage/keeper.ts";
import { KEEPER_DEFAULTS, type KeeperEvent, type KeeperParams } from "../storage/keeper-types.ts";
import { describeNode, phaseOf } from "./node-status.ts";
import type { NodeEffect, NodeEvent, NodeParams, NodeView } from "./node-types.ts";

const KEEPER_EVENTS = {
  alive: "member_up",
  suspect: "member_suspect",
  dead: "member_down",
} as const;

/** All delays of the keeper follow from one: how long a holder may be silent. */
const keeperParams = (self: PublicKey, repair_after_ms: number): KeeperParams => ({
  ...KEEPER_DEFAULTS,
  self,
  inventory_ms: Math.min(KEEPER_DEFAULTS.inventory_ms, Math.ceil(repair_after_ms / 2)),
  high_ms: Math.ceil(repair_after_ms / 2),
  normal_ms: repair_after_ms,
  takeover_ms: Math.min(KEEPER_DEFAULTS.takeover_ms, repair_after_ms),
  surplus_ms: repair_after_ms,
  retry_ms: Math.min(KEEPER_DEFAULTS.retry_ms, Math.ceil(repair_after_ms / 2)),
});

export class NodeMachine {
  readonly membership: Membership;
  readonly election: Election;
  readonly round: RoundMachine;
  readonly keeper: Keeper;
  /** Peers as the keeper was last told. */
  readonly #told = new Map<PublicKey, Peer["liveness"]>();

  constructor(params: NodeParams) {
    const { signer, verifier, random, roster, roster_hash, tier, address, bootstrap } = params;
    const { heartbeat_ms, suspect_ms, dead_ms, view_timeout_ms, grace_ms } = params.timing;
    const keys = { signer, verifier };
    const limits = { heartbeat_ms, suspect_ms, dead_ms };
    // What was lost is said again once per heartbeat: often enough to heal, rare enough to be
    // cheap.
    const resend_ms = heartbeat_ms;
    this.membership = new Membership({
      ...keys,
      ...limits,
      random,
      roster,
      tier,
      address,
      bootstrap,
    });
    this.election = new Election({ ...keys, roster, roster_hash, view_timeout_ms, resend_ms });
    const pace = { grace_ms, view_timeout_ms, resend_ms };
    this.round = new RoundMachine(
      { ...keys, ...pace, random, tier },
      this.election,
      this.membership,
    );
    this.keeper = new Keeper(keeperParams(signer.public_key, params.timing.repair_after_ms));
  }

  /**
   * Handles one event; the effects are to be carried out in order. Throws STATE_CORRUPT on start.
   */
  step(event: NodeEvent, now_ms: number): NodeEffect[] {
    const out: NodeEffect[] = [];
    switch (event.type) {
      case "start":
        out.push(
          ...this.membership.step({ type: "start", persisted: event.persisted.peers }, now_ms),
        );
        this.election.start(event.persisted.election, now_ms, out);
        this.round.start(event.persisted, event.states);
        break;
      case "tick":
        out.push(...this.membership.step({ type: "tick", status: this.#status() }, now_ms));
        this.#tellKeeper(now_ms, out);
        this.#keeper({ type: "tick" }, now_ms, out);
        break;
      case "peer_up":
        out.push(...this.membership.step(event, now_ms));
        this.round.peerUp(event.public_key, out);
        break;
      case "peer_down":
      case "dial_failed":
        out.push(...this.membership.step(event, now_ms));
        break;
      case "message":
        this.#message({ from: event.from, ...event.message }, now_ms, out);
        break;
      case "keeper":
        this.#keeper(event.event, now_ms, out);
        break;
      default:
        this.round.event(event, now_ms, out);
    }
    // Heartbeats are most of the traffic and change nothing that the next tick would miss.
    const is_chatter = event.type === "message" && event.message.type.startsWith("membership.");
    if (!is_chatter) this.round.advance(now_ms, out);
    if (event.type === "tick") this.election.tick(this.round.context(), now_ms, out);
    return out;
  }

  /** For people and for the control interface. */
  view(): NodeView {
    return describeNode(this.round.parts);
  }

  #message(message: ReceivedMessage, now_ms: number, out: NodeEffect[]): void {
    const { from, type, body } = message;
    out.push(...this.membership.step({ type: "message", from, message }, now_ms));
    const is_member = this.election.ballots.isMember(from);
    if (type.startsWith("election.")) this.election.message(message, now_ms, out);
    else if (type.startsWith("round.")) this.round.message(message, now_ms, out);
    else if (type.startsWith("storage.") && is_member)
      this.#keeper({ type: "message", from, message: { type, body } }, now_ms, out);
    else if (type === "membership.heartbeat" && is_member) {
      const { status } = body as { status: NodeStatus };
      this.election.peerIsAt(from, status.round, status.decided, now_ms, out);
      this.round.peerKnowsJobs(from, status.jobs, now_ms, out);
    }
  }

  #keeper(event: KeeperEvent, now_ms: number, out: NodeEffect[]): void {
    for (const effect of this.keeper.step(event, now_ms))
      out.push(
        effect.type === "send" || effect.type === "broadcast" || effect.type === "log"
          ? effect
          : { type: "keeper", effect },
      );
  }

  /**
   * Tells the keeper which members came, are suspected, or are gone since the last tick. Of
   * strangers it hears nothing: one that claims to hold shards would otherwise make others delete
   * theirs.
   */
  #tellKeeper(now_ms: number, out: NodeEffect[]): void {
    for (const public_key of this.election.ballots.members) {
      const peer = this.membership.peers.get(public_key);
      if (!peer) continue;
      const liveness = peer.connected || peer.liveness !== "alive" ? peer.liveness : "suspect";
      if (this.#told.get(public_key) === liveness) continue;
      this.#told.set(public_key, liveness);
      this.#keeper({ type: KEEPER_EVENTS[liveness], public_key }, now_ms, out);
    }
  }

  #status(): NodeStatus {
    const { round, view, decided } = this.election;
    const { jobs, promotion } = this.round.parts;
    return {
      phase: phaseOf(this.round.parts),
      round,
      view,
      decided: decided.length,
      state_hash: promotion.adopted,
      jobs: jobs.size,
    };
  }
}

/** A node in its initial state; its first event is `start`. */
export const createNode = (params: NodeParams): NodeMachine => new NodeMachine(params);
