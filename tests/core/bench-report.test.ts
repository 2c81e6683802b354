/** The document of benchmarks and its comparison with an earlier one. */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import {
  type BenchResult,
  benchReportSchema,
  benchResult,
  compareResults,
  machineOf,
  readBenchFile,
} from "../../src/core/bench-report.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-bench-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const write = (name: string, text: string) => {
  const file = path.join(folder, name);
  fs.writeFileSync(file, text);
  return file;
};
const document = (results: BenchResult[]) => ({
  schema: "magnet.bench/1",
  suite: "train",
  machine: machineOf(),
  results,
});

test("the best repeat is the highest rate, or the shortest time", () => {
  const rate = benchResult("speed", "tokens/s", [90, 100, 95], { value: 125, name: "fma peak" });
  expect(rate).toEqual({
    ...{ name: "speed", unit: "tokens/s", value: 100, min: 90, max: 100, n: 3 },
    ...{ limit: 125, limit_name: "fma peak", ratio: 0.8 },
  });
  const time = benchResult("step", "ms", [7, 5, 6]);
  expect(time).toMatchObject({ value: 5, limit: null, limit_name: null, ratio: null });
  // A limit that could not be measured is none.
  expect(benchResult("x", "GB/s", [1], { value: 0, name: "read" }).limit).toBeNull();
});

test("comparison: what is slower, what takes longer, what is new", () => {
  const before = [benchResult("speed", "tokens/s", [100]), benchResult("step", "ms", [10])];
  const now = [
    benchResult("speed", "tokens/s", [80]),
    benchResult("step", "ms", [8]),
    benchResult("new", "GB/s", [1]),
  ];
  const compared = compareResults(before, now);
  expect(compared.map(({ name }) => name)).toEqual(["speed", "step"]);
  expect(compared[0]!.slower_percent).toBeCloseTo(20, 9);
  expect(compared[1]!.slower_percent).toBeCloseTo(-25, 9);
});

test("a written document is read back; anything else is refused", () => {
  const results = [benchResult("speed", "tokens/s", [100])];
  const whole = document(results);
  expect(benchReportSchema.parse(whole).results).toEqual(results);
  expect(readBenchFile(write("good.json", JSON.stringify(whole)))).toEqual(results);
  const refused = (file: string) => {
    try {
      readBenchFile(file);
    } catch (error) {
      return (error as { code: string }).code;
    }
    return "accepted";
  };
  expect(refused(path.join(folder, "absent.json"))).toBe("NOT_FOUND");
  expect(refused(write("text.json", "no JSON"))).toBe("BAD_BENCH_FILE");
  expect(refused(write("other.json", '{"schema":"magnet.train/1"}'))).toBe("BAD_BENCH_FILE");
  const nameless = { ...whole, results: [{ ...results[0], name: "" }] };
  expect(refused(write("nameless.json", JSON.stringify(nameless)))).toBe("BAD_BENCH_FILE");
});
