/** The live view of training: what a terminal shows after it, line by line. */
import { describe, expect, test } from "bun:test";
import { areaChart, hasBlocks, resample } from "../../src/cli/chart.ts";
import { cutVisible, LiveRegion, visibleLength } from "../../src/cli/frame/live.ts";
import { TrainScreen } from "../../src/cli/train-view.ts";

const CONTROLS = new RegExp(`(${"\x1b"}\\[\\??[0-9;]*[A-Za-z]|\n|\r)`);

/** As much of a terminal as the view uses; lines longer than the width wrap, as real ones do. */
class Terminal {
  rows: string[] = [""];
  private row = 0;
  private column = 0;
  constructor(public columns: number) {}

  write(text: string): void {
    for (const part of text.split(CONTROLS)) {
      if (part === "\n") this.lineFeed();
      else if (part === "\r") this.column = 0;
      else if (part.endsWith("A") && part.startsWith("\x1b"))
        this.row = Math.max(0, this.row - Number(part.slice(2, -1)));
      else if (part === "\x1b[K") this.rows[this.row] = this.rows[this.row]!.slice(0, this.column);
      else if (part === "\x1b[J") {
        this.rows[this.row] = this.rows[this.row]!.slice(0, this.column);
        this.rows.length = this.row + 1;
      } else if (!part.startsWith("\x1b")) for (const c of part) this.put(c);
    }
  }
  /** Narrower: what stands there is broken into more rows, as terminals do. */
  resize(columns: number): void {
    const before = this.rows.slice(0, this.row);
    const broken = before.flatMap((line) =>
      line === "" ? [""] : (line.match(new RegExp(`.{1,${columns}}`, "gu")) ?? [""]),
    );
    this.columns = columns;
    this.rows = [...broken, ""];
    this.row = broken.length;
    this.column = 0;
  }
  get text(): string[] {
    return this.rows.map((line) => line.trimEnd()).filter((line) => line !== "");
  }
  private put(character: string): void {
    if (this.column === this.columns) this.lineFeed();
    const line = this.rows[this.row]!.padEnd(this.column);
    this.rows[this.row] = line.slice(0, this.column) + character + line.slice(this.column + 1);
    this.column++;
  }
  private lineFeed(): void {
    this.row++;
    this.column = 0;
    if (this.row === this.rows.length) this.rows.push("");
  }
}

function regionOn(terminal: Terminal, lines: () => string[]) {
  const writes: string[] = [];
  let now_ms = 0;
  const surface = {
    write(text: string) {
      writes.push(text);
      terminal.write(text);
    },
    columns: () => terminal.columns,
    rows: () => 30,
    now_ms: () => now_ms,
  };
  const region = new LiveRegion(surface, lines);
  return { region, writes, wait: (ms: number) => (now_ms += ms) };
}

describe("lines redrawn in place", () => {
  test("stay where they are, shrink, and are not drawn more often than ten times a second", () => {
    const terminal = new Terminal(40);
    terminal.write("before\n");
    let lines = ["one long line", "two", "three"];
    const { region, writes, wait } = regionOn(terminal, () => lines);
    region.update();
    lines = ["1", "2"];
    region.update(); // too soon
    expect(terminal.text).toEqual(["before", "one long line", "two", "three"]);
    expect(writes).toHaveLength(1);
    wait(100);
    region.update();
    expect(terminal.text).toEqual(["before", "1", "2"]);
    // One write a redraw, and nothing is erased before it is overwritten: no flicker.
    expect(writes).toHaveLength(2);
    expect(writes[1]!.indexOf("\x1b[J")).toBeGreaterThan(writes[1]!.indexOf("2"));
  });

  test("a note goes above them", () => {
    const terminal = new Terminal(40);
    const { region } = regionOn(terminal, () => ["line a", "line b"]);
    region.update();
    terminal.write(`${region.clear()}a note\n`);
    region.update();
    expect(terminal.text).toEqual(["a note", "line a", "line b"]);
  });

  test("after a resize nothing of the old lines is left", () => {
    const terminal = new Terminal(60);
    terminal.write("before\n");
    const { region } = regionOn(terminal, () => ["x".repeat(100), "y".repeat(100), "end"]);
    region.update();
    terminal.resize(25);
    expect(terminal.text.length).toBeGreaterThan(4);
    region.update(true);
    expect(terminal.text).toEqual(["before", "x".repeat(24), "y".repeat(24), "end"]);
    terminal.resize(80);
    region.update(true);
    expect(terminal.text).toEqual(["before", "x".repeat(79), "y".repeat(79), "end"]);
  });

  test("texts are cut by what is seen, and styles stay closed", () => {
    const styled = "\x1b[1mbold\x1b[22m plain";
    expect(visibleLength(styled)).toBe(10);
    expect(cutVisible(styled, 2)).toBe("\x1b[1mbo\x1b[22m");
    expect(cutVisible("漢字漢字", 5)).toBe("漢字"); // each takes two columns
  });
});

