/** Nothing held out in one source is trained on in another, whatever the sources share. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { bucketOf, sideOf } from "../../src/model/heldout-split.ts";
import { openMixture, prepareMixture } from "../../src/model/mixed-data.ts";
import { mixtureTexts } from "../../src/model/mixture-sample.ts";
import { splitSources } from "../../src/model/mixture-split.ts";
import type { TokenFile } from "../../src/model/token-file.ts";
import { BOS, byteTokenizer, EOS } from "./byte-tokenizer.ts";

let root = "";
let made = 0;
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-split-"));
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

/** A JSONL file of these documents. */
function source(documents: readonly string[]): string {
  const file = path.join(root, `${made++}.jsonl`);
  fs.writeFileSync(file, documents.map((text) => `${JSON.stringify({ text })}\n`).join(""));
  return file;
}
const documents = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => `Document number ${from + i} of them all.`);
const bucket = (text: string) => bucketOf(new TextEncoder().encode(text));
function textsOf(file: TokenFile | null): string[] {
  if (!file) return [];
  const ids = [...file.tokens(0, file.token_count)].filter((id) => id !== BOS);
  const bytes = Uint8Array.from(ids, (id) => (id === EOS ? 10 : id));
  return new TextDecoder().decode(bytes).trim().split("\n");
}
async function prepared(sources: { path: string; weight: number; name: string }[]) {
  const out_dir = path.join(root, `out-${made++}`);
  await prepareMixture({ sources, tokenizer: byteTokenizer, out_dir, heldout_fraction: 0.1 });
  const data = await openMixture(out_dir);
  const sides = data.sources.map(({ train, heldout }) => ({
    train: textsOf(train),
    heldout: textsOf(heldout),
  }));
  data.close();
  return sides;
}
const named = (...paths: string[]) => paths.map((p, i) => ({ path: p, weight: 1, name: `s${i}` }));

describe("sources that share texts", () => {
  test("hold the same ones out", async () => {
    const paths = [documents(0, 400), documents(200, 500), documents(100, 300)].map(source);
    const sides = await prepared(named(...paths));
    const heldout = new Set(sides.flatMap((side) => side.heldout));
    for (const side of sides) {
      expect(side.heldout.length).toBeGreaterThan(0);
      expect(side.train.filter((text) => heldout.has(text))).toEqual([]);
    }
    const all = sides.flatMap((side) => [...side.train, ...side.heldout]);
    expect(all.length).toBe(900); // no text is lost
    const share = heldout.size / new Set(all).size;
    expect(share).toBeGreaterThan(0.05);
    expect(share).toBeLessThan(0.15);
  });

  test("a source too small for the common boundary has its own, and the others leave it out", async () => {
    const many = documents(0, 400);
    // The three whose content lies highest: none is below a boundary near a tenth.
    const few = [...many].sort((a, b) => bucket(b) - bucket(a)).slice(0, 3);
    const sides = await prepared(named(source(many), source(few)));
    expect(sides[1]!.heldout).toEqual([few[2]!]);
    expect(sides[0]!.train).not.toContain(few[2]!);
    expect(sides[0]!.heldout).not.toContain(few[2]!);
    expect(sides[0]!.train).toContain(few[0]!);
    expect(sides[0]!.train.length + sides[0]!.heldout.length).toBe(399);
  });

  test("the tokenizer is trained on nothing that is held out", async () => {
    const paths = [source(documents(0, 300)), source(documents(200, 260))];
    const splits = await splitSources(paths, 0.1);
    const held = (bytes: Uint8Array) => splits.some((split) => sideOf(split, bytes) === "heldout");
    let count = 0;
    for await (const bytes of mixtureTexts({ sources: named(...paths), splits })) {
      expect(held(bytes)).toBe(false);
      count++;
    }
    expect(count).toBeGreaterThan(300);
  });
});

test("nothing held out where none is wanted; a source of one document is refused by name", async () => {
  const [large, single] = [source(documents(0, 50)), source(["only this"])];
  expect(await splitSources([large, single], 0)).toMatchObject([{ boundary: 0 }, { boundary: 0 }]);
  const error = await splitSources([large, single], 0.1).catch((e) => e);
  expect(error).toMatchObject({ code: "DATA_TOO_SMALL" });
  expect(error.message).toContain(single!);
});
