/**
 * Registers this node and raises its bond to what its operator asked for, and its notary's seat
 * likewise. One transaction after another, each under a key of its own, so that a restart in the
 * middle repeats nothing. What was slashed is not put back by itself: that is the operator's
 * decision, under another amount.
 */
import { formatMag } from "../../chain/amounts.ts";
import { publicKeyPoint } from "../../chain/client/account.ts";
import type { Call, Ledger } from "../../chain/client/ledger.ts";
import type { TransactionQueue } from "../../chain/client/transaction-queue.ts";
import { TIERS, type Tier } from "../../core/tiers.ts";
import type { PublicKey } from "../../core/types.ts";

/** Amounts in base units; null: nothing is asked for. */
export interface WantedStake {
  bond: bigint | null;
  seat: bigint | null;
}

export interface StakeStatus {
  state: "not_asked" | "working" | "waiting" | "done";
  reason: string;
}

export interface StakeOptions {
  ledger: Ledger;
  queue: TransactionQueue;
  public_key: PublicKey;
  tier: Tier;
  wanted: WantedStake;
}

/** Transactions among which a raised stake is looked for. */
const RECENT_MAX = 4096;

type NodeState = Awaited<ReturnType<StakeKeeper["node"]>>;

export class StakeKeeper {
  readonly #options: StakeOptions;
  #status: StakeStatus;

  constructor(options: StakeOptions) {
    this.#options = options;
    const { bond, seat } = options.wanted;
    const isAsked = bond !== null || seat !== null;
    this.#status = isAsked
      ? { state: "working", reason: "waiting for the chain" }
      : { state: "not_asked", reason: "magnet join --bond AMOUNT, or magnet chain register" };
  }

  get status(): StakeStatus {
    return this.#status;
  }

  node() {
    const { ledger, queue } = this.#options;
    return ledger.read("nodes", "nodeOf", [queue.address]);
  }

  /** Takes the next step, if there is one. Throws what the chain's reads throw. */
  async advance(): Promise<void> {
    const { state } = this.#status;
    if (state === "not_asked" || state === "done") return;
    const step = this.#next(await this.node());
    if (step === null) {
      this.#status = { state: "done", reason: "" };
      return;
    }
    this.#status = await this.#take(step.key, step.amount, step.call);
  }

  #next(node: NodeState): { key: string; amount: bigint; call: Call } | null {
    const { ledger, wanted } = this.#options;
    const { bond, seat } = wanted;
    if (bond !== null && !node.registered)
      return { key: "stake/register", amount: bond, call: this.#register(bond) };
    if (bond !== null && node.bond < bond && !this.#wasReached("bond", bond)) {
      const amount = bond - node.bond;
      const key = `stake/bond/${node.bond}-${bond}`;
      return { key, amount, call: ledger.call("nodes", "addBond", [amount]) };
    }
    const sits = seat === null || node.notaryBond >= seat || this.#wasReached("seat", seat);
    if (seat !== null && node.registered && !sits) {
      const amount = seat - node.notaryBond;
      const key = `stake/seat/${node.notaryBond}-${seat}`;
      return { key, amount, call: ledger.call("nodes", "takeSeat", [amount]) };
    }
    return null;
  }

  #register(bond: bigint): Call {
    const { ledger, public_key, tier } = this.#options;
    const { x, y } = publicKeyPoint(public_key);
    return ledger.call("nodes", "register", [x, y, TIERS.indexOf(tier), bond]);
  }

  /** By an earlier run as well: what is missing of it now was slashed, or was taken back. */
  #wasReached(kind: "bond" | "seat", amount: bigint): boolean {
    const { queue } = this.#options;
    const isMined = (entry: { state: string } | undefined) =>
      entry?.state === "mined" || entry?.state === "confirmed";
    const first = queue.get(kind === "bond" ? "stake/register" : `stake/seat/0-${amount}`);
    const isSame = kind === "seat" || first?.data === this.#register(amount).data;
    if (isMined(first) && isSame) return true;
    const raised = new RegExp(`^stake/${kind}/\\d+-${amount}$`);
    return queue.recent(RECENT_MAX).some((entry) => raised.test(entry.key) && isMined(entry));
  }

  /** The allowance first, then the call that takes it. */
  async #take(key: string, amount: bigint, call: Call): Promise<StakeStatus> {
    const { ledger, queue } = this.#options;
    const known = queue.get(key);
    if (known === undefined) {
      const held = await ledger.read("magToken", "balanceOf", [queue.address]);
      if (held < amount)
        return {
          state: "waiting",
          reason: `${queue.address} holds ${formatMag(held)} MAG, ${formatMag(amount)} are needed`,
        };
      const nodes = ledger.address("nodes");
      const allowed = await ledger.read("magToken", "allowance", [queue.address, nodes]);
      if (allowed < amount) {
        const approve = ledger.call("magToken", "approve", [nodes, amount]);
        return statusOf(queue.submit({ key: `${key}/allowance`, ...approve }), call.what);
      }
    }
    return statusOf(queue.submit({ key, ...call }), call.what);
  }
}

function statusOf(entry: ReturnType<TransactionQueue["submit"]>, what: string): StakeStatus {
  const because = entry.reason ? `: ${entry.reason.message}` : "";
  if (entry.state === "failed" || entry.state === "reverted" || entry.state === "dropped")
    return { state: "waiting", reason: `${what} ${entry.state}${because}` };
  return { state: "working", reason: `${what} is ${entry.state}${because}` };
}
