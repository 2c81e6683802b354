/**
 * The simulated network: connections between nodes, and messages on them that are delayed,
 * reordered, lost, doubled, or held up by partitions. A connection dies with a crash of either end.
 */
import type { Random } from "../core/random.ts";
import type { Message } from "../network/protocol.ts";
import type { EventQueue } from "./event-queue.ts";
import type { Profile } from "./profiles.ts";

/** How long an end takes to notice that a connection is gone when nobody says so. */
const SILENT_LOSS_MS = 10_000;

/** What the network does to nodes. */
export interface Endpoint {
  isUp(node: number): boolean;
  connected(node: number, peer: number, dialed: boolean): void;
  disconnected(node: number, peer: number): void;
  dialFailed(node: number, peer: number): void;
  deliver(node: number, from: number, message: Message): void;
}

export class SimNetwork {
  readonly #queue: EventQueue;
  readonly #random: Random;
  readonly #endpoint: Endpoint;
  /** Number of the connection between two nodes; absent while there is none. */
  readonly #links = new Map<number, number>();
  /** Directed pairs that a partition blocks. */
  readonly #blocked = new Set<number>();
  #opened = 0;
  profile: Profile;
  messages = 0;

  constructor(queue: EventQueue, random: Random, profile: Profile, endpoint: Endpoint) {
    this.#queue = queue;
    this.#random = random;
    this.profile = profile;
    this.#endpoint = endpoint;
  }

  isLinked(a: number, b: number): boolean {
    return this.#links.has(link(a, b));
  }

  /** True if bytes pass from one node to the other now. */
  passes(from: number, to: number): boolean {
    return this.isLinked(from, to) && !this.#blocked.has(directed(from, to));
  }

  dial(node: number, peer: number): void {
    this.#queue.after(this.#delay() * 2, () => {
      if (!this.#endpoint.isUp(node) || this.isLinked(node, peer)) return;
      const blocked =
        this.#blocked.has(directed(node, peer)) || this.#blocked.has(directed(peer, node));
      if (blocked || !this.#endpoint.isUp(peer)) {
        this.#endpoint.dialFailed(node, peer);
        return;
      }
      this.#links.set(link(node, peer), ++this.#opened);
      this.#endpoint.connected(node, peer, true);
      this.#endpoint.connected(peer, node, false);
    });
  }

  send(from: number, to: number, message: Message): void {
    const id = this.#links.get(link(from, to));
    if (id === undefined) return;
    this.messages++;
    if (this.#random.next() < this.profile.duplicate) this.#carry(id, from, to, message);
    this.#carry(id, from, to, message);
  }

  /** Ends every connection of a node; peers notice at once or after a silence. */
  cut(node: number, others: Iterable<number>): void {
    for (const peer of others) {
      const id = this.#links.get(link(node, peer));
      if (id === undefined) continue;
      this.#links.delete(link(node, peer));
      const delay_ms = this.#random.next() < 0.5 ? this.#delay() : SILENT_LOSS_MS;
      this.#queue.after(delay_ms, () => {
        // A newer connection means that the peer has long noticed.
        if (!this.isLinked(node, peer)) this.#endpoint.disconnected(peer, node);
      });
    }
  }

  /** Blocks the traffic between two groups, in one direction or both. */
  partition(a: readonly number[], b: readonly number[], both: boolean): void {
    for (const from of a)
      for (const to of b) {
        this.#blocked.add(directed(from, to));
        if (both) this.#blocked.add(directed(to, from));
      }
  }

  heal(): void {
    this.#blocked.clear();
  }

  #carry(id: number, from: number, to: number, message: Message): void {
    if (this.#random.next() < this.profile.loss) return;
    this.#queue.after(this.#delay(), () => {
      if (this.#links.get(link(from, to)) !== id || this.#blocked.has(directed(from, to))) return;
      this.#endpoint.deliver(to, from, message);
    });
  }

  /** Mostly short, with a long tail: the fifth power of a uniform draw. */
  #delay(): number {
    const { delay_min_ms, delay_max_ms } = this.profile;
    return delay_min_ms + (delay_max_ms - delay_min_ms) * this.#random.next() ** 5;
  }
}

const directed = (from: number, to: number): number => from * 65_536 + to;
const link = (a: number, b: number): number => (a < b ? directed(a, b) : directed(b, a));
