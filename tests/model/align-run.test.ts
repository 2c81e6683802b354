import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { requireAlignContinuation } from "../../src/model/align-config.ts";
import type { AlignEvent } from "../../src/model/align-types.ts";
import { resolveCheckpoint } from "../../src/model/checkpoint-store.ts";
import type { PairData } from "../../src/model/pair-data.ts";
import { alignTiny, politeData, tinyAlign, tokenizer } from "./align-fixture.ts";
import { errorOf } from "./error-of.ts";
import { tinyData } from "./training-fixture.ts";

let root = "";
let out = "";
let made = 0;
let pairs: PairData;
beforeAll(async () => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-align-"));
  pairs = await politeData(root);
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  out = path.join(root, `run-${made++}`);
});
const another = () => path.join(root, `run-${made++}`);
const metrics = (folder: string) =>
  fs
    .readFileSync(path.join(folder, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
/** Aborts once this many steps are done. */
function abortAfter(step: number) {
  const abort = new AbortController();
  const onEvent = (event: AlignEvent) => {
    if (event.type === "step" && event.step === step) abort.abort();
  };
  return { signal: abort.signal, onEvent };
}

describe("an alignment run", () => {
  test("prefers chosen responses to prompts it has not seen, and says so", async () => {
    const events: AlignEvent[] = [];
    const config = tinyAlign({ steps: 40, eval_interval: 20, beta: 0.5 });
    const result = await alignTiny(out, config, { pairs, onEvent: (e) => events.push(e) });
    const { before, after } = result;
    expect(before!.heldout!.pairs).toBe(pairs.heldout.length);
    expect(Math.abs(before!.heldout!.margin)).toBeLessThan(0.2);
    expect(after!.heldout!.win_rate).toBe(1);
    expect(after!.heldout!.margin).toBeGreaterThan(1);
    expect(after!.heldout!.chosen_nll).toBeLessThan(before!.heldout!.chosen_nll - 1);
    expect(result).toMatchObject({ ended: "completed", step: 40, language_change: null });
    const steps = events.filter((e) => e.type === "step");
    expect(steps.map((e) => e.step)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
    expect(steps[0]).toMatchObject({ steps: 40, eta_ms: 390 });
    expect(steps[0]!.loss).toBeCloseTo(steps[0]!.nll + 0.5 * steps[0]!.odds_loss, 10);
    expect(steps.at(-1)!.win_rate).toBe(1);
    const lines = metrics(out);
    expect(lines.filter((l) => "heldout" in l).map((l) => l.step)).toEqual([0, 20, 40]);
    expect(lines[0]).toEqual({ step: 0, heldout: before!.heldout, language: null });
    expect(lines.filter((l) => "log_odds" in l)).toHaveLength(40);
    const { manifest } = await resolveCheckpoint(out);
    expect(manifest.checkpoint_hash).toBe(result.checkpoint_hash);
    expect(manifest.alignment).toEqual({ method: "orpo", beta: 0.5, base_hash: "0".repeat(64) });
    expect(manifest.data).toMatchObject({ train_hash: pairs.train_hash, position: 160, batch: 4 });
  });

  test("a resumed run ends with the bits of one that never stopped", async () => {
    const whole = await alignTiny(out, tinyAlign(), { pairs });
    const halved = another();
    const first = await alignTiny(halved, tinyAlign(), { pairs, ...abortAfter(7) });
    expect(first).toMatchObject({ ended: "aborted", step: 7, after: null });
    const resume = await resolveCheckpoint(halved);
    expect(resume.manifest.step).toBe(7);
    const second = await alignTiny(halved, tinyAlign({ threads: 2 }), {
      ...{ pairs, resume, base: null },
    });
    expect(second).toMatchObject({ ended: "completed", step: 12 });
    expect(second.checkpoint_hash).toBe(whole.checkpoint_hash);
    // The figures of before are those of the base model, not of step 7.
    expect(second.before).toEqual(whole.before);
    expect(second.after).toEqual(whole.after);
    expect(metrics(halved).map((l) => l.step)).toEqual(metrics(out).map((l) => l.step));
  });

  test("accumulation equals a larger batch, up to rounding", async () => {
    const large = tinyAlign({ steps: 1, batch: 8 });
    const small = tinyAlign({ steps: 1, batch: 2, accumulate: 4 });
    const a = await alignTiny(out, large, { pairs });
    const b = await alignTiny(another(), small, { pairs });
    expect(b.loss!).toBeCloseTo(a.loss!, 10);
    expect(b.after!.heldout!.margin).toBeCloseTo(a.after!.heldout!.margin, 3);
  });

  test("the language loss is watched on the held-out part of a text", async () => {
    const data = await tinyData();
    const sources = [{ name: "moby", weight: 1, ...data }];
    const error = await errorOf(alignTiny(out, tinyAlign(), { pairs, language: sources }));
    expect(error.code).toBe("TOKENIZER_MISMATCH");
  });

  test("Muon and recomputation align as well, the latter to the same bits", async () => {
    const muon = { steps: 6, optimizer: "muon" as const, lr: 1e-3 };
    const plain = await alignTiny(out, tinyAlign(muon), { pairs });
    expect(plain.after!.heldout!.margin).toBeGreaterThan(plain.before!.heldout!.margin);
    const again = await alignTiny(another(), tinyAlign({ ...muon, recompute: true }), { pairs });
    expect(again.checkpoint_hash).toBe(plain.checkpoint_hash);
  });
});

describe("an alignment run is refused or stopped", () => {
  test("but not for a loss that is high by its beta alone", async () => {
    const config = tinyAlign({ beta: 200, steps: 2 });
    const { loss } = await alignTiny(out, config, { pairs });
    expect(loss!).toBeGreaterThan(50);
  });

  test("where the loss blows up, with the last checkpoint intact", async () => {
    const config = tinyAlign({ lr: 10, clip: 0, steps: 400, checkpoint_interval: 1 });
    const error = await errorOf(alignTiny(out, config, { pairs }));
    expect(error.code).toBe("TRAINING_DIVERGED");
    await (await resolveCheckpoint(out)).verify();
  });

  test("where it would not be the continuation", async () => {
    await alignTiny(out, tinyAlign({ steps: 1 }), { pairs });
    const resume = await resolveCheckpoint(out);
    const hashes = { train_hash: pairs.train_hash, tokenizer_hash: tokenizer.hash };
    const refused = (change: () => void) => expect(change).toThrow("of another run");
    refused(() => requireAlignContinuation(resume.manifest, tinyAlign({ beta: 0.2 }), hashes));
    refused(() => requireAlignContinuation(resume.manifest, tinyAlign({ lr: 1e-3 }), hashes));
    const other = { ...hashes, train_hash: pairs.heldout_hash };
    refused(() => requireAlignContinuation(resume.manifest, tinyAlign({ steps: 1 }), other));
    const { alignment: _, ...plain } = resume.manifest;
    expect(() => requireAlignContinuation(plain, tinyAlign(), hashes)).toThrow(
      "not of an alignment run",
    );
    const error = await errorOf(alignTiny(out, tinyAlign(), { pairs }));
    expect(error.code).toBe("OUT_IN_USE");
  });

  test("where memory or pairs are too few", async () => {
    const few = alignTiny(out, tinyAlign(), { pairs, memory_available_bytes: 1000 });
    expect((await errorOf(few)).code).toBe("NOT_ENOUGH_MEMORY");
    const none = alignTiny(out, tinyAlign(), { pairs: { ...pairs, train: [] } });
    expect((await errorOf(none)).code).toBe("PAIRS_EMPTY");
    expect(fs.existsSync(out)).toBe(false);
  });
});
