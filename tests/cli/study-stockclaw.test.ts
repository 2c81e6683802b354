/** `research study stockclaw` on generated histories: columns found, control written, resumed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { seededRandom } from "../../src/core/random.ts";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
const at = (...parts: string[]) => path.join(home, ...parts);
const study = (...args: string[]) =>
  magnet(MAIN, home, ["research", "study", "stockclaw", ...args]);

/** Prices that are drawn back to a slow mean: the direction can be told. */
function history(rows: number): string {
  const random = seededRandom(3);
  const lines = ["Date,Close,Volume"];
  let distance = 0;
  for (let row = 0; row < rows; row++) {
    distance += 0.004 * (random.next() - 0.5) - 0.3 * distance;
    const date = new Date(Date.UTC(2020, 0, 1) + row * 3_600_000).toISOString();
    lines.push(`${date},${100 * (1 + distance)},${Math.round(1000 * (1 + random.next()))}`);
  }
  return `${lines.join("\n")}\n`;
}

beforeAll(() => {
  home = makeHome();
  fs.writeFileSync(at("pull.csv"), history(1500));
});
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

interface Study {
  series: {
    name: string;
    control: boolean;
    horizon: number;
    curve: { rows: number; score: number }[];
    sealed: { score: number; low: number };
    trivial: { score: number };
    no_edge: boolean;
    notes: string[];
    trials: number;
  }[];
}

test("an edge is found in the history and none in its control; ended runs are not run again", async () => {
  const command = [
    at("pull.csv:4"),
    "--out",
    at("study"),
    "--trials",
    "5",
    "--workers",
    "1",
    "--json",
  ];
  const first = await study(...command);
  expect(first.stderr).not.toContain("INTERNAL");
  expect(first.code).toBe(0);
  const { series } = oneDocument(first) as unknown as Study;
  expect(series.map(({ name, control }) => [name, control])).toEqual([
    ["pull", false],
    ["pull-shuffled", true],
  ]);
  const [real, control] = series;
  expect(real!.no_edge).toBe(false);
  expect(real!.sealed.low).toBeGreaterThan(real!.trivial.score);
  expect(control!.no_edge).toBe(true);
  expect(real!.horizon).toBe(4);
  expect(real!.notes.join(" ")).toContain("breaks even");
  const file = JSON.parse(fs.readFileSync(at("study", "study.json"), "utf8")) as Study;
  expect(file.series).toEqual(series);
  // The control has the same moves in another order.
  const prices = (name: string) =>
    fs
      .readFileSync(name, "utf8")
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => Number(line.split(",")[1]));
  const moves = (p: number[]) =>
    p
      .slice(1)
      .map((now, i) => (now / p[i]!).toFixed(9))
      .sort();
  const [mine, shuffled] = [prices(at("pull.csv")), prices(at("study", "pull-shuffled.csv"))];
  expect(shuffled).not.toEqual(mine);
  expect(moves(shuffled)).toEqual(moves(mine));
  const again = await study(...command);
  expect((oneDocument(again) as unknown as Study).series.map((s) => s.sealed)).toEqual(
    series.map((s) => s.sealed),
  );
}, 120_000);

test("a file without a price, and two files of one name", async () => {
  fs.writeFileSync(at("none.csv"), "a,b\n1,2\n");
  const none = await study(at("none.csv"), "--json");
  expect(errorDocument(none).code).toBe("BAD_SERIES");
  fs.mkdirSync(at("other"), { recursive: true });
  fs.copyFileSync(at("pull.csv"), at("other", "pull.csv"));
  const twice = await study(at("pull.csv"), at("other", "pull.csv"), "--json");
  expect(errorDocument(twice).code).toBe("DUPLICATE_NAME");
});
