/**
 * The strict parser by itself: kinds of values, limits, defaults; and what progress and tables look
 * like.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Arguments, Flags } from "../../src/cli/frame/command.ts";
import { table } from "../../src/cli/frame/output.ts";
import { parseCommandLine } from "../../src/cli/frame/parse.ts";
import { Progress, shortDuration, shortNumber } from "../../src/cli/frame/progress.ts";
import type { MagnetError } from "../../src/core/errors.ts";

const flags = {
  steps: { type: "integer", min: 1, max: 100, default: 10, summary: "s" },
  lr: { type: "number", min: 0, summary: "s" },
  device: { type: "choice", options: ["auto", "cpu"], default: "auto", summary: "s" },
  data: { type: "list", summary: "s" },
  "vocab-size": { type: "integer", min: 300, summary: "s" },
  out: { type: "string", short: "o", summary: "s" },
  resume: { type: "boolean", summary: "s" },
} as const satisfies Flags;
const args = {
  model: { value: "MODEL", summary: "s" },
  files: { value: "FILE", summary: "s", many: true, optional: true },
} as const satisfies Arguments;
const parse = (...rest: string[]) => parseCommandLine("magnet x", rest, { args, flags });
const failure = (...rest: string[]) => {
  try {
    parse(...rest);
  } catch (error) {
    return error as MagnetError;
  }
  throw new Error(`accepted: ${rest.join(" ")}`);
};

describe("parser", () => {
  test("values, defaults and names in snake_case", () => {
    const parsed = parse(
      "m",
      "--lr",
      "1e-3",
      "--vocab-size=512",
      "-o",
      "dir",
      "--data",
      "a",
      "--data=b",
      "f1",
      "f2",
    );
    expect(parsed.args).toEqual({ model: "m", files: ["f1", "f2"] });
    expect(parsed.flags).toEqual({
      steps: 10,
      lr: 0.001,
      device: "auto",
      data: ["a", "b"],
      vocab_size: 512,
      out: "dir",
      resume: false,
    });
    expect(parse("m").flags.data).toEqual([]);
    expect(parse("--resume", "m").flags.resume).toBe(true);
  });

  test("after -- everything is an argument", () => {
    expect(parse("--", "--steps").args).toEqual({ model: "--steps", files: [] });
  });

  test.each([
    ["--steps", "0"],
    ["--steps", "101"],
    ["--steps", "1.5"],
    ["--steps", "ten"],
    ["--steps", "0x10"],
    ["--steps", " 5"],
    ["--steps", "-5"],
    ["--lr", "-1"],
    ["--lr", "NaN"],
    ["--lr", "Infinity"],
    ["--lr", "1e999"],
    ["--device", "gpu"],
    ["--out", "a\0b"],
  ])("%s %j is refused with what it takes", (flag, value) => {
    const error = failure("m", flag, value);
    expect(error).toMatchObject({ code: "BAD_VALUE", exit: "usage" });
    expect(error.hint).toBeString();
  });

  test("random lines either parse or are usage errors, never anything else", () =>
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.string({ maxLength: 8 }),
            fc.constantFrom(
              "--steps",
              "--lr=1",
              "-o",
              "--data",
              "--",
              "--resume",
              "-",
              "--json",
              "5",
            ),
          ),
          { maxLength: 8 },
        ),
        (line) => {
          try {
            parse(...line);
          } catch (error) {
            expect((error as MagnetError).exit).toBe("usage");
          }
        },
      ),
      { seed: 17, numRuns: 500 },
    ));

  test("integers round trip", () =>
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), (n) => {
        expect(parse("m", "--steps", String(n)).flags.steps).toBe(n);
      }),
      { seed: 18 },
    ));
});

describe("progress", () => {
  const make = (terminal: boolean) => {
    const lines: string[] = [];
    let now = 0;
    const progress = new Progress(
      { label: "train", total: 100, unit: "steps" },
      { write: (text) => lines.push(text), terminal, columns: 100, now_ms: () => now },
    );
    return { lines, progress, at: (ms: number) => (now = ms) };
  };

  test("on a terminal: a bar with rate and time left, redrawn at most ten times a second", () => {
    const { lines, progress, at } = make(true);
    for (let ms = 0; ms <= 1000; ms += 10) {
      at(ms);
      progress.update(ms / 10 / 2, "loss 3.2");
    }
    expect(lines.length).toBeLessThanOrEqual(11);
    expect(lines.at(-1)).toBe(
      "\r\x1b[2Ktrain  [##########----------]  50%  50/100 steps  50/s  1s left  loss 3.2",
    );
    progress.end();
    progress.end();
    expect(lines.at(-1)).toEndWith("in 1s  loss 3.2\n");
  });

  test("elsewhere: plain lines every five seconds and one at the end", () => {
    const { lines, progress, at } = make(false);
    for (let ms = 0; ms <= 12_000; ms += 100) {
      at(ms);
      progress.update(ms / 120);
    }
    progress.end();
    expect(lines).toHaveLength(3);
    expect(lines.join("")).not.toContain("\x1b");
    expect(lines[0]).toMatch(/^train {2}41% {2}.*\/100 steps {2}.*left\n$/);
  });

  test("a resumed run does not count old work into its rate", () => {
    const { lines, progress, at } = make(false);
    progress.startAt(90);
    at(5000);
    progress.update(95);
    expect(lines[0]).toContain("1/s  5s left");
  });
});

test("short numbers, durations and tables", () => {
  expect([0, 7, 999, 1234, 1_234_567, 2.5].map(shortNumber)).toEqual([
    "0",
    "7",
    "999",
    "1.23k",
    "1.23M",
    "2.50",
  ]);
  expect([0, 59_000, 83_000, 3_700_000].map(shortDuration)).toEqual([
    "0s",
    "59s",
    "1m23s",
    "1h01m",
  ]);
  expect(
    table(
      ["name", "bytes"],
      [
        ["a", 5],
        ["bcd", 1234],
      ],
    ),
  ).toBe("name  bytes\na         5\nbcd    1234");
});
