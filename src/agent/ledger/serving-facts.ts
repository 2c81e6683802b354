/**
 * The serving axis (paper 13.1): tokens on receipts that requesters signed, each for a payment that is
 * on the chain, within the epoch, to the server's till: paid past it, a server's friends would have
 * their money back whole. A receipt counts no more tokens than were paid for at the least price, or a
 * friend's signature would be worth any number of them; what a server pays to itself costs it the
 * treasury's and the burned share, and earns no more than that (serving-limit.ts).
 */
import fs from "node:fs";
import { type Address as ChainAddress, createPublicClient, custom, parseAbi } from "viem";
import type { Ledger } from "../../chain/client/ledger.ts";
import type { Address, EpochView, LedgerPlace } from "../../chain/ledger/ledger-types.ts";
import type { ContributionFacts } from "../../chain/ledger/report.ts";
import { TOKEN_PRICE_LEAST } from "../../chain/ledger/serving-limit.ts";
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

/** As many as a report holds. */
const RECEIPTS_MAX = 256;
/** The newest receipts that are looked at for one report. */
const CANDIDATES_MAX = 4096;
/** Payments found on the chain, remembered; they are asked for by the server and by every verifier. */
const PAYMENTS_MAX = 4096;

/** Epochs whose blocks are remembered. */
const RANGES_MAX = 16;
/** A reorganisation moves the times of blocks a little; a payment's own time is looked at anyway. */
const RANGE_MARGIN = 32n;

const USED = parseAbi([
  "event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce)",
]);

/** Blocks that an epoch lies in. */
interface BlockRange {
  from_block: bigint;
  to_block: bigint;
}

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
  readonly #ranges = new Map<number, BlockRange>();

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
    const kept = await this.#receipts(self);
    const used = kept.length > 0 ? await this.#used(view) : new Set();
    for (const receipt of kept.filter((one) => used.has(nonceKey(one)))) {
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
    const used = facts.length > 0 ? await this.#used(view) : new Set();
    for (const fact of facts) {
      const receipt = receiptOfFact({ chain_id: place.chain_id, asset, server: node }, fact);
      if (!used.has(nonceKey(receipt))) continue;
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
    const payment = isOurs ? await this.#payment(server, view, receipt) : undefined;
    const end_s = view.windows.commit_start_s;
    if (!payment || payment.block_time_s >= end_s) return 0n;
    if (payment.block_time_s < end_s - place.epoch_seconds) return 0n;
    const paid_for = payment.amount / TOKEN_PRICE_LEAST;
    return BigInt(receipt.tokens) < paid_for ? BigInt(receipt.tokens) : paid_for;
  }

  async #payment(
    server: Address,
    view: EpochView,
    receipt: ServingReceipt,
  ): Promise<ReceiptPayment | undefined> {
    const key = `${server}/${receiptKey(receipt)}`;
    const known = this.#payments.get(key);
    if (known) return known;
    const place = { pay_to: await this.#till(server), ...(await this.#range(view)) };
    const found = await asked(() => receiptPayment(this.#client as never, receipt, place));
    if (!("paid" in found)) return undefined;
    this.#payments.set(key, found.paid);
    if (this.#payments.size > PAYMENTS_MAX) this.#payments.delete([...this.#payments.keys()][0]!);
    return found.paid;
  }

  /** Authorizations that were used about in the epoch, in one question: most receipts are older. */
  async #used(view: EpochView): Promise<Set<string>> {
    const { from_block, to_block } = await this.#range(view);
    const logs = await asked(() =>
      this.#client.getContractEvents({
        ...{ address: this.#options.ledger.address("magToken") as ChainAddress, abi: USED },
        ...{ eventName: "AuthorizationUsed", fromBlock: from_block, toBlock: to_block },
      }),
    );
    return new Set(
      logs.map(({ args }) => nonceKey({ payer: `${args.authorizer}`, nonce: `${args.nonce}` })),
    );
  }

  /** Found by the blocks' times: RPCs refuse to search a whole chain for one payment. */
  async #range(view: EpochView): Promise<BlockRange> {
    const known = this.#ranges.get(view.epoch);
    if (known) return known;
    const { ledger, place } = this.#options;
    const first = BigInt(ledger.deployment.block);
    const head = await asked(() => this.#client.getBlock());
    /** The first block at or after a time; the head where there is none. */
    const blockAt = async (time_s: number): Promise<bigint> => {
      let [low, high] = [first, head.number];
      while (low < high) {
        const middle = (low + high) / 2n;
        const { timestamp } = await asked(() => this.#client.getBlock({ blockNumber: middle }));
        if (Number(timestamp) < time_s) low = middle + 1n;
        else high = middle;
      }
      return low;
    };
    const end_s = view.windows.commit_start_s;
    const from = (await blockAt(end_s - place.epoch_seconds)) - RANGE_MARGIN;
    const to = (await blockAt(end_s)) + RANGE_MARGIN;
    const range = {
      from_block: from > first ? from : first,
      to_block: to < head.number ? to : head.number,
    };
    // Before the epoch's last block is here, its end is not known.
    if (Number(head.timestamp) < end_s) return range;
    this.#ranges.set(view.epoch, range);
    if (this.#ranges.size > RANGES_MAX) this.#ranges.delete([...this.#ranges.keys()][0]!);
    return range;
  }

  async #till(server: Address): Promise<Address> {
    const known = this.#tills.get(server);
    if (known) return known;
    const till = await this.#options.ledger.read("revenue", "tillOf", [server]);
    this.#tills.set(server, till.toLowerCase() as Address);
    return till;
  }
}

const nonceKey = ({ payer, nonce }: { payer: string; nonce: string }): string =>
  `${payer}/${nonce}`.toLowerCase();

/** The client wraps what the RPC threw; the cause says it in our words. */
async function asked<T>(question: () => Promise<T>): Promise<T> {
  try {
    return await question();
  } catch (error) {
    throw toMagnetError((error as { cause?: unknown }).cause ?? error);
  }
}
