/** The default values, their JSON, and that both name exactly what the contract's `Values` names. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatMag, MAG, parseMag } from "../../src/chain/amounts.ts";
import { CONTRACTS } from "../../src/chain/client/abis.ts";
import {
  DEFAULT_GOVERNANCE,
  DEFAULT_VALUES,
  defaultValues,
  governanceToJson,
  mergeSettings,
  valuesToJson,
} from "../../src/chain/default-values.ts";

const BASE = { values: DEFAULT_VALUES, governance: DEFAULT_GOVERNANCE };

test("the fields are the struct's, in its order", () => {
  const current = CONTRACTS.params.abi.find((e) => e.type === "function" && e.name === "current");
  const [values] = (current as unknown as { outputs: { components: { name: string }[] }[] })
    .outputs;
  expect(Object.keys(DEFAULT_VALUES)).toEqual(values!.components.map(({ name }) => name));
});

test("JSON and back, whole or in part", () => {
  const document = {
    values: valuesToJson(DEFAULT_VALUES),
    governance: governanceToJson(DEFAULT_GOVERNANCE),
  };
  const text = JSON.parse(JSON.stringify(document)) as typeof document;
  expect(mergeSettings(text, "x", BASE)).toEqual(BASE);
  expect(mergeSettings({ ...text.values, governance: text.governance }, "x", BASE)).toEqual(BASE);
  const part = { epoch_pool: "2.5 MAG", governance: { quorum_percent: 7 } };
  expect(mergeSettings(part, "x", BASE)).toEqual({
    values: { ...DEFAULT_VALUES, epochPool: (5n * MAG) / 2n },
    governance: { ...DEFAULT_GOVERNANCE, quorum_percent: 7 },
  });
});

test("refusals name the file and the field", () => {
  const refused = (document: unknown) => () => mergeSettings(document, "v.json", BASE);
  expect(refused({ epoch_pools: "1" })).toThrow("v.json: document: Unrecognized key");
  expect(refused({ epoch_pool: 5 })).toThrow("v.json: epoch_pool: ");
  expect(refused({ epoch_pool: "5 ETH" })).toThrow('must be base units, or like "12.5 MAG"');
  expect(refused({ slash_bps: [1, 2] })).toThrow("v.json: slash_bps");
  const data_fee = { provider: 9000, treasury: 2000, burned: 0 };
  const splits = { data_fee, research_job: data_fee, api_income: data_fee };
  expect(refused({ splits })).toThrow("splits.data_fee: must sum to 10000");
  expect(refused([])).toThrow("v.json: document");
});

test("windows follow the epoch's length, at least a second", () => {
  expect(defaultValues(600)).toEqual(DEFAULT_VALUES);
  const short = defaultValues(20);
  expect([short.commitSeconds, short.proposerSeconds, short.unbondingSeconds]).toEqual([3, 2, 120]);
  for (const epoch_seconds of [2, 3, 7, 20, 600, 86_400]) {
    const v = defaultValues(epoch_seconds);
    expect(v.proposerSeconds + v.challengeSeconds).toBeLessThanOrEqual(epoch_seconds);
    const votes = v.voteCommitSeconds + v.voteRevealSeconds;
    const work = v.commitSeconds + v.revealSeconds + v.challengeSeconds + votes + epoch_seconds;
    expect(v.unbondingSeconds).toBeGreaterThanOrEqual(work);
  }
});

test("amounts: exact both ways, nothing but plain decimals", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 10n ** 35n }), (amount) => {
      expect(parseMag(formatMag(amount))).toBe(amount);
    }),
  );
  expect(formatMag(-MAG / 2n)).toBe("-0.5");
  for (const bad of ["", "1e3", "-1", "+1", ".5", "1.", "1,5", "1.0000000000000000001", "0x1"])
    expect(() => parseMag(bad)).toThrow("is no amount");
});
