/**
 * Joins the audits with the ledger: whom this node may audit in the epoch that runs, receipts for
 * holders that passed, and receipts from auditors that found this node's shards whole.
 */
import { addressOf } from "../../chain/client/account.ts";
import type { Address, LedgerNode, LedgerPlace } from "../../chain/ledger/ledger-types.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { ErasureCode } from "../../native/codec.ts";
import type { Signer, Verifier } from "../../network/signer.ts";
import type { Transport } from "../../network/transport.ts";
import { shapeOf, shardBytes } from "../../storage/manifest.ts";
import type { AuditBook } from "./audit-book.ts";
import {
  type AuditReceipt,
  auditorsOf,
  auditReceiptHolds,
  auditReceiptMessage,
  objectName,
  signAuditReceipt,
} from "./audit-receipts.ts";
import type { FactStore } from "./fact-store.ts";
import type { RoundArchive } from "./round-archive.ts";
import type { CertifiedRound } from "./round-proof.ts";
import type { AuditDuty, Claim } from "./shard-auditor.ts";

/** Addresses remembered by key: each costs two hashes and a point. */
const ADDRESSES_MAX = 4096;

/** The epoch that runs and its active nodes. */
export interface RunningEpoch {
  epoch: number;
  nodes: readonly LedgerNode[];
}

/** Length of a shard of the state that a round promoted; 0 for a void round. */
export function stateShardBytes(round: CertifiedRound, code: ErasureCode): number {
  if (round.state_bytes === 0) return 0;
  return shardBytes(shapeOf(round.state_hash, round.state_bytes, code));
}

export interface DutyOptions {
  place: LedgerPlace;
  signer: Signer;
  verifier: Verifier;
  transport: Transport;
  facts: FactStore;
  archive: RoundArchive;
  book: AuditBook;
  code: ErasureCode;
}

export class LedgerAudits implements AuditDuty {
  readonly #options: DutyOptions;
  readonly #self: Address;
  readonly #addresses = new Map<PublicKey, Address>();
  #running: RunningEpoch | null = null;
  /** Holders assigned in the running epoch. */
  #assigned = new Set<Address>();

  constructor(options: DutyOptions) {
    this.#options = options;
    this.#self = this.#addressOf(options.signer.public_key);
  }

  /** Null until the chain has told the running epoch. */
  get duty(): AuditDuty | null {
    return this.#running ? this : null;
  }

  /** The chain's newest word. */
  epochRuns(running: RunningEpoch): void {
    if (running.epoch !== this.#running?.epoch) this.#options.book.prune(running.epoch);
    this.#running = running;
    const { epoch, nodes } = running;
    const mine = nodes.filter(({ address }) =>
      auditorsOf(this.#options.place, epoch, address, nodes).includes(this.#self),
    );
    this.#assigned = new Set(mine.map(({ address }) => address));
  }

  #addressOf(public_key: PublicKey): Address {
    const known = this.#addresses.get(public_key);
    if (known) return known;
    const address = addressOf(public_key).toLowerCase() as Address;
    this.#addresses.set(public_key, address);
    if (this.#addresses.size > ADDRESSES_MAX)
      this.#addresses.delete([...this.#addresses.keys()][0]!);
    return address;
  }

  isAssigned(holder: PublicKey): boolean {
    return this.#assigned.has(this.#addressOf(holder));
  }

  passed({ holder, content_hash, shard, size_bytes }: Claim, seconds: number): void {
    const { place, signer, transport, facts, archive, book, code } = this.#options;
    const round = facts.roundOfState(content_hash as Hash);
    const certified = round === undefined ? undefined : archive.certified(round);
    // Only parts of promoted states are paid for; their size is everybody's knowledge.
    if (!this.#running || !certified || stateShardBytes(certified, code) !== size_bytes) return;
    const { epoch } = this.#running;
    const object = objectName(certified.round, certified.state_hash);
    const address = this.#addressOf(holder);
    const total = book.addCredit(epoch, { holder: address, object, shard }, seconds);
    const held_s = Math.max(1, Math.min(Math.floor(total), place.epoch_seconds));
    const fields = { epoch, holder: address, auditor: signer.public_key, object };
    const receipt = { ...fields, shard_index: shard, size_bytes, held_s };
    const body = signAuditReceipt(place, receipt, signer);
    transport.send(holder, { type: auditReceiptMessage.type, body });
  }

  /**
   * An auditor says that it found a shard of this node whole. Only what others will accept is kept, and
   * of drawn auditors: other receipts would take its place in the book and in the report.
   */
  receive(from: PublicKey, receipt: AuditReceipt): void {
    const { place, verifier, book } = this.#options;
    if (!this.#running || receipt.auditor !== from || receipt.holder !== this.#self) return;
    // One epoch back: the auditor's head may be a block behind.
    const age = this.#running.epoch - receipt.epoch;
    if (age < -1 || age > 1 || receipt.held_s > place.epoch_seconds) return;
    const drawn = auditorsOf(place, receipt.epoch, this.#self, this.#running.nodes);
    if (!drawn.includes(this.#addressOf(from)) || !this.#isPart(receipt)) return;
    if (auditReceiptHolds(place, receipt, verifier)) book.addReceipt(receipt);
  }

  /** Of a state that was promoted, as far as this node can prove it. */
  #isPart({ object, shard_index, size_bytes }: AuditReceipt): boolean {
    const { archive, code } = this.#options;
    const certified = archive.certified(Number(object.split("/")[0]));
    if (!certified || objectName(certified.round, certified.state_hash) !== object) return false;
    if (shard_index >= code.data_shards + code.parity_shards) return false;
    return stateShardBytes(certified, code) === size_bytes;
  }
}
