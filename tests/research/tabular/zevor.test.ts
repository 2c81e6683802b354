/** The Zevor study on planted data: the pipeline's answer helps, offsets do where contexts move. */
import { expect, test } from "bun:test";
import { runZevor } from "../../../src/research/study/zevor.ts";
import { titanicTable } from "../../../src/research/study/zevor-data.ts";
import { sampleDomain } from "./sample.ts";

test("each version answers its question; the sealed part says the same", async () => {
  const task = { drop: [], context: "place", pipeline: "rule" };
  const domain = sampleDomain({ rows: 360, context_shift: 2, task });
  const seen: string[] = [];
  const result = await runZevor({ domain, seed: 1, onVersion: (v) => seen.push(v.version) });
  const numbered = ["v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8"];
  expect(seen).toEqual(["rules", "end2end", "raw", ...numbered]);
  const [, transformer] = result.findings;
  expect(transformer).toContain("ternary transformer");
  const at = (name: string) => result.versions.find((v) => v.version === name)!;
  expect(at("v1").kept).toBe(true);
  expect(at("v1").difference!.low).toBeGreaterThan(0); // rules that are right in 9 rows of 10
  expect(at("v6").kept).toBe(false); // the control is never kept
  const kept = result.versions.filter((v) => v.kept).map((v) => v.score);
  expect(kept).toEqual(kept.slice().sort((a, b) => a - b));
  expect(result.sealed.final.score).toBeGreaterThan(result.sealed.end_to_end.score);
  expect(result.findings).toHaveLength(5);
}, 60_000);

test("the built-in passengers are the 2,201 of the source", () => {
  const { rows, columns } = titanicTable();
  const label = columns.at(-1)!;
  if (label.kind !== "category") throw new Error("the label is a category");
  expect(rows).toBe(2201);
  expect(label.codes.filter((c) => label.levels[c] === "survived")).toHaveLength(711);
});
