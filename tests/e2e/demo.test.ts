/**
 * The main job, whole: the compiled binary alone, in another folder and with an empty HOME, runs
 * the demo on the embedded text. What it promises is asserted from its JSON document; times have
 * coarse ceilings.
 */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const DEMO_TIMEOUT_MS = 420_000;
const binary = path.join(import.meta.dir, "../../dist/magnet");
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-e2e-demo-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

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
  answer: string;
  artifacts: Record<string, string>;
}

test(
  "magnet demo trains, merges, repairs, exports and answers",
  async () => {
    const copy = path.join(folder, "magnet");
    fs.copyFileSync(binary, copy); // a missing binary fails here: npm test builds it first
    fs.chmodSync(copy, 0o755);
    const home = path.join(folder, "home");
    fs.mkdirSync(home);
    const out = path.join(folder, "results");
    const child = Bun.spawn([copy, "demo", "--json", "--out", out], {
      cwd: folder,
      env: { HOME: home, PATH: "/usr/bin:/bin" },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
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
      "baseline",
      "network",
      "job",
      "rounds",
      "repair",
      "merge",
      "evaluate",
      "export",
      "answer",
    ]);
    expect(demo.loss_after).toBeLessThan(0.65 * demo.loss_before);
    expect(demo.bits_per_byte_after).toBeLessThan(demo.bits_per_byte_order2);
    expect(demo.nodes).toBeGreaterThanOrEqual(4);
    expect(demo.rounds).toBeGreaterThanOrEqual(4);
    expect(demo.wire_bytes).toBeGreaterThan(1e6);
    expect(demo.answer.length).toBeGreaterThan(40);
    for (const file of Object.values(demo.artifacts)) expect(fs.existsSync(file)).toBe(true);
    expect(fs.readFileSync(demo.artifacts.gguf!).subarray(0, 4).toString()).toBe("GGUF");
    // What the demo leaves is a model that the chat command opens.
    const chat = Bun.spawnSync([copy, "chat", demo.artifacts.gguf!, "--prompt", "The", "--json"], {
      cwd: folder,
      env: { HOME: home, PATH: "/usr/bin:/bin" },
    });
    expect(chat.exitCode).toBe(0);
    expect(fs.readdirSync(out).filter((name) => name.startsWith("agent-"))).toEqual([]);
  },
  DEMO_TIMEOUT_MS,
);
