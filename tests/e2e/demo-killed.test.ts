/**
 * Nothing outlives the demo: its agents and its chain leave when it is killed without a chance to tidy
 * up.
 */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import { Place } from "./binary.ts";

const place = new Place();
afterAll(() => place.remove());

/** Live agents, hosts of a chain and workers of its research whose command line names the demo's folder. */
function childrenOf(out: string): number[] {
  return fs
    .readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const words = fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        const isOurs = ["join", "host", "worker"].some((word) => words.includes(word));
        return isOurs && words.some((word) => word.startsWith(out));
      } catch {
        return false; // it ended while we looked
      }
    })
    .map(Number);
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 120_000; // the demo's research comes first
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`waited 120 s for ${what}`);
    await Bun.sleep(20); // the pace of looking, not a wait for a duration
  }
}

test("agents end after a kill -9 of the demo", async () => {
  const out = place.at("out");
  // Started plainly: the signal must meet the demo itself, not a wrapper.
  const child = Bun.spawn([place.binary, "demo", "--quiet", "--out", out], {
    env: place.env,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
  });
  await until("four agents and the chain", () => childrenOf(out).length === 5);
  child.kill("SIGKILL");
  await child.exited;
  await until("the agents to leave", () => childrenOf(out).length === 0);
  expect(childrenOf(out)).toEqual([]);
}, 300_000);
