/** What goes wrong during the safety phase: crashes at any effect, restarts, partitions. */
import type { Random } from "../core/random.ts";
import type { EventQueue } from "./event-queue.ts";
import type { Profile } from "./profiles.ts";
import type { SimNetwork } from "./sim-network.ts";
import type { SimNode } from "./sim-node.ts";
import type { Trace } from "./trace.ts";

/** A crash that is due strikes within so many effects: between a promise and its message, too. */
const CRASH_WITHIN_EFFECTS = 4;
/** A node that does nothing for so long crashes anyway. */
const CRASH_AT_LATEST_MS = 2000;

export class Faults {
  crashes = 0;
  partitions = 0;
  #ended = false;

  constructor(
    private readonly nodes: readonly SimNode[],
    private readonly network: SimNetwork,
    private readonly queue: EventQueue,
    private readonly random: Random,
    private readonly trace: Trace,
  ) {}

  begin(profile: Profile): void {
    if (profile.crash_every_ms > 0) this.#repeat(profile.crash_every_ms, () => this.#crash());
    if (profile.partition_every_ms > 0)
      this.#repeat(profile.partition_every_ms, () => this.#partition(profile));
  }

  /** Ends all faults; all but at most `minority` nodes are up afterwards. */
  end(minority: number, faults: Profile): void {
    this.#ended = true;
    this.network.heal();
    const gone = this.random.next() < faults.permanent ? this.random.below(minority + 1) : 0;
    const doomed = new Set(this.#shuffled().slice(0, gone));
    // Who never met anyone knows the bootstrap nodes only, and nobody knows it: one of them must
    // stay.
    const isAlone = (node: SimNode) => !doomed.has(node) && !node.disk.values.has("peers");
    if (this.nodes.some(isAlone)) doomed.delete(this.nodes[0]!);
    for (const node of this.nodes) {
      node.crash_after = null;
      if (doomed.has(node) && node.machine) this.stop(node);
      else if (!doomed.has(node) && !node.machine) this.#start(node);
    }
  }

  #repeat(mean_ms: number, strike: () => void): void {
    // Exponential gaps: faults also come in bursts.
    const gap_ms = -Math.log(1 - this.random.next()) * mean_ms;
    this.queue.after(gap_ms, () => {
      if (this.#ended) return;
      strike();
      this.#repeat(mean_ms, strike);
    });
  }

  #crash(): void {
    const node = this.nodes[this.random.below(this.nodes.length)]!;
    if (!node.machine) return;
    node.crash_after = this.random.below(CRASH_WITHIN_EFFECTS);
    const { machine } = node;
    this.queue.after(this.random.next() * CRASH_AT_LATEST_MS, () => {
      if (this.#ended) return;
      if (node.machine === machine) this.stop(node);
      this.queue.after(500 + this.random.next() * 15_000, () => {
        if (!this.#ended && !node.machine) this.#start(node);
      });
    });
  }

  /** Crashes a node: its disk stays, its connections and all work under way are gone. */
  stop(node: SimNode): void {
    this.crashes++;
    node.crash();
    this.trace.note(this.queue.now_ms, node.index, "CRASH", null);
    const others = this.nodes.map((other) => other.index).filter((index) => index !== node.index);
    this.network.cut(node.index, others);
  }

  #start(node: SimNode): void {
    this.trace.note(this.queue.now_ms, node.index, "RESTART", null);
    node.start();
  }

  #partition(profile: Profile): void {
    this.partitions++;
    const order = this.#shuffled().map((node) => node.index);
    const cut = 1 + this.random.below(order.length - 1);
    const both = this.random.next() >= profile.asymmetric;
    this.trace.note(this.queue.now_ms, -1, "PARTITION", { group: order.slice(0, cut), both });
    this.network.partition(order.slice(0, cut), order.slice(cut), both);
    this.queue.after(1000 + this.random.next() * 20_000, () => {
      this.network.heal();
      this.trace.note(this.queue.now_ms, -1, "HEAL", null);
    });
  }

  #shuffled(): SimNode[] {
    const order = [...this.nodes];
    for (let i = order.length - 1; i > 0; i--) {
      const j = this.random.below(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }
}
