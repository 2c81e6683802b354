/** The configuration schema completes what is missing and refuses what the task cannot give. */
import { expect, test } from "bun:test";
import { parseTabular } from "../../../src/research/tabular/configuration.ts";

const ALL = { contexts: true, pipeline: true, time: true };
const NONE = { contexts: false, pipeline: false, time: false };

test("a learner's name alone is a whole configuration", () => {
  const c = parseTabular({ members: [{ learner: "boosting" }] }, NONE);
  expect(c.members[0]!.params).toMatchObject({ trees: 100, learning_rate: 0.1 });
  expect(c).toMatchObject({ combination: "weighted", target: "plain", calibration: "none" });
  expect(c.decision).toMatchObject({ rule: "argmax", context: "none" });
  expect(parseTabular(c, NONE)).toEqual(c); // what was completed stays as it is
});

test("an unknown field is refused with the one that may have been meant", () => {
  const check = (value: unknown) => () => parseTabular(value, NONE);
  expect(check({ members: [{ learner: "boosting", params: { tree: 5 } }] })).toThrow(
    "members.0.params.tree: no such field",
  );
  try {
    check({ members: [{ learner: "boosting", params: { tree: 5 } }] })();
  } catch (error) {
    expect(error).toMatchObject({ code: "BAD_CONFIGURATION", hint: "did you mean trees?" });
  }
  expect(check({ members: [] })).toThrow("members:");
  expect(check({ members: [{ learner: "svm" }] })).toThrow("members.0.learner:");
  expect(check({ members: [{ learner: "forest", weight: 0 }] })).toThrow("are 0");
});

test("what the task's columns cannot give is refused by field, not ignored", () => {
  const member = (features: object) => ({ members: [{ learner: "forest", features }] });
  const wants: [object, string][] = [
    [member({ context: true }), "members.0.features.context"],
    [member({ context_blind: 0.5 }), "members.0.features.context_blind"],
    [member({ pipeline: true }), "members.0.features.pipeline"],
    [{ ...member({}), decision: { context: "offsets" } }, "decision.context"],
    [{ ...member({}), target: "residual" }, "target"],
    [{ ...member({}), rows: { recency: 0.5 } }, "rows.recency"],
  ];
  for (const [value, field] of wants) {
    expect(() => parseTabular(value, NONE)).toThrow(`${field}: needs a`);
    expect(() => parseTabular(value, ALL)).not.toThrow();
  }
});
