/** Strategies on the real contracts, in small: who works and opens is paid, who cheats is not. */
import { expect, test } from "bun:test";
import { MAG } from "../../src/chain/amounts.ts";
import type { Strategy } from "../../src/sim/strategies/strategies.ts";
import { NODES_LEAST, StrategySimulation } from "../../src/sim/strategies/strategy-simulation.ts";

/** A long run, until a colluder has tried a false root and was judged, outside of CI. */
const LONG = process.env.STRATEGIES === "long";

test("honesty pays best on the real contracts", async () => {
  const options = { nodes: NODES_LEAST, epochs: 2, seed: 2, cost: 5n * MAG };
  const extra_epochs = LONG ? 16 : 0;
  const report = await new StrategySimulation({ ...options, extra_epochs }).run();
  expect(report.failures).toEqual([]);
  const of = (strategy: Strategy) => report.operators.filter((one) => one.strategy === strategy);
  const [honest, sybil] = [of("honest")[0]!, of("sybil")[0]!];
  expect(honest.net).toBeGreaterThan(0n);
  // Two identities with one machine's work: the same, but for a unit an epoch.
  expect(sybil.identities).toBe(2);
  const gained = sybil.rewards - honest.rewards;
  expect(gained <= BigInt(2 * report.settled)).toBe(true);
  expect(of("lazy")[0]!.rewards).toBe(0n);
  // 10% of 30 MAG for each commitment not opened, until the bond is too small; 30% for a copied one.
  expect(of("withholding")[0]!.slashed).toBe(3n * MAG);
  expect(of("copying")[0]!.slashed).toBe(9n * MAG);
  for (const one of [...of("honest"), ...of("rational"), ...of("sybil"), ...of("lazy")])
    expect(one.slashed).toBe(0n);
  if (LONG) expect(report.rejected).toBeGreaterThan(0);
  else process.stderr.write("without false roots: STRATEGIES=long runs until one is judged\n");
}, 300_000);

test("too few nodes are refused", () => {
  const options = { nodes: NODES_LEAST - 1, epochs: 2, seed: 2, cost: 0n };
  expect(() => new StrategySimulation(options)).toThrow("cannot play every strategy");
});
