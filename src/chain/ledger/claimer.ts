/** Claims what this node has earned, once a root is final; one record holds everything for it. */
import type { Sink } from "../../network/effects.ts";
import { claimOf, cumulativeOf } from "./epoch-record.ts";
import type { LedgerEffect } from "./ledger-types.ts";
import type { MachineParts } from "./machine-parts.ts";

export class Claimer {
  constructor(private readonly parts: MachineParts) {}

  /** Earned under the newest final record and not claimed; null while that is not known. */
  claimable(): bigint | null {
    const { account, records, address } = this.parts;
    if (!account) return null;
    if (!account.final) return 0n;
    const sealed = records.get(account.final.data_hash);
    return sealed ? cumulativeOf(sealed.record, address) - account.claimed : null;
  }

  advance(now_ms: number, out: Sink<LedgerEffect>): void {
    const { account, records, address } = this.parts;
    if (!account?.final) return;
    const { data_hash, root, epoch } = account.final;
    const sealed = records.get(data_hash);
    if (!sealed) {
      records.want(data_hash, now_ms, out);
      return;
    }
    if (sealed.outcome.root !== root || (this.claimable() ?? 0n) <= 0n) return;
    const claim = claimOf(sealed, address);
    if (!claim) return;
    const call = { method: "claim" as const, account: address, ...claim };
    this.parts.want(`claim:${epoch}:${root.slice(2, 18)}`, call, now_ms, out);
  }
}
