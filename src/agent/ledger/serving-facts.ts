/**
 * The serving axis (paper 13.1): tokens on receipts that requesters signed, each for a payment that is
 * on the chain, within the epoch, to the server's till or to the server itself. A receipt counts no
 * more tokens than were paid for at the least price, or a friend's signature would be worth any number
 * of them; what a server pays to itself costs it the treasury's and the burned share.
 */
import fs from "node:fs";
import { createPublicClient, custom } from "viem";
import type { Ledger } from "../../chain/client/ledger.ts";
import type { Address, EpochView, LedgerPlace } from "../../chain/ledger/ledger-types.ts";
import type { ContributionFacts } from "../../chain/ledger/report.ts";
import { type ReceiptPayment, receiptPayment } from "../../chain/receipts/receipt-payment.ts";
import { ReceiptStore, receiptFile } from "../../chain/receipts/receipt-store.ts";
import {
  checkedReceipt,
  receiptKey,
  receiptOfFact,
  type ServingReceipt,
  servingFact,
} from "../../chain/receipts/serving-receipt.ts";
import { toMagnetError } from "../../core/errors.ts";

type ServingFact = ContributionFacts["serving"][number];

/** Base units of MAG that a counted token has cost at least: a millionth of a MAG. */
export const TOKEN_PRICE_LEAST = 10n ** 12n;
/** As many as a report holds. */
const RECEIPTS_MAX = 256;
/** The newest receipts that are looked at for one report. */
const CANDIDATES_MAX = 4096;
/** Payments found on the chain, remembered; they are asked for by the server and by every verifier. */
const PAYMENTS_MAX = 4096;

export interface ServingOptions {
  ledger: Ledger;
  place: LedgerPlace;
  data_dir: string;
}

export class ServingFacts {
  readonly #options: ServingOptions;
  readonly #client: ReturnType<typeof createPublicClient>;
  readonly #payments = new Map<string, ReceiptPayment>();
  readonly #tills = new Map<Address, Address>();

  constructor(options: ServingOptions) {
    this.#options = options;
    const { rpc } = options.ledger;
    const request = ({ method, params }: { method: string; params?: unknown }) =>
      rpc.request(method, (params as readonly unknown[] | undefined) ?? []);
    this.#client = createPublicClient({ transport: custom({ request }, { retryCount: 0 }) });
  }

  /** Receipts whose payment falls into the epoch, the largest first. Throws what the chain throws. */
  async gather(self: Address, view: EpochView): Promise<ServingFact[]> {
    const found: { fact: ServingFact; tokens: bigint }[] = [];
    for (const receipt of await this.#receipts(self)) {
      const tokens = await this.#counted(self, view, receipt);
      if (tokens > 0n) found.push({ fact: servingFact(receipt), tokens });
    }
    found.sort((a, b) => (a.tokens > b.tokens ? -1 : a.tokens < b.tokens ? 1 : 0));
    return found.slice(0, RECEIPTS_MAX).map(({ fact }) => fact);
  }

  /** Kept by `magnet serve --paid` on this data folder; none where it was never run. */
  async #receipts(self: Address): Promise<ServingReceipt[]> {
    const file = receiptFile(this.#options.data_dir);
    if (!fs.existsSync(file)) return [];
    const store = new ReceiptStore(file);
    try {
      const kept = await store.after(
        Math.max(0, store.count - CANDIDATES_MAX),
        self,
        CANDIDATES_MAX,
      );
      return kept.map(({ receipt }) => receipt);
    } finally {
      store.close();
    }
  }

  /** Tokens that the receipts in a node's report count. Throws what the chain throws. */
  async verify(node: Address, view: EpochView, facts: readonly ServingFact[]): Promise<bigint> {
    const { ledger, place } = this.#options;
    const asset = ledger.address("magToken").toLowerCase();
    let sum = 0n;
    for (const fact of facts) {
      const receipt = receiptOfFact({ chain_id: place.chain_id, asset, server: node }, fact);
      const isSigned = await checkedReceipt(receipt).then(
        () => true,
        () => false,
      );
      if (isSigned) sum += await this.#counted(node, view, receipt);
    }
    return sum;
  }

  async #counted(server: Address, view: EpochView, receipt: ServingReceipt): Promise<bigint> {
    const { ledger, place } = this.#options;
    const isOurs =
      receipt.chain_id === place.chain_id &&
      receipt.asset === ledger.address("magToken").toLowerCase();
    const payment = isOurs ? await this.#payment(server, receipt) : undefined;
    const end_s = view.windows.commit_start_s;
    if (!payment || payment.block_time_s >= end_s) return 0n;
    if (payment.block_time_s < end_s - place.epoch_seconds) return 0n;
    const paid_for = payment.amount / TOKEN_PRICE_LEAST;
    return BigInt(receipt.tokens) < paid_for ? BigInt(receipt.tokens) : paid_for;
  }

  async #payment(server: Address, receipt: ServingReceipt): Promise<ReceiptPayment | undefined> {
    const key = `${server}/${receiptKey(receipt)}`;
    const known = this.#payments.get(key);
    if (known) return known;
    const from_block = BigInt(this.#options.ledger.deployment.block);
    for (const pay_to of [await this.#till(server), server]) {
      const found = await this.#lookup(receipt, { pay_to, from_block });
      if (!("paid" in found)) continue;
      this.#payments.set(key, found.paid);
      if (this.#payments.size > PAYMENTS_MAX) this.#payments.delete([...this.#payments.keys()][0]!);
      return found.paid;
    }
    return undefined;
  }

  async #lookup(receipt: ServingReceipt, place: { pay_to: Address; from_block: bigint }) {
    try {
      return await receiptPayment(this.#client as never, receipt, place);
    } catch (error) {
      // The client wraps what the RPC threw; the cause says it in our words.
      throw toMagnetError((error as { cause?: unknown }).cause ?? error);
    }
  }

  async #till(server: Address): Promise<Address> {
    const known = this.#tills.get(server);
    if (known) return known;
    const till = await this.#options.ledger.read("revenue", "tillOf", [server]);
    this.#tills.set(server, till.toLowerCase() as Address);
    return till;
  }
}
