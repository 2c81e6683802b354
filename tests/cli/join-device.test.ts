/**
 * `magnet join` on machines with and without a GPU, as the emulation of one shows them: which tier a node
 * gets, on which device it trains, and with which exit code it is refused.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { BUILD_TIMEOUT_MS, build, emulatedFile } from "../native/emulated.ts";
import { errorDocument, MAIN, magnet, makeHome } from "./magnet.ts";

const home = makeHome();
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));
const GPU = { MAGNET_CUDA_LIBRARY: emulatedFile };
const NO_DRIVER = { ...GPU, MAGNET_EMULATION_DEVICES: "0" };
/** The measurement at the start takes some seconds in the emulation. */
const READY_TIMEOUT_MS = 200_000;
const RUN_TIMEOUT_MS = READY_TIMEOUT_MS + 60_000;

beforeAll(() => {
  build("emulated");
}, BUILD_TIMEOUT_MS);

const children: Bun.Subprocess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
});
let count = 0;
const flagsOf = (...more: string[]) => {
  const data_dir = path.join(home, `node-${count++}`);
  return { data_dir, flags: ["--data-dir", data_dir, "--listen", "127.0.0.1:0", ...more] };
};

/** Starts a node; its banner once it is up. */
async function banner(env: Record<string, string>, ...more: string[]) {
  const { data_dir, flags } = flagsOf(...more);
  const ready = path.join(home, `ready-${count++}.json`);
  const child = Bun.spawn([...MAIN.command, "join", ...flags, "--ready-file", ready, "--json"], {
    cwd: home,
    env: { PATH: process.env.PATH!, HOME: home, ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  children.push(child);
  const end = performance.now() + READY_TIMEOUT_MS;
  while (!fs.existsSync(ready)) {
    if (child.exitCode !== null || performance.now() > end)
      throw new Error(`not ready: ${await new Response(child.stderr).text()}`);
    await Bun.sleep(50);
  }
  const status = await magnet(MAIN, home, ["node", "status", "--data-dir", data_dir, "--json"]);
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0);
  const text = await new Response(child.stdout).text();
  const join = JSON.parse(text.trim().split("\n")[0]!) as Record<string, unknown>;
  return { join, status: JSON.parse(status.stdout) as Record<string, unknown> };
}

const refusal = async (env: Record<string, string>, ...more: string[]) => {
  const { data_dir, flags } = flagsOf(...more);
  const outcome = await magnet(MAIN, home, ["join", "--json", ...flags], { env });
  expect(fs.existsSync(path.join(data_dir, "wallet.json"))).toBe(false);
  return { exit: outcome.code, ...errorDocument(outcome) };
};

test(
  "a GPU that computes what the CPU does makes a node gpu_compute, asked for or not",
  async () => {
    for (const more of [["--tier", "gpu"], []]) {
      const { join, status } = await banner(GPU, ...more);
      expect(join).toMatchObject({ tier: "gpu_compute", device: "cuda:0 (emulated device)" });
      expect(join.tier_reason).toMatch(/gradient within .*% of the CPU's, \d+ tokens\/s/);
      expect(status).toMatchObject({ tier: "gpu_compute", device: "cuda:0 (emulated device)" });
    }
  },
  2 * RUN_TIMEOUT_MS,
);

test(
  "--device cpu keeps a node off its GPU; without a driver auto says why it trains on the CPU",
  async () => {
    const kept = await banner(GPU, "--device", "cpu");
    expect(kept.join).toMatchObject({ tier: "cpu_only", device: "CPU" });
    const without = await banner(NO_DRIVER);
    expect(without.join).toMatchObject({ tier: "cpu_only", device: "CPU" });
    expect(without.join.tier_reason).toContain("no NVIDIA driver is installed");
  },
  RUN_TIMEOUT_MS,
);

test(
  "what cannot be had is refused with exit 7, before a key is made",
  async () => {
    const driver = await refusal(NO_DRIVER, "--tier", "gpu");
    expect([driver.exit, driver.code]).toEqual([7, "TIER_NOT_MET"]);
    expect(driver.message).toContain("no NVIDIA driver is installed");
    const second = await refusal(GPU, "--device", "cuda:1");
    expect([second.exit, second.code]).toEqual([7, "TIER_NOT_MET"]);
    expect(second.message).toContain("there is no GPU 1 here: cuda:0 emulated device");
    const cpu = await refusal(GPU, "--tier", "gpu", "--device", "cpu");
    expect([cpu.exit, cpu.code]).toEqual([7, "TIER_NOT_MET"]);
    const storage = await refusal(GPU, "--tier", "storage", "--device", "cuda");
    expect([storage.exit, storage.code]).toEqual([2, "BAD_DEVICE"]);
    const word = await refusal(GPU, "--device", "gpu");
    expect([word.exit, word.code]).toEqual([2, "BAD_DEVICE"]);
  },
  RUN_TIMEOUT_MS,
);
