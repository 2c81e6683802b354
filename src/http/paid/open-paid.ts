/**
 * Opens the paid API: the till on the chain, the durable books, the desk, and the watch that keeps
 * an eye on the chain, on interrupted payments and on the till. Imported only where a server sells,
 * since it brings viem and x402 with it.
 */
import path from "node:path";
import { type Address, type LocalAccount, parseAbi } from "viem";
import { ReceiptStore, receiptFile } from "../../chain/receipts/receipt-store.ts";
import type { Clock } from "../../core/clock.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { OpenPaidDoor } from "../serve/context.ts";
import { ChainCaller, isUnreachable } from "./chain-caller.ts";
import { CREDIT_HEADER } from "./credits.ts";
import { checkTill, Facilitator } from "./facilitator.ts";
import { WATCH_MS } from "./limits.ts";
import type { Till } from "./offer.ts";
import { type GuardOptions, paidGuard, REQUIRED_HEADER, RESPONSE_HEADER } from "./paid-guard.ts";
import { PaidMetrics } from "./paid-metrics.ts";
import { addPaidRoutes } from "./paid-routes.ts";
import { PaymentDesk } from "./payment-desk.ts";
import { PaymentStore, type Totals } from "./payment-store.ts";
import type { PriceList } from "./prices.ts";
import { sweepTill } from "./sweep-till.ts";

const REVENUE = parseAbi(["function tillOf(address) view returns (address)"]);

export interface PaidOptions {
  rpc_url: string;
  chain_id: number;
  /** The token that is taken. */
  asset: Address;
  /** Where income is split; without it customers pay the server's own address. */
  revenue?: Address | undefined;
  /** The node's key: it receives, settles, and signs credits. */
  account: LocalAccount;
  prices: PriceList;
  /** Holds paid/payments.sqlite and receipts.sqlite. */
  data_dir: string;
  /** 0: the till is emptied only by command. */
  sweep_every_s: number;
  clock: Clock;
  log: Log;
}

/** What is sold, and where to. */
export interface PaidOffer {
  till: Till;
  prices: PriceList;
}

export interface PaidApi {
  door: OpenPaidDoor;
  offer: PaidOffer;
  /** Looks at the chain now: its health, interrupted payments, the till when it is time. */
  look(): Promise<void>;
  totals(): Totals;
  close(): Promise<void>;
}

/** MagToken's EIP-712 domain. */
const TOKEN_NAME = "Magnet";
const TOKEN_VERSION = "1";

async function tillFor(chain: ChainCaller, options: PaidOptions): Promise<Till> {
  const { chain_id, asset, revenue, account } = options;
  const server = account.address;
  const till = { chain_id, asset, server, name: TOKEN_NAME, version: TOKEN_VERSION };
  await checkTill(chain, { ...till, pay_to: server });
  if (revenue === undefined) return { ...till, pay_to: server };
  const call = { address: revenue, abi: REVENUE, functionName: "tillOf", args: [server] };
  try {
    return { ...till, pay_to: (await chain.read(call)) as Address };
  } catch (cause) {
    throw new MagnetError("NO_REVENUE", `there is no Revenue contract at ${revenue}`, {
      hint: "the ledger of the network file must be the one on this chain",
      exit: "chain",
      cause,
    });
  }
}

/** What the watch has seen last. */
interface Seen {
  up: boolean;
  block: number;
  gas: bigint | undefined;
  swept_ms: number;
}

/** Throws CHAIN_UNREACHABLE, WRONG_CHAIN, BAD_TOKEN, NO_REVENUE, PAYMENT_STORE, RECEIPT_STORE. */
export async function openPaidApi(options: PaidOptions): Promise<PaidApi> {
  const { account, clock, log, data_dir, prices } = options;
  const chain = new ChainCaller(options.rpc_url, options.chain_id, account);
  const till = await tillFor(chain, options);
  const store = new PaymentStore(path.join(data_dir, "paid", "payments.sqlite"));
  const owed = store.recover(clock.now_ms());
  if (owed > 0) log.warn("payments_owed", { payments: owed });
  const receipts = new ReceiptStore(receiptFile(data_dir));
  const seen: Seen = { up: true, block: 0, gas: undefined, swept_ms: clock.now_ms() };
  let metrics: PaidMetrics | undefined;
  const desk = new PaymentDesk({
    ...{ store, facilitator: new Facilitator(chain, till), clock, log },
    block: () => seen.block,
    onSettled: (amount, took_ms) => metrics?.settled(amount, took_ms),
  });
  const door: OpenPaidDoor = (parts, registry) => {
    metrics = new PaidMetrics(registry, () => ({
      chain_up: seen.up,
      gas: seen.gas,
      credits: store.totals().credits,
    }));
    const guard: GuardOptions = {
      ...{ till, prices, desk, account, clock, metrics },
      chainUp: () => seen.up,
    };
    return {
      guard: paidGuard(guard, parts),
      addRoutes: (app) => addPaidRoutes(app, { ...guard, store, receipts }, parts),
      exposed_headers: [REQUIRED_HEADER, RESPONSE_HEADER, CREDIT_HEADER],
    };
  };
  const watch = new Watch(() => look(options, chain, till, { desk, seen, metrics }), log);
  await watch.now();
  return {
    ...{ door, offer: { till, prices }, look: () => watch.now(), totals: () => store.totals() },
    async close() {
      await watch.stop();
      store.close();
      receipts.close();
    },
  };
}

interface Looked {
  desk: PaymentDesk;
  seen: Seen;
  metrics: PaidMetrics | undefined;
}

async function look(
  options: PaidOptions,
  chain: ChainCaller,
  till: Till,
  { desk, seen, metrics }: Looked,
): Promise<void> {
  const { clock, log, sweep_every_s, revenue } = options;
  try {
    const [block, gas] = await Promise.all([
      chain.client.getBlock(),
      chain.client.getBalance({ address: chain.account.address }),
    ]);
    if (!seen.up) log.info("chain_answers_again", { block: block.number });
    Object.assign(seen, { up: true, block: Number(block.number), gas });
    await desk.reviewOpen(Number(block.timestamp));
    const due = sweep_every_s > 0 && clock.now_ms() - seen.swept_ms >= sweep_every_s * 1000;
    if (revenue === undefined || !due) return;
    seen.swept_ms = clock.now_ms();
    const swept = await sweepTill(chain, { revenue, till: till.pay_to, asset: till.asset });
    if (swept === undefined) return;
    metrics?.swept(swept.amount);
    log.info("income_swept", { amount: swept.amount, transaction: swept.transaction });
  } catch (error) {
    if (!isUnreachable(error)) throw error;
    if (seen.up) log.warn("chain_unreachable", { reason: (error as Error).message.split("\n")[0] });
    seen.up = false;
  }
}

/** Runs one look at a time, every WATCH_MS; a failed one is logged and the next one tries again. */
class Watch {
  #running: Promise<void> | undefined;
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(
    private readonly look: () => Promise<void>,
    private readonly log: Log,
  ) {
    this.#timer = setInterval(() => void this.now(), WATCH_MS);
  }

  now(): Promise<void> {
    this.#running ??= this.look()
      .catch((error: unknown) => this.log.error("watch_failed", { error }))
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }
}
