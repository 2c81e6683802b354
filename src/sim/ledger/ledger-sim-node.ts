/**
 * One node of the simulated ledger: the shipped machine, a disk that outlives it, a durable queue of
 * transactions, and its window on the chain, which can be shut.
 */
import { EpochMachine } from "../../chain/ledger/epoch-machine.ts";
import type { LedgerCall, LedgerEffect, LedgerEvent } from "../../chain/ledger/ledger-types.ts";
import type { EpochMachineParams } from "../../chain/ledger/machine-parts.ts";
import type { Hash } from "../../core/types.ts";
import type { Role } from "./ledger-profiles.ts";

/** What survives a crash. */
interface Disk {
  persisted: unknown;
  readonly records: Map<Hash, Uint8Array>;
  /** Transactions by key, in the order of their first submission. */
  readonly queue: Map<string, { call: LedgerCall; sent: boolean; told: string }>;
}

/** What a node needs from the world around it. */
export interface LedgerWorld {
  now_ms(): number;
  after(delay_ms: number, run: () => void): void;
  onEvent(node: LedgerSimNode, event: LedgerEvent): void;
  /** Every effect; what it returns is carried out. */
  onEffect(node: LedgerSimNode, effect: LedgerEffect): LedgerEffect | null;
  /** Effects that are more than this node's own disk and queue. */
  carryOut(node: LedgerSimNode, effect: LedgerEffect): void;
}

export class LedgerSimNode {
  readonly disk: Disk = { persisted: undefined, records: new Map(), queue: new Map() };
  machine: EpochMachine | null = null;
  life = 0;
  /** Its RPC answers. */
  rpc_up = true;
  /** Since when the node could act without a break; null while it cannot. */
  able_since_ms: number | null = null;
  /** Times in which it could not act. */
  readonly unable: { from_ms: number; to_ms: number }[] = [];
  #unable_since_ms = 0;

  constructor(
    readonly index: number,
    readonly params: EpochMachineParams,
    readonly role: Role,
    private readonly world: LedgerWorld,
  ) {}

  start(): void {
    this.life++;
    this.machine = new EpochMachine(this.params);
    const records = [...this.disk.records.values()];
    this.#noteAble();
    this.step({ type: "start", persisted: this.disk.persisted, records });
  }

  crash(): void {
    this.machine = null;
    this.life++;
    this.#noteAble();
  }

  setRpc(up: boolean): void {
    this.rpc_up = up;
    this.#noteAble();
    if (!up) this.step({ type: "chain_down", reason: "the RPC does not answer" });
  }

  /** True if it was up, with its RPC, for so long without a break within the time given. */
  wasAble(from_ms: number, to_ms: number, needed_ms: number): boolean {
    let at_ms = from_ms;
    for (const gap of this.unable) {
      if (gap.to_ms < from_ms) continue;
      if (Math.min(gap.from_ms, to_ms) - at_ms >= needed_ms) return true;
      at_ms = Math.max(at_ms, gap.to_ms);
    }
    const open_ms = this.able_since_ms === null ? this.#unable_since_ms : to_ms;
    return Math.min(open_ms, to_ms) - at_ms >= needed_ms;
  }

  #noteAble(): void {
    const able = this.machine !== null && this.rpc_up;
    const now_ms = this.world.now_ms();
    if (able === (this.able_since_ms !== null)) return;
    if (able) this.unable.push({ from_ms: this.#unable_since_ms, to_ms: now_ms });
    else this.#unable_since_ms = now_ms;
    this.able_since_ms = able ? now_ms : null;
  }

  /** Handles an event and carries out its effects in order. */
  step(event: LedgerEvent): void {
    if (!this.machine) return;
    this.world.onEvent(this, event);
    for (const effect of this.machine.step(event, this.world.now_ms())) {
      const allowed = this.world.onEffect(this, effect);
      if (allowed) this.#carryOut(allowed);
    }
  }

  #carryOut(effect: LedgerEffect): void {
    const { disk } = this;
    switch (effect.type) {
      case "persist":
        // As through a file: nothing of the machine's own memory survives in it.
        disk.persisted = JSON.parse(JSON.stringify(effect.value));
        break;
      case "store_record":
        disk.records.set(effect.data_hash, effect.bytes);
        break;
      case "drop_records":
        for (const hash of effect.data_hashes) disk.records.delete(hash);
        break;
      case "submit": {
        const known = disk.queue.get(effect.key);
        // A key that is known is answered again with what became of it.
        if (known) known.told = "";
        else disk.queue.set(effect.key, { call: effect.call, sent: false, told: "" });
        break;
      }
      default:
        this.world.carryOut(this, effect);
    }
  }

  later(min_ms: number, max_ms: number, run: () => void): void {
    const { life } = this;
    const share = this.params.random.next();
    this.world.after(min_ms + (max_ms - min_ms) * share, () => {
      if (this.life === life) run();
    });
  }
}
