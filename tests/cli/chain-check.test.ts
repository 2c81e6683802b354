/** chain params check, chain simulate and the ledger's simulation as a user or a script runs them. */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import { MAIN, magnet, makeHome } from "./magnet.ts";

const home = makeHome();
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));
const run = (...args: string[]) => magnet(MAIN, home, args);

interface Check {
  ok: boolean;
  assumed: { nodes: number; notaries: number };
  offences: { offence: string; holds: boolean; margin: number }[];
}

test("the defaults deter every offence, and the assumptions are told", async () => {
  const { code, stdout } = await run("chain", "params", "check", "--defaults", "--json");
  expect(code).toBe(0);
  const check = JSON.parse(stdout) as Check;
  expect(check).toMatchObject({ ok: true, assumed: { nodes: 16, notaries: 16 } });
  expect(check.offences).toHaveLength(30);
  const text = await run("chain", "params", "check", "--defaults");
  expect(text.stdout).toContain("gamma 0.99");
  expect(text.stdout).toContain("cheating pays nowhere");
});

test("exit code 6 where cheating would pay", async () => {
  const small = ["--nodes", "10000", "--notaries", "4"];
  const { code, stdout } = await run("chain", "params", "check", "--defaults", ...small);
  expect(code).toBe(6);
  expect(stdout).toContain("cheating pays in 10 of 30 cases: bad_root as claude_session");
});

test("the ledger's simulation ends with 0 and prints what was minted", async () => {
  const options = ["--profile", "ledger-calm", "--nodes", "4", "--duration", "2m", "--seed", "1"];
  const { code, stdout } = await run("sim", ...options, "--json");
  expect(code).toBe(0);
  const report = JSON.parse(stdout) as { minted: string; claimed: string; slashes: number };
  expect(report).toMatchObject({ ok: true, slashes: 0 });
  expect(report.claimed).toBe(report.minted);
});

test("networks too small for their cheaters are refused", async () => {
  const sim = await run("sim", "--profile", "ledger-cheaters", "--nodes", "4");
  expect(sim.code).toBe(2);
  expect(sim.stderr).toContain("needs 10 nodes");
  const simulate = await run("chain", "simulate", "--nodes", "5");
  expect(simulate.code).toBe(2);
  expect(simulate.stderr).toContain("12 to 64");
});
