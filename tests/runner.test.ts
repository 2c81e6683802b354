/** The test runner's own arithmetic: a report that is cut off must never count as success. */
import { expect, test } from "bun:test";
import { readJunit } from "./run.ts";

test("counts of a junit report", () => {
  const xml = `<?xml version="1.0"?>
<testsuites name="bun test" tests="12" assertions="40" failures="2" skipped="3" time="0.1">
  <testsuite name="a" tests="12" failures="2" skipped="3"></testsuite>
</testsuites>
`;
  expect(readJunit(xml)).toEqual({ passed: 7, failed: 2, skipped: 3 });
});

test("an empty or unfinished report is none", () => {
  expect(readJunit("")).toBeUndefined();
  expect(readJunit('<testsuites tests="3" failures="0" skipped="0"><testsuite')).toBeUndefined();
});