describe("curve", () => {
  test("falls from the first to the last row", () => {
    const points = Array.from({ length: 64 }, (_, i) => [i, 64 - i] as const);
    const chart = areaChart(points, { columns: 16, rows: 4, blocks: true });
    expect(chart.lines).toHaveLength(4);
    expect(chart.lines[0]!.startsWith("█")).toBe(true);
    expect(chart.lines[0]!.length).toBeLessThan(6);
    expect(chart.lines[3]!).toHaveLength(16);
    expect(chart.lines[3]!.endsWith("▁")).toBe(true);
    expect([chart.high, chart.low]).toEqual([62.5, 2.5]);
    const ascii = areaChart(points, { columns: 16, rows: 4, blocks: false });
    expect(ascii.lines.join("")).toMatch(/^[ .:|#]+$/);
  });

  test("one point, equal points and gaps", () => {
    expect(areaChart([[0, 5]], { columns: 9, rows: 2, blocks: true }).lines).toEqual(["", "▁"]);
    const flat = areaChart(
      [
        [0, 5],
        [9, 5],
      ],
      { columns: 9, rows: 1, blocks: true },
    ); // biome: short
    expect(flat.lines).toEqual(["▁▁"]);
    expect(
      resample(
        [
          [0, 1],
          [10, 3],
        ],
        5,
      ),
    ).toEqual([1, undefined, undefined, undefined, 3]);
  });

  test("block characters only where the locale has them", () => {
    expect(hasBlocks({ LANG: "en_US.UTF-8" })).toBe(true);
    expect(hasBlocks({ LANG: "en_US.UTF-8", LC_ALL: "C" })).toBe(false);
    expect(hasBlocks({})).toBe(false);
  });
});

test("the screen of a run holds what is known, at any size", () => {
  const started = { type: "started", step: 0, steps: 200, params: 1.3e6, device: "CPU" } as const;
  const screen = new TrainScreen(
    { ...started, memory_bytes: 0, memory_available_bytes: null, tokens: 0 },
    { style: (_, text) => text, blocks: true, memory_bytes: () => 2 ** 30 },
  );
  expect(screen.lines(80, 30).join("\n")).toContain("step 0/200");
  const evaluation = { perplexity: 1, tokens: 1, text_bytes: 1, bits_per_byte: 1.5 };
  screen.add({ type: "evaluated", step: 0, loss: 7.25, ...evaluation });
  for (let step = 1; step <= 100; step++)
    screen.add({
      ...{ type: "step", step, steps: 200, loss: 7 - step / 50, lr: 1e-3, grad_norm: 0.5 },
      ...{ tokens: 10, tokens_per_s: 12_345, eta_ms: 61_000 },
    });
  screen.add({ type: "checkpoint", step: 100, folder: "", checkpoint_hash: "" });
  const text = screen.lines(80, 30).join("\n");
  for (const part of ["50%", "step 100/200", "1m01s left", "1.30M parameters", "loss 5.0000"])
    expect(text).toContain(part);
  for (const part of ["held out 7.2500 (step 0)", "1.500 bits per byte", "12.35k tokens/s"])
    expect(text).toContain(part);
  for (const part of ["lr 1.00e-3", "memory 1.0 GiB", "checkpoint 100", "6.9700", "█"])
    expect(text).toContain(part);
  // A low terminal shows the figures alone.
  expect(screen.lines(80, 10)).toHaveLength(3);
});
