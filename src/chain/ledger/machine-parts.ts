/** What the parts of the epoch machine share: parameters, the chain's head, epochs, durable state. */
import { z } from "zod";
import type { Random } from "../../core/random.ts";
import type { Sink } from "../../network/effects.ts";
import type { Message, MessageSpec } from "../../network/protocol.ts";
import type { Signer, Verifier } from "../../network/signer.ts";
import { hashSchema } from "../../network/wire-types.ts";
import { EpochState } from "./epoch-state.ts";
import type {
  AccountView,
  Address,
  DisputeView,
  LedgerCall,
  LedgerEffect,
  LedgerPlace,
} from "./ledger-types.ts";
import { RecordBook } from "./record-book.ts";
import { decimalSchema, epochSchema, wordSchema } from "./scalars.ts";
import { Submitter } from "./submitter.ts";

export interface EpochMachineParams {
  signer: Signer;
  verifier: Verifier;
  /** Nonces and salts. */
  random: Random;
  /** Of the signer's key. */
  address: Address;
  place: LedgerPlace;
  /** With more nodes than this, commitments are gossiped and one root of them is committed. */
  direct_nodes_max: number;
  /** Pause before anything is asked or told again. */
  resend_ms: number;
}

/** Epochs before the running one that can still need something done. */
export const EPOCHS_BACK = 6;
/** Own commitments and votes kept; written beyond it, all of them would be refused at the next start. */
const OWN_MAX = 4 * EPOCHS_BACK;
const VOTES_MAX = 256;
/** Shortest pause between two nodes that may do the same. */
const STAGGER_LEAST_S = 1;

const persistedSchema = z.strictObject({
  version: z.literal(1),
  own: z
    .array(
      z.strictObject({
        epoch: epochSchema,
        text: z.string().nullable(),
        result_hash: hashSchema,
        score: decimalSchema.transform(BigInt),
        nonce: wordSchema,
        commitment: wordSchema,
      }),
    )
    .max(OWN_MAX),
  votes: z
    .array(z.strictObject({ id: z.int().min(0), guilty: z.boolean(), salt: wordSchema }))
    .max(VOTES_MAX),
});

export interface OwnVote {
  id: number;
  guilty: boolean;
  salt: `0x${string}`;
}

export class MachineParts {
  readonly epochs = new Map<number, EpochState>();
  readonly disputes = new Map<number, DisputeView>();
  readonly votes = new Map<number, OwnVote>();
  readonly records: RecordBook;
  readonly submitter: Submitter;
  account: AccountView | null = null;
  up = false;
  down_reason = "not asked yet";
  block = 0;
  time_s = 0;

  constructor(readonly params: EpochMachineParams) {
    this.records = new RecordBook(2 * params.resend_ms);
    this.submitter = new Submitter(3 * params.resend_ms);
  }

  get address(): Address {
    return this.params.address;
  }

  /** The running epoch; -1 before the ledger's genesis. */
  get epoch(): number {
    const { genesis_s, epoch_seconds } = this.params.place;
    return this.time_s < genesis_s ? -1 : Math.floor((this.time_s - genesis_s) / epoch_seconds);
  }

  state(epoch: number): EpochState {
    let state = this.epochs.get(epoch);
    if (!state) {
      state = new EpochState(epoch);
      this.epochs.set(epoch, state);
    }
    return state;
  }

  /** By rising epoch. */
  sorted(): EpochState[] {
    return [...this.epochs.values()].sort((a, b) => a.epoch - b.epoch);
  }

  /**
   * Seconds after which this node may do what anybody may do; at most a third of `window_s`, so that
   * the last in the row still has time.
   */
  stagger(state: EpochState, purpose: string, window_s: number): number {
    const nodes = state.view?.nodes.length ?? 1;
    const step_s = Math.max(STAGGER_LEAST_S, window_s / (3 * nodes));
    return Math.min(state.rank(purpose, this.address) * step_s, window_s / 3);
  }

  /** Asks for a transaction, unless the chain does not answer; for people, how it stands. */
  want(
    key: string,
    call: LedgerCall,
    now_ms: number,
    out: Sink<LedgerEffect>,
    once = false,
  ): string {
    if (this.up) this.submitter.want(key, call, now_ms, out, once);
    return this.submitter.state(key) ?? `the chain does not answer: ${this.down_reason}`;
  }

  /** A message, held against its declaration by the type checker. */
  broadcast<Spec extends MessageSpec>(
    spec: Spec,
    body: z.input<Spec["schema"]>,
    out: Sink<LedgerEffect>,
  ): void {
    const message: Message = { type: spec.type, body };
    out.push({ type: "broadcast", message });
  }

  /** Makes own commitments and votes durable. */
  persist(out: Sink<LedgerEffect>): void {
    const own = this.sorted().flatMap(({ epoch, own: part }) =>
      part ? [{ epoch, ...part, score: part.score.toString() }] : [],
    );
    const votes = [...this.votes.values()].slice(-VOTES_MAX);
    const value = { version: 1, own: own.slice(-OWN_MAX), votes };
    out.push({ type: "persist", key: "ledger", value });
  }

  /** Reads back what `persist` wrote; anything else is an empty start. */
  restore(value: unknown): boolean {
    if (value === undefined || value === null) return true;
    const parsed = persistedSchema.safeParse(value);
    if (!parsed.success) return false;
    for (const { epoch, ...part } of parsed.data.own) this.state(epoch).own = part;
    for (const vote of parsed.data.votes) this.votes.set(vote.id, vote);
    return true;
  }
}
