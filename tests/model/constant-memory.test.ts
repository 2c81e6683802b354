/**
 * Preparing a text takes the same memory whatever its size: one huge file, one huge JSON line, and
 * a packed file that is small on disk, each in a process of its own whose peak is measured.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

let root = "";
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-memory-"));
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const MIB = 2 ** 20;
/** Far below the size of the texts; garbage not yet collected is most of it. */
const GROWN_BYTES_MAX = 100 * MIB;

test.each([
  ["text", 150],
  ["line", 150],
  ["packed", 150],
] as const)(
  "%s",
  async (kind, size_mib) => {
    const folder = path.join(root, kind);
    fs.mkdirSync(folder);
    const child = Bun.spawn(
      [
        process.execPath,
        path.join(import.meta.dir, "prepare-child.ts"),
        folder,
        kind,
        String(size_mib * MIB),
      ],
      { stdout: "pipe", stderr: "inherit" },
    );
    const report = JSON.parse(await new Response(child.stdout).text());
    expect(await child.exited).toBe(0);
    expect(report.text_bytes).toBeGreaterThan(0.9 * size_mib * MIB);
    expect(report.reports).toBeGreaterThan(kind === "packed" ? 10 : 2 * size_mib);
    process.stderr.write(
      `${kind}: ${size_mib} MiB, memory rose ${(report.grown_bytes / MIB).toFixed(0)} MiB\n`,
    );
    expect(report.grown_bytes).toBeLessThan(GROWN_BYTES_MAX);
    fs.rmSync(folder, { recursive: true });
  },
  120_000,
);
