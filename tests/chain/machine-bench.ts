/** One epoch machine under a test's hand: real keys, a chain that is a view, everything it said. */

import { addressOf } from "../../src/chain/client/account.ts";
import { EpochMachine } from "../../src/chain/ledger/epoch-machine.ts";
import type {
  AccountView,
  Address,
  EpochView,
  LedgerCall,
  LedgerEffect,
  LedgerEvent,
  LedgerPlace,
  VerifiedReport,
} from "../../src/chain/ledger/ledger-types.ts";
import { type ContributionFacts, EMPTY_FACTS } from "../../src/chain/ledger/report.ts";
import { fromHex, sha256, sha256Hex } from "../../src/core/bytes.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Hash } from "../../src/core/types.ts";
import { walletVerifier } from "../../src/network/auth.ts";
import { type Identity, identityOf } from "../../src/network/identity.ts";

export const GENESIS_S = 1_800_000_000;
export const place: LedgerPlace = {
  ...{ chain_id: 31_337, epochs: `0x${"e".repeat(40)}`, disputes: `0x${"d".repeat(40)}` },
  ...{ genesis_s: GENESIS_S, epoch_seconds: 600 },
};

export const keyOf = (n: number): Identity => identityOf(sha256(`bench ${n}`));
export const addressOfKey = (identity: Identity): Address =>
  addressOf(identity.public_key).toLowerCase() as Address;

/** Windows of the defaults. */
export function windowsOf(epoch: number) {
  const commit_start_s = GENESIS_S + (epoch + 1) * 600;
  return {
    ...{ commit_start_s, commit_end_s: commit_start_s + 90 },
    ...{ reveal_end_s: commit_start_s + 180, proposer_end_s: commit_start_s + 240 },
    settle_end_s: commit_start_s + 3600,
  };
}

/** An epoch of `members`, all notaries, nothing on the chain yet. */
export function viewOf(epoch: number, members: readonly Identity[]): EpochView {
  const addresses = members.map(addressOfKey);
  return {
    ...{ epoch, windows: windowsOf(epoch), pool: 1000n, proposer: addresses[0]! },
    ...{ tier_rewards: [3000, 1000, 300, 300, 100], challenge_seconds: 120 },
    axis_weights: [1000, 5000, 2000, 1000, 1000],
    signatures_needed: Math.floor((members.length - 1) / 3) + 1,
    notaries: [...addresses].sort(),
    nodes: members.map((member) => ({
      ...{ address: addressOfKey(member), tier: "cpu_only" as const, bond: 30n },
      node_id: sha256Hex(fromHex(member.public_key)) as Hash,
    })),
    ...{ commits: [], reveals: [], commit_root: null, settlement: null },
  };
}

export const facts = (round: number, inner_steps = 100): ContributionFacts => ({
  ...EMPTY_FACTS,
  training_compute: [
    { round, inner_steps, parameters: 5_000_000, merge_hash: sha256Hex(`m${round}`) as Hash },
  ],
});

export const verifiedOf = (given: ContributionFacts): VerifiedReport => ({
  rounds: given.training_compute.map((one) => ({
    round: one.round,
    amount: BigInt(one.inner_steps * one.parameters),
  })),
  ...{ evaluations: [], data_quality: 0n, storage: 0n, serving: 0n },
});

const ACCOUNT: AccountView = {
  registered: true,
  active: true,
  claimed: 0n,
  final: null,
  last: null,
};

export class MachineBench {
  machine: EpochMachine;
  readonly address: Address;
  effects: LedgerEffect[] = [];
  /** What `persist` wrote last. */
  persisted: unknown;
  readonly records: Uint8Array[] = [];
  time_s = GENESIS_S;
  block = 1;

  constructor(
    readonly identity: Identity,
    readonly direct_nodes_max = 64,
  ) {
    this.address = addressOfKey(identity);
    this.machine = this.#fresh();
    this.step({ type: "start", persisted: undefined, records: [] });
    this.account({});
  }

  #fresh(): EpochMachine {
    return new EpochMachine({
      ...{ signer: this.identity, verifier: walletVerifier, address: this.address, place },
      ...{ random: seededRandom(7), direct_nodes_max: this.direct_nodes_max, resend_ms: 1000 },
    });
  }

  /** As after a crash: only what was durable comes back. */
  restart(): void {
    this.machine = this.#fresh();
    this.effects = [];
    const persisted = JSON.parse(JSON.stringify(this.persisted ?? null));
    this.step({ type: "start", persisted, records: this.records });
    this.account({});
  }

  step(event: LedgerEvent): LedgerEffect[] {
    const out = this.machine.step(event, this.time_s * 1000);
    for (const effect of out) {
      if (effect.type === "persist") this.persisted = effect.value;
      if (effect.type === "store_record") this.records.push(effect.bytes);
    }
    this.effects.push(...out);
    return out;
  }

  account(change: Partial<AccountView>): void {
    this.step({ type: "account_view", view: { ...ACCOUNT, ...change } });
  }

  /** A block at so many seconds after the epoch's end. */
  at(epoch: number, after_end_s: number): LedgerEffect[] {
    this.time_s = windowsOf(epoch).commit_start_s + after_end_s;
    this.block++;
    const hash = `0x${sha256Hex(`block ${this.block}`)}` as const;
    const block = { number: this.block, hash, timestamp_s: this.time_s };
    return this.step({ type: "block", ...block });
  }

  view(view: EpochView): LedgerEffect[] {
    return this.step({ type: "epoch_view", view });
  }

  /** Calls asked for so far, by key. */
  get calls(): Map<string, LedgerCall> {
    return new Map(
      this.effects.flatMap((effect) =>
        effect.type === "submit" ? [[effect.key, effect.call]] : [],
      ),
    );
  }

  said(type: string): unknown[] {
    return this.effects.flatMap((effect) =>
      "message" in effect && effect.message.type === type ? [effect.message.body] : [],
    );
  }

  status(epoch: number) {
    return this.machine.view().epochs.find((one) => one.epoch === epoch)!;
  }
}
