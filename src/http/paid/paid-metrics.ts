/** What /metrics shows of the paid API. Amounts are whole tokens as floats: for graphs, not books. */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import { MAG } from "../../chain/amounts.ts";

const SETTLE_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60];

export interface PaidState {
  chain_up: boolean;
  /** Wei of the facilitator's address; undefined until it was read. */
  gas: bigint | undefined;
  credits: number;
}

const whole = (amount: bigint) => Number(amount) / Number(MAG);

export class PaidMetrics {
  readonly #requests: Counter<"outcome">;
  readonly #income: Counter;
  readonly #settle: Histogram;
  readonly #receipts: Counter<"outcome">;
  readonly #swept: Counter;

  constructor(registry: Registry, state: () => PaidState) {
    const registers = [registry];
    this.#requests = new Counter({
      name: "magnet_paid_requests_total",
      help: "Requests to sold routes: quoted, paid, redeemed, owed, refused",
      labelNames: ["outcome"],
      registers,
    });
    this.#income = new Counter({
      name: "magnet_paid_income_tokens_total",
      help: "Settled payments, in whole tokens",
      registers,
    });
    this.#settle = new Histogram({
      name: "magnet_paid_settle_seconds",
      help: "Time from a checked payment to its confirmed transaction",
      buckets: SETTLE_BUCKETS,
      registers,
    });
    this.#receipts = new Counter({
      name: "magnet_paid_receipts_total",
      help: "Serving receipts handed in: kept, known, refused",
      labelNames: ["outcome"],
      registers,
    });
    this.#swept = new Counter({
      name: "magnet_paid_swept_tokens_total",
      help: "Income split by Revenue, in whole tokens",
      registers,
    });
    addGauges(registry, state);
  }

  request(outcome: "quoted" | "paid" | "redeemed" | "owed" | "refused"): void {
    this.#requests.inc({ outcome });
  }
  settled(amount: bigint, took_ms: number): void {
    this.#income.inc(whole(amount));
    this.#settle.observe(took_ms / 1000);
  }
  receipt(outcome: "kept" | "known" | "refused"): void {
    this.#receipts.inc({ outcome });
  }
  swept(amount: bigint): void {
    this.#swept.inc(whole(amount));
  }
}

function addGauges(registry: Registry, state: () => PaidState): void {
  const gauge = (name: string, help: string, value: (now: PaidState) => number | undefined) =>
    new Gauge({
      ...{ name, help, registers: [registry] },
      collect() {
        const now = value(state());
        if (now !== undefined) this.set(now);
      },
    });
  gauge("magnet_paid_chain_up", "1 while the chain answers", (s) => (s.chain_up ? 1 : 0));
  gauge("magnet_paid_gas_ether", "What the facilitator has left for gas", (s) =>
    s.gas === undefined ? undefined : Number(s.gas) / 1e18,
  );
  gauge("magnet_paid_credits_open", "Payments that were taken and not answered", (s) => s.credits);
}
