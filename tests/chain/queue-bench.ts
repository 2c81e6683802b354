/** A queue on a file of its own over a chain by script, and what tests ask of it. */
import { afterAll, beforeAll } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { toHex } from "viem";
import type { QueueEvent, QueueLimits, Submission } from "../../src/chain/client/queue-types.ts";
import { TransactionQueue } from "../../src/chain/client/transaction-queue.ts";
import { identityOf } from "../../src/network/identity.ts";
import { Crash, FakeChain } from "./fake-chain.ts";

export const signer = identityOf(new Uint8Array(32).fill(7));
export const TARGET = "0x00000000000000000000000000000000000000aa";
export const LIMITS: Partial<QueueLimits> = {
  replace_after_blocks: 2,
  confirmations: 3,
  missing_ms: 1_000_000,
};
let folder: string;
let files = 0;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-queue-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

export class Bench {
  readonly chain = new FakeChain();
  readonly events: QueueEvent[] = [];
  readonly file = path.join(folder, `${files++}.sqlite`);
  now_ms = 0;
  queue = this.open();

  private open(): TransactionQueue {
    return new TransactionQueue({
      rpc: this.chain,
      chain_id: 31337,
      signer,
      file: this.file,
      clock: { now_ms: () => this.now_ms },
      limits: LIMITS,
      onEvent: (event) => this.events.push(event),
    });
  }

  /** As after kill -9: nothing but the file is left. */
  async restart(): Promise<void> {
    this.chain.crash_in = undefined;
    await this.queue.close();
    this.queue = this.open();
  }

  submit(name: string, more: Partial<Submission> = {}): void {
    const data = toHex(name);
    this.queue.submit({ key: name, what: name, to: TARGET, data, ...more });
  }

  kinds(key: string): string {
    return this.events.flatMap((e) => (e.key === key ? [e.kind] : [])).join(" ");
  }

  /** How often a call is in the chain. */
  times(name: string): number {
    return this.chain.mined.filter(({ data }) => data === toHex(name)).length;
  }
}

/** Ticks as a process would: a crash is followed by a new one on the same file. */
export async function tick(bench: Bench): Promise<void> {
  await bench.queue.tick().catch(async (error) => {
    if (!(error instanceof Crash)) throw error;
    await bench.restart();
  });
}
