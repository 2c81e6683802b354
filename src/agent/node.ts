/**
 * The node: membership, election and round composed into one state machine, `step(event, now_ms) ->
 * effects`, without clock, socket, disk or randomness of its own. The runtime drives it in a process,
 * the simulator drives a thousand of it in one. Storage's keeper is stepped here too, once it exists.
 */
import { RoundMachine } from "../diloco/round.ts";
import { Election } from "../network/election.ts";
import { Membership } from "../network/membership.ts";
import type { NodeStatus } from "../network/membership-messages.ts";
import type { ReceivedMessage } from "../network/protocol.ts";
import { describeNode, phaseOf } from "./node-status.ts";
import type { NodeEffect, NodeEvent, NodeParams, NodeView } from "./node-types.ts";

export class NodeMachine {
  readonly membership: Membership;
  readonly election: Election;
  readonly round: RoundMachine;

  constructor(params: NodeParams) {
    const { signer, verifier, random, roster, roster_hash, tier, address, bootstrap } = params;
    const { heartbeat_ms, suspect_ms, dead_ms, view_timeout_ms, grace_ms } = params.timing;
    const keys = { signer, verifier };
    const limits = { heartbeat_ms, suspect_ms, dead_ms };
    // What was lost is said again once per heartbeat: often enough to heal, rare enough to be cheap.
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
  }

  /** Handles one event; the effects are to be carried out in order. Throws STATE_CORRUPT on start. */
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
    if (type.startsWith("election.")) this.election.message(message, now_ms, out);
    else if (type.startsWith("round.")) this.round.message(message, now_ms, out);
    else if (type === "membership.heartbeat") {
      const { status } = body as { status: NodeStatus };
      this.election.peerIsAt(from, status.round, status.decided, now_ms, out);
      this.round.peerKnowsJobs(from, status.jobs, now_ms, out);
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
