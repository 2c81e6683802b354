/** What the demo reports: its steps with their times, and the document magnet.demo/1. */
import { toMagnetError } from "../../core/errors.ts";
import type { Picked } from "../../research/language/pick.ts";
import type { Output } from "../frame/output.ts";

export interface DemoStep {
  name: string;
  ok: boolean;
  took_ms: number;
  detail: string;
}

/** Runs the steps in order, times them, and prints each one when it is done. */
export class StepLog {
  readonly steps: DemoStep[] = [];
  readonly #out: Output;

  constructor(out: Output) {
    this.#out = out;
  }

  /** A failing step is entered with its reason and ends the demo. */
  async run<T>(name: string, work: () => Promise<{ detail: string; value: T }>): Promise<T> {
    const started = performance.now();
    const enter = (ok: boolean, detail: string) => {
      const took_ms = Math.round(performance.now() - started);
      this.steps.push({ name, ok, took_ms, detail });
      const mark = this.#out.style(ok ? "green" : "red", ok ? "ok  " : "FAIL");
      this.#out.note(
        `${mark} ${name.padEnd(9)} ${(took_ms / 1000).toFixed(1).padStart(6)} s  ${detail}`,
      );
    };
    try {
      const { detail, value } = await work();
      enter(true, detail);
      return value;
    } catch (error) {
      const { code, message } = toMagnetError(error);
      enter(false, `${code}: ${message}`);
      throw error;
    }
  }
}

/** The ledger at the end; amounts in base units of MAG. */
export interface DemoLedgerReport {
  chain_id: number;
  epoch_seconds: number;
  epochs: { epoch: number; root: string; total: string }[];
  minted: string;
  slashed: string;
  accounts: {
    node_id: string;
    account: string;
    claimed: string;
    balance: string;
    bond: string;
    seat: string;
  }[];
}

export interface DemoReport {
  ok: boolean;
  steps: DemoStep[];
  /** How the training configuration was chosen; null before, or with too little text for it. */
  research: Picked | null;
  loss_before: number | null;
  loss_after: number | null;
  bits_per_byte_after: number | null;
  bits_per_byte_order2: number | null;
  rounds: number;
  nodes: number;
  wire_bytes: number;
  ledger: DemoLedgerReport | null;
  answer: string | null;
  /** Of the served answer, after its first token. */
  tokens_per_s: number | null;
  first_token_ms: number | null;
  artifacts: Record<string, string>;
}

export const emptyReport = (): DemoReport => ({
  ok: false,
  steps: [],
  research: null,
  loss_before: null,
  loss_after: null,
  bits_per_byte_after: null,
  bits_per_byte_order2: null,
  rounds: 0,
  nodes: 0,
  wire_bytes: 0,
  ledger: null,
  answer: null,
  tokens_per_s: null,
  first_token_ms: null,
  artifacts: {},
});
