/**
 * The main job, whole: the compiled binary alone, with the repository hidden and an empty HOME, runs
 * the demo on the embedded text. What it promises is asserted from its JSON document.
 */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import { Place } from "./binary.ts";

/** Twice what the demo promises: a coarse ceiling for a busy machine. */
const DEMO_LIMIT_MS = 360_000;
const place = new Place();
afterAll(() => place.remove());

interface Demo {
  schema: string;
  ok: boolean;
  steps: { name: string; ok: boolean; took_ms: number; detail: string }[];
  loss_before: number;
  loss_after: number;
  bits_per_byte_after: number;
  bits_per_byte_order2: number;
  rounds: number;
  nodes: number;
  wire_bytes: number;
  research: {
    change: string;
    reason: string;
    tried: { first_look: number | null; full: number | null }[];
  };
  ledger: {
    epochs: { epoch: number; root: string; total: string }[];
    minted: string;
    slashed: string;
    accounts: { claimed: string; bond: string }[];
  };
  answer: string;
  tokens_per_s: number;
  first_token_ms: number;
  artifacts: Record<string, string>;
}

test(
  "magnet demo trains, merges, repairs, pays, slashes, exports, serves and answers",
  async () => {
    const out = place.at("results");
    const run = await place.run(["demo", "--json", "--out", out], { limit_ms: DEMO_LIMIT_MS });
    const { code, stdout, stderr } = run;
    expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
    const lines = stdout.trim().split("\n");
    expect(lines).toHaveLength(1);
    const demo = JSON.parse(lines[0]!) as Demo;
    expect(Object.keys(demo)[0]).toBe("schema");
    expect(demo.schema).toBe("magnet.demo/1");
    expect(demo.ok).toBe(true);
    expect(demo.steps.filter((step) => !step.ok)).toEqual([]);
    expect(demo.steps.map(({ name }) => name)).toEqual([
      "text",
      "research",
      "baseline",
      "chain",
      "network",
      "job",
      "rounds",
      "repair",
      "merge",
      "epoch",
      "claims",
      "slash",
      "ledger",
      "evaluate",
      "export",
      "serve",
      "answer",
    ]);
    // What was tried and why one was chosen: the recipe among them, and the finalists on equal terms.
    expect(demo.research.tried.length).toBeGreaterThanOrEqual(5);
    expect(demo.research.tried.filter(({ full }) => full !== null).length).toBe(4);
    expect(demo.research.reason).toContain(demo.research.change || "the baseline stays");
    expect(demo.loss_after).toBeLessThan(0.65 * demo.loss_before);
    expect(demo.bits_per_byte_after).toBeLessThan(demo.bits_per_byte_order2);
    expect(demo.nodes).toBeGreaterThanOrEqual(4);
    expect(demo.rounds).toBeGreaterThanOrEqual(4);
    expect(demo.wire_bytes).toBeGreaterThan(1e6);
    // The ledger: whole pools were minted, the three that lived were paid, the killed one was slashed.
    const { epochs, minted, slashed, accounts } = demo.ledger;
    expect(epochs.length).toBeGreaterThanOrEqual(1);
    expect(BigInt(minted)).toBe(epochs.reduce((sum, { total }) => sum + BigInt(total), 0n));
    expect(accounts).toHaveLength(4);
    for (const { claimed } of accounts.slice(0, 3)) expect(BigInt(claimed)).toBeGreaterThan(0n);
    // A tenth of bond and seat. (On a machine that is far too busy others may miss a window as well.)
    expect(accounts[3]!.bond).toBe("90000000000000000000");
    expect(BigInt(slashed)).toBeGreaterThanOrEqual(20_000_000_000_000_000_000n);
    expect(demo.answer.length).toBeGreaterThan(40);
    expect(demo.answer).toStartWith("The President of the United States");
    expect(demo.tokens_per_s).toBeGreaterThan(0);
    expect(demo.first_token_ms).toBeGreaterThan(0);
    // Its server is gone: nothing of the demo outlives it.
    const url = demo.steps.find(({ name }) => name === "serve")!.detail.split(",")[0]!;
    await expect(fetch(url)).rejects.toThrow();
    for (const file of Object.values(demo.artifacts)) expect(fs.existsSync(file)).toBe(true);
    expect(fs.readFileSync(demo.artifacts.gguf!).subarray(0, 4).toString()).toBe("GGUF");
    // What the demo leaves is a model that the chat command opens.
    const chat = await place.json(["chat", demo.artifacts.gguf!, "--prompt", "The"]);
    expect(chat.schema).toBe("magnet.chat/1");
    expect(
      fs.readdirSync(out).filter((name) => /^(agent-|serve|chain|operator)/.test(name)),
    ).toEqual([]);
  },
  DEMO_LIMIT_MS + 30_000,
);
